use super::chunk::{Decays, Head, mix, outputs, scores};
use super::{CHUNK, Operands, segments, transpose};
use crate::host::dispatch::dispatch;
use crate::host::gemm::{Left, multiply};
use crate::host::lanes::{LANES, Lanes};
use crate::host::output::Output;
use crate::host::tasks::for_each;
use crate::ssd::SsdProblem;

/// Fills `y`, `last_state` and, unless it is empty, `saved`.
pub(crate) fn forward(
    operands: &Operands<'_>,
    p: &SsdProblem,
    y: &mut [f32],
    last_state: &mut [f32],
    saved: &mut [f32],
) {
    let size = p.d_state * p.headdim;
    let length = if saved.is_empty() {
        0
    } else {
        p.seq.div_ceil(CHUNK) * size
    };
    let (y, last_state, saved) = (Output::new(y), Output::new(last_state), Output::new(saved));
    let work = p.batch * p.seq * p.nheads * p.headdim * p.d_state;
    for_each(p.batch * p.nheads, work, |task| {
        // SAFETY: each task has its own row and head.
        let (last_state, saved) = unsafe {
            (
                last_state.part(task * size, size),
                saved.part(task * length, length),
            )
        };
        run_head(operands, p, Head::new(p, task), &y, last_state, saved);
    });
}

dispatch! {
    fn run_head(
        operands: &Operands<'_>,
        p: &SsdProblem,
        at: Head,
        y: &Output<'_>,
        last_state: &mut [f32],
        saved: &mut [f32],
    ) = head_body
}

#[inline(always)]
fn head_body<const FMA: bool>(
    operands: &Operands<'_>,
    p: &SsdProblem,
    at: Head,
    y: &Output<'_>,
    last_state: &mut [f32],
    saved: &mut [f32],
) {
    let (width, d_state) = (p.headdim, p.d_state);
    let size = d_state * width;
    let mut state = vec![0.0f32; size];
    if p.has_initial_state {
        let first = (at.row * p.nheads + at.head) * size;
        transpose(
            &operands.initial_state[first..],
            [width, d_state],
            d_state,
            &mut state,
            width,
        );
    }
    let mut decays = Decays::new();
    let mut b_columns = vec![0.0f32; d_state * CHUNK];
    let mut mixing = vec![0.0f32; CHUNK * CHUNK];
    let mut lines = vec![0.0f32; CHUNK * width];

    for segment in segments(p, operands.reset, at.row) {
        let q = segment.length;
        if segment.restarts {
            state.fill(0.0);
        }
        if let (false, Some(chunk)) = (saved.is_empty(), segment.chunk()) {
            saved[chunk * size..(chunk + 1) * size].copy_from_slice(&state);
        }
        decays.fill::<FMA>(operands, p, at, segment);
        scores::<FMA>(operands, p, at, segment, &mut b_columns, &mut mixing);
        mix::<FMA>(&decays, q, &mut mixing);
        let entering = segment.state_enters(p).then_some(&state[..]);
        outputs::<FMA>(
            operands, p, at, segment, &decays, &mixing, entering, &mut lines,
        );
        for (t, line) in lines[..q * width].chunks_exact(width).enumerate() {
            let first = at.inner(p, segment.start + t);
            // SAFETY: this task alone writes this head of this row.
            let out = unsafe { y.part(first, width) };
            if !p.has_z {
                out.copy_from_slice(line);
                continue;
            }
            let gates = operands.z[first..first + width].chunks(LANES);
            for ((out, line), gate) in out.chunks_mut(LANES).zip(line.chunks(LANES)).zip(gates) {
                let gate = Lanes::load(gate);
                (Lanes::load(line) * gate * gate.sigmoid::<FMA>()).store(out);
            }
        }

        // state = whole state + sum over s of to_end_s dt_s B_s x_s^T
        for value in &mut state {
            *value *= decays.whole;
        }
        let mut weights = [0.0; CHUNK];
        for ((weight, dt), to_end) in weights.iter_mut().zip(decays.dt).zip(decays.to_end) {
            *weight = dt * to_end;
        }
        for line in b_columns.chunks_exact_mut(CHUNK) {
            for (value, weight) in line.iter_mut().zip(weights) {
                *value *= weight;
            }
        }
        let x = &operands.x[at.inner(p, segment.start)..];
        let left = Left {
            values: &b_columns,
            row_stride: CHUNK,
            column_stride: 1,
        };
        let stride = p.nheads * width;
        multiply::<FMA, true>([d_state, width, q], left, x, stride, &mut state, width);
    }
    transpose(&state, [d_state, width], width, last_state, d_state);
}
