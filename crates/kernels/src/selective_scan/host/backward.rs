use super::{Block, Blocks, CHUNK, Operands};
use crate::host::dispatch::dispatch;
use crate::host::lanes::{LANES, Lanes};
use crate::host::output::{Output, fold};
use crate::host::tasks::for_each;
use crate::selective_scan::SelectiveScanProblem;

/// Gradients of the operands; those of absent ones are empty.
pub(crate) struct Gradients {
    pub(crate) u: Vec<f32>,
    pub(crate) dt: Vec<f32>,
    pub(crate) a: Vec<f32>,
    pub(crate) b: Vec<f32>,
    pub(crate) c: Vec<f32>,
    pub(crate) d: Vec<f32>,
    pub(crate) z: Vec<f32>,
    pub(crate) dt_bias: Vec<f32>,
    pub(crate) initial_state: Vec<f32>,
}

/// Where the tasks write. The gradients of `b` and `c` have a leading axis of blocks in a group,
/// those of `a`, `d` and `dt_bias` one of rows; both are summed afterwards.
struct Outputs<'a> {
    u: Output<'a>,
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
    p: &SelectiveScanProblem,
    saved: &[f32],
    dy: Option<&[f32]>,
    dlast: Option<&[f32]>,
) -> Gradients {
    let blocks = Blocks::new(p);
    let inner = p.batch * p.seq * p.d_inner;
    let grouped = p.batch * p.seq * p.ngroups * p.d_state;
    let zeros = |has: bool, length: usize| vec![0.0f32; if has { length } else { 0 }];
    let mut g = Gradients {
        u: zeros(true, inner),
        dt: zeros(true, inner),
        a: zeros(true, p.batch * p.d_inner * p.d_state),
        b: zeros(true, blocks.per_group * grouped),
        c: zeros(true, blocks.per_group * grouped),
        d: zeros(p.has_d, p.batch * p.d_inner),
        z: zeros(p.has_z, inner),
        dt_bias: zeros(p.has_dt_bias, p.batch * p.d_inner),
        initial_state: zeros(p.has_initial_state, p.batch * p.d_inner * p.d_state),
    };
    let out = Outputs {
        u: Output::new(&mut g.u),
        dt: Output::new(&mut g.dt),
        a: Output::new(&mut g.a),
        b: Output::new(&mut g.b),
        c: Output::new(&mut g.c),
        d: Output::new(&mut g.d),
        z: Output::new(&mut g.z),
        dt_bias: Output::new(&mut g.dt_bias),
        initial_state: Output::new(&mut g.initial_state),
    };
    let work = p.batch * p.seq * p.d_inner * p.d_state;
    for_each(p.batch * blocks.count, work, |task| {
        let (row, block) = (task / blocks.count, blocks.get(task % blocks.count));
        let length = p.seq.div_ceil(CHUNK) * p.d_state * LANES;
        let saved = &saved[task * length..(task + 1) * length];
        run_block(operands, p, row, block, saved, dy, dlast, &out);
    });
    fold(&mut g.a, p.d_inner * p.d_state);
    fold(&mut g.d, p.d_inner);
    fold(&mut g.dt_bias, p.d_inner);
    fold(&mut g.b, grouped);
    fold(&mut g.c, grouped);
    g
}

dispatch! {
    #[expect(clippy::too_many_arguments, reason = "one inner call")]
    fn run_block(
        operands: &Operands<'_>,
        p: &SelectiveScanProblem,
        row: usize,
        block: Block,
        saved: &[f32],
        dy: Option<&[f32]>,
        dlast: Option<&[f32]>,
        out: &Outputs<'_>,
    ) = block_body
}

/// What the reverse sweep needs of one step.
#[derive(Clone, Copy)]
struct Step {
    u: Lanes,
    dt: Lanes,
    /// Derivative of softplus.
    dt_slope: Lanes,
    /// Output before the gate.
    ungated: Lanes,
}

