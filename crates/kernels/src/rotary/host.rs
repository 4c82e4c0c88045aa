//! The rotation on the CPU (method 2.1, step 3): one task for some heads of steps.

use super::RotaryProblem;
use crate::host::dispatch::dispatch;
use crate::host::lanes::{LANES, Lanes};
use crate::host::output::Output;
use crate::host::tasks::for_each;

/// Heads of steps in one task.
const TASK_HEADS: usize = 128;

/// Fills `out`, either way.
pub(crate) fn forward(x: &[f32], angles: &[f32], p: &RotaryProblem, out: &mut [f32]) {
    let (length, task) = (out.len(), TASK_HEADS * p.head_dim);
    let out = Output::new(out);
    for_each(length.div_ceil(task), length, |index| {
        let first = index * task;
        // SAFETY: each task has its own part of the result.
        let out = unsafe { out.part(first, task.min(length - first)) };
        forward_task(x, angles, p, index * TASK_HEADS, out);
    });
}

dispatch! {
    fn forward_task(
        x: &[f32],
        angles: &[f32],
        p: &RotaryProblem,
        first: usize,
        out: &mut [f32],
    ) = forward_body
}

/// `first` counts the heads of steps of the result before `out`.
#[inline(always)]
fn forward_body<const FMA: bool>(
    x: &[f32],
    angles: &[f32],
    p: &RotaryProblem,
    first: usize,
    out: &mut [f32],
) {
    let half = p.head_dim / 2;
    let sign = Lanes::splat(if p.is_inverse { -1.0 } else { 1.0 });
    for (index, out) in out.chunks_exact_mut(p.head_dim).enumerate() {
        let at = first + index;
        let (outer, sequence) = (at / (p.seq * p.heads), at % (p.seq * p.heads));
        let (head, step) = match p.is_inverse {
            true => (sequence % p.heads, sequence / p.heads),
            false => (sequence / p.seq, sequence % p.seq),
        };
        let from = match p.is_inverse {
            true => (outer * p.heads + head) * p.seq + step,
            false => (outer * p.seq + step) * p.heads + head,
        };
        let row = if p.own_angles {
            outer * p.seq + step
        } else {
            step
        };
        let (first, second) = x[from * p.head_dim..][..p.head_dim].split_at(half);
        let (cos, sin) = angles[row * p.head_dim..][..p.head_dim].split_at(half);
        let (low, high) = out.split_at_mut(half);
        for start in (0..half).step_by(LANES) {
            let part = start..half.min(start + LANES);
            let load = |values: &[f32]| Lanes::load(&values[part.clone()]);
            let (first, second, cos) = (load(first), load(second), load(cos));
            let sin = load(sin) * sign;
            let zero = Lanes::ZERO;
            let low_part = first.mul_add::<FMA>(cos, zero - second * sin);
            low_part.store(&mut low[part.clone()]);
            let high_part = second.mul_add::<FMA>(cos, first * sin);
            high_part.store(&mut high[part.clone()]);
        }
    }
}
