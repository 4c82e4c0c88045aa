mod scratch;

use super::chunk::Head;
use super::{CHUNK, Operands, segments, transpose};
use crate::host::dispatch::dispatch;
use crate::host::output::{Output, fold};
use crate::host::tasks::for_each;
use crate::ssd::SsdProblem;
use scratch::{Scratch, Sums};

/// Gradients of the operands; those of absent ones are empty.
pub(crate) struct Gradients {
    pub(crate) x: Vec<f32>,
    pub(crate) dt: Vec<f32>,
    pub(crate) a: Vec<f32>,
    pub(crate) b: Vec<f32>,
    pub(crate) c: Vec<f32>,
    pub(crate) d: Vec<f32>,
    pub(crate) z: Vec<f32>,
    pub(crate) dt_bias: Vec<f32>,
    pub(crate) initial_state: Vec<f32>,
}

/// Where the tasks write. The gradients of `b` and `c` have a leading axis of heads in a group,
/// those of `a`, `d` and `dt_bias` one of rows; both are summed afterwards.
struct Outputs<'a> {
    x: Output<'a>,
    dt: Output<'a>,
    a: Output<'a>,
    b: Output<'a>,
    c: Output<'a>,
    d: Output<'a>,
    z: Output<'a>,
    dt_bias: Output<'a>,
    initial_state: Output<'a>,
}

/// Gradients from those of `y` and of the last state; `saved` is what the forward pass left.
pub(crate) fn backward(
    operands: &Operands<'_>,
    p: &SsdProblem,
    saved: &[f32],
    dy: Option<&[f32]>,
    dlast: Option<&[f32]>,
) -> Gradients {
    let inner = p.batch * p.seq * p.nheads * p.headdim;
    let grouped = p.batch * p.seq * p.ngroups * p.d_state;
    let heads = p.batch * p.nheads;
    let size = p.d_state * p.headdim;
    let zeros = |has: bool, length: usize| vec![0.0f32; if has { length } else { 0 }];
    let mut g = Gradients {
        x: zeros(true, inner),
        dt: zeros(true, p.batch * p.seq * p.nheads),
        a: zeros(true, heads),
        b: zeros(true, p.nheads / p.ngroups * grouped),
        c: zeros(true, p.nheads / p.ngroups * grouped),
        d: zeros(p.has_d, heads),
        z: zeros(p.has_z, inner),
        dt_bias: zeros(p.has_dt_bias, heads),
        initial_state: zeros(p.has_initial_state, heads * size),
    };
    let out = Outputs {
        x: Output::new(&mut g.x),
        dt: Output::new(&mut g.dt),
        a: Output::new(&mut g.a),
        b: Output::new(&mut g.b),
        c: Output::new(&mut g.c),
        d: Output::new(&mut g.d),
        z: Output::new(&mut g.z),
        dt_bias: Output::new(&mut g.dt_bias),
        initial_state: Output::new(&mut g.initial_state),
    };
    let work = p.batch * p.seq * p.nheads * p.headdim * p.d_state;
    for_each(heads, work, |task| {
        let length = p.seq.div_ceil(CHUNK) * size;
        let saved = &saved[task * length..(task + 1) * length];
        let dlast = dlast.map(|dlast| &dlast[task * size..(task + 1) * size]);
        run_head(operands, p, Head::new(p, task), saved, dy, dlast, &out);
    });
    fold(&mut g.a, p.nheads);
    fold(&mut g.d, p.nheads);
    fold(&mut g.dt_bias, p.nheads);
    fold(&mut g.b, grouped);
    fold(&mut g.c, grouped);
    g
}

dispatch! {
    fn run_head(
        operands: &Operands<'_>,
        p: &SsdProblem,
        at: Head,
        saved: &[f32],
        dy: Option<&[f32]>,
        dlast: Option<&[f32]>,
        out: &Outputs<'_>,
    ) = head_body
}

#[inline(always)]
fn head_body<const FMA: bool>(
    operands: &Operands<'_>,
    p: &SsdProblem,
    at: Head,
    saved: &[f32],
    dy: Option<&[f32]>,
    dlast: Option<&[f32]>,
    out: &Outputs<'_>,
) {
    let (width, d_state) = (p.headdim, p.d_state);
    let size = d_state * width;
    // Gradient of the state after the segment, `[d_state, headdim]`.
    let mut dstate = vec![0.0f32; size];
    if let Some(dlast) = dlast {
        transpose(dlast, [width, d_state], d_state, &mut dstate, width);
    }
    let mut scratch = Scratch::new(p);
    let mut sums = Sums::default();
    let mut leaves_gradient = dlast.is_some();
    for segment in segments(p, operands.reset, at.row).into_iter().rev() {
        let entering = match (segment.state_enters(p), segment.chunk()) {
            (true, Some(chunk)) => Some(&saved[chunk * size..(chunk + 1) * size]),
            _ => None,
        };
        scratch.prepare::<FMA>(operands, p, at, segment, entering, dy, out, &mut sums);
        scratch.inside::<FMA>(operands, p, at, segment);
        let dtotal = scratch.between::<FMA>(
            operands,
            p,
            at,
            segment,
            entering,
            leaves_gradient.then_some(&mut dstate),
        );
        scratch.finish(operands, p, at, segment, dtotal, out, &mut sums);
        // Now the gradient of the state before the segment.
        leaves_gradient = entering.is_some();
        if leaves_gradient {
            scratch.enter::<FMA>(operands, p, at, segment, &mut dstate);
        } else {
            dstate.fill(0.0);
        }
    }
    let task = at.row * p.nheads + at.head;
    // SAFETY: this task alone writes this head of this row.
    unsafe {
        out.a.part(task, 1)[0] = sums.a as f32;
        if p.has_d {
            out.d.part(task, 1)[0] = sums.d as f32;
        }
        if p.has_dt_bias {
            out.dt_bias.part(task, 1)[0] = sums.dt_bias as f32;
        }
        if p.has_initial_state {
            let out = out.initial_state.part(task * size, size);
            transpose(&dstate, [d_state, width], width, out, d_state);
        }
    }
}