#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "one inner call")]
fn block_body<const FMA: bool>(
    operands: &Operands<'_>,
    p: &SelectiveScanProblem,
    row: usize,
    block: Block,
    saved: &[f32],
    dy: Option<&[f32]>,
    dlast: Option<&[f32]>,
    out: &Outputs<'_>,
) {
    let d_state = p.d_state;
    let mut rates = vec![Lanes::ZERO; d_state];
    block.load_states(operands.a, 0, d_state, &mut rates);
    let optional = |has: bool, values: &[f32]| match has {
        true => block.load(values, 0),
        false => Lanes::ZERO,
    };
    let skip = optional(p.has_d, operands.d);
    let bias = optional(p.has_dt_bias, operands.dt_bias);

    // decay_{t+1} lam_{t+1}, the adjoint that reaches step t.
    let mut carried = vec![Lanes::ZERO; d_state];
    let state_start = row * p.d_inner * d_state;
    if let Some(dlast) = dlast {
        block.load_states(dlast, state_start, d_state, &mut carried);
    }
    let mut da = vec![Lanes::ZERO; d_state];
    let (mut dd, mut dbias) = (Lanes::ZERO, Lanes::ZERO);

    let mut steps = [Step {
        u: Lanes::ZERO,
        dt: Lanes::ZERO,
        dt_slope: Lanes::ZERO,
        ungated: Lanes::ZERO,
    }; CHUNK];
    let mut decays = vec![Lanes::ZERO; CHUNK * d_state];
    // States before each step of the chunk and after the last.
    let mut states = vec![Lanes::ZERO; (CHUNK + 1) * d_state];

    for chunk in (0..p.seq.div_ceil(CHUNK)).rev() {
        let start = chunk * CHUNK;
        let length = CHUNK.min(p.seq - start);
        let first = chunk * d_state * LANES;
        for (state, values) in states[..d_state]
            .iter_mut()
            .zip(saved[first..].chunks_exact(LANES))
        {
            *state = Lanes::load(values);
        }
        for i in 0..length {
            let step = row * p.seq + start + i;
            let u = block.load(operands.u, step * p.d_inner);
            let raw = block.load(operands.dt, step * p.d_inner) + bias;
            let (dt, dt_slope) = match p.dt_softplus {
                true => (raw.softplus::<FMA>(), raw.sigmoid::<FMA>()),
                false => (raw, Lanes::splat(1.0)),
            };
            let input = dt * u;
            let mut sum = skip * u;
            let restarts = operands.reset.is_some_and(|reset| reset[step] != 0.0);
            let grouped = (step * p.ngroups + block.group) * d_state;
            let b = &operands.b[grouped..grouped + d_state];
            let c = &operands.c[grouped..grouped + d_state];
            let (before, after) = states[i * d_state..(i + 2) * d_state].split_at_mut(d_state);
            let decays = &mut decays[i * d_state..(i + 1) * d_state];
            for n in 0..d_state {
                let mut decay = (dt * rates[n]).exp::<FMA>();
                if restarts {
                    decay = Lanes::ZERO;
                }
                decays[n] = decay;
                let state = decay.mul_add::<FMA>(before[n], input * Lanes::splat(b[n]));
                after[n] = state;
                if p.has_z {
                    sum = state.mul_add::<FMA>(Lanes::splat(c[n]), sum);
                }
            }
            steps[i] = Step {
                u,
                dt,
                dt_slope,
                ungated: sum,
            };
        }
        for i in (0..length).rev() {
            let step = row * p.seq + start + i;
            let Step {
                u,
                dt,
                dt_slope,
                ungated,
            } = steps[i];
            let at = step * p.d_inner;
            let mut ds = dy.map_or(Lanes::ZERO, |dy| block.load(dy, at));
            if p.has_z {
                let z = block.load(operands.z, at);
                let gate = z.sigmoid::<FMA>();
                let slope = gate * (z * (Lanes::splat(1.0) - gate) + Lanes::splat(1.0));
                let dz = ds * ungated * slope;
                // SAFETY: this task alone writes these channels of this row.
                dz.store(unsafe { out.z.part(at + block.first, block.width) });
                ds = ds * z * gate;
            }
            let grouped = (step * p.ngroups + block.group) * d_state;
            let b = &operands.b[grouped..grouped + d_state];
            let c = &operands.c[grouped..grouped + d_state];
            let partial = block.part * p.batch * p.seq * p.ngroups * d_state + grouped;
            // SAFETY: this task alone writes this part of this group in this row.
            let (db, dc) = unsafe { (out.b.part(partial, d_state), out.c.part(partial, d_state)) };
            let before = &states[i * d_state..(i + 1) * d_state];
            let after = &states[(i + 1) * d_state..(i + 2) * d_state];
            let decays = &decays[i * d_state..(i + 1) * d_state];
            let input = dt * u;
            let (mut through_rate, mut through_b) = (Lanes::ZERO, Lanes::ZERO);
            for n in 0..d_state {
                let adjoint = ds.mul_add::<FMA>(Lanes::splat(c[n]), carried[n]);
                let back = decays[n] * adjoint;
                carried[n] = back;
                let through_decay = back * before[n];
                through_rate = through_decay.mul_add::<FMA>(rates[n], through_rate);
                through_b = adjoint.mul_add::<FMA>(Lanes::splat(b[n]), through_b);
                da[n] = through_decay.mul_add::<FMA>(dt, da[n]);
                db[n] = (adjoint * input).sum();
                dc[n] = (ds * after[n]).sum();
            }
            let du = dt.mul_add::<FMA>(through_b, skip * ds);
            let ddt = u.mul_add::<FMA>(through_b, through_rate) * dt_slope;
            dd = ds.mul_add::<FMA>(u, dd);
            dbias = dbias + ddt;
            // SAFETY: this task alone writes these channels of this row.
            unsafe {
                du.store(out.u.part(at + block.first, block.width));
                ddt.store(out.dt.part(at + block.first, block.width));
            }
        }
    }

    let transpose = |states: &[Lanes], out: &mut [f32]| {
        for (n, state) in states.iter().enumerate() {
            for lane in 0..block.width {
                out[lane * d_state + n] = state.0[lane];
            }
        }
    };
    let first = state_start + block.first * d_state;
    let per_row = row * p.d_inner + block.first;
    // SAFETY: this task alone writes these channels of this row.
    unsafe {
        transpose(&da, out.a.part(first, block.width * d_state));
        if p.has_initial_state {
            transpose(
                &carried,
                out.initial_state.part(first, block.width * d_state),
            );
        }
        if p.has_d {
            dd.store(out.d.part(per_row, block.width));
        }
        if p.has_dt_bias {
            dbias.store(out.dt_bias.part(per_row, block.width));
        }
    }
}
