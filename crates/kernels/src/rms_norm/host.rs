//! The RMS norm on the CPU (method 2.1, step 1): one task for some steps. All sums run in a fixed order.

use super::RmsNormProblem;
use crate::host::dispatch::dispatch;
use crate::host::lanes::{LANES, Lanes};
use crate::host::output::{Output, fold};
use crate::host::tasks::for_each;

/// Steps in one task.
const TASK_STEPS: usize = 32;

/// Fills `out`.
pub(crate) fn forward(x: &[f32], weight: &[f32], p: &RmsNormProblem, out: &mut [f32]) {
    let (length, task) = (out.len(), TASK_STEPS * p.channels);
    let out = Output::new(out);
    for_each(length.div_ceil(task), length, |index| {
        let first = index * task;
        // SAFETY: each task has its own steps.
        let out = unsafe { out.part(first, task.min(length - first)) };
        forward_task(&x[first..], weight, p, out);
    });
}

/// Gradients of `x` and of the weight from that of the result; the latter is empty unless it is wanted.
pub(crate) fn backward(
    x: &[f32],
    weight: &[f32],
    p: &RmsNormProblem,
    dout: &[f32],
    weight_wanted: bool,
) -> (Vec<f32>, Vec<f32>) {
    let (length, task) = (x.len(), TASK_STEPS * p.channels);
    let tasks = length.div_ceil(task);
    let share = if weight_wanted { p.channels } else { 0 };
    let (mut dx, mut dweight) = (vec![0.0; length], vec![0.0; tasks * share]);
    let (dx_parts, dweight_parts) = (Output::new(&mut dx), Output::new(&mut dweight));
    for_each(tasks, length, |index| {
        let first = index * task;
        let part = task.min(length - first);
        // SAFETY: each task has its own steps and its own sum.
        let (dx, dweight) = unsafe {
            (
                dx_parts.part(first, part),
                dweight_parts.part(index * share, share),
            )
        };
        backward_task(&x[first..], weight, p, &dout[first..], dx, dweight);
    });
    if weight_wanted {
        fold(&mut dweight, p.channels);
    }
    (dx, dweight)
}

dispatch! {
    fn forward_task(x: &[f32], weight: &[f32], p: &RmsNormProblem, out: &mut [f32]) = forward_body
}

#[inline(always)]
fn forward_body<const FMA: bool>(x: &[f32], weight: &[f32], p: &RmsNormProblem, out: &mut [f32]) {
    let steps = out.chunks_exact_mut(p.channels);
    for (out, x) in steps.zip(x.chunks_exact(p.channels)) {
        let mut square = Lanes::ZERO;
        for x in x.chunks(LANES) {
            let x = Lanes::load(x);
            square = x.mul_add::<FMA>(x, square);
        }
        let scale = Lanes::splat(scale(square.sum(), p));
        let parts = x.chunks(LANES).zip(weight.chunks(LANES));
        for (out, (x, weight)) in out.chunks_mut(LANES).zip(parts) {
            (Lanes::load(x) * scale * Lanes::load(weight)).store(out);
        }
    }
}

/// One over the root mean square.
#[inline(always)]
fn scale(square_sum: f32, p: &RmsNormProblem) -> f32 {
    1.0 / (square_sum / p.channels as f32 + p.eps as f32).sqrt()
}

dispatch! {
    fn backward_task(
        x: &[f32],
        weight: &[f32],
        p: &RmsNormProblem,
        dout: &[f32],
        dx: &mut [f32],
        dweight: &mut [f32],
    ) = backward_body
}

#[inline(always)]
fn backward_body<const FMA: bool>(
    x: &[f32],
    weight: &[f32],
    p: &RmsNormProblem,
    dout: &[f32],
    dx: &mut [f32],
    dweight: &mut [f32],
) {
    let steps = x
        .chunks_exact(p.channels)
        .zip(dout.chunks_exact(p.channels));
    for (dx, (x, dout)) in dx.chunks_exact_mut(p.channels).zip(steps) {
        let (mut square, mut along) = (Lanes::ZERO, Lanes::ZERO);
        let parts = || x.chunks(LANES).zip(dout.chunks(LANES));
        for ((x, dout), weight) in parts().zip(weight.chunks(LANES)) {
            let x = Lanes::load(x);
            let q = Lanes::load(dout) * Lanes::load(weight);
            square = x.mul_add::<FMA>(x, square);
            along = x.mul_add::<FMA>(q, along);
        }
        let scale = scale(square.sum(), p);
        let pull = Lanes::splat(scale * scale * scale * along.sum() / p.channels as f32);
        let scale = Lanes::splat(scale);
        let parts = parts().zip(weight.chunks(LANES));
        for (dx, ((x, dout), weight)) in dx.chunks_mut(LANES).zip(parts) {
            let q = Lanes::load(dout) * Lanes::load(weight);
            (scale * q - Lanes::load(x) * pull).store(dx);
        }
        let parts = x.chunks(LANES).zip(dout.chunks(LANES));
        for (sum, (x, dout)) in dweight.chunks_mut(LANES).zip(parts) {
            let share = Lanes::load(dout) * Lanes::load(x);
            share.mul_add::<FMA>(scale, Lanes::load(sum)).store(sum);
        }
    }
}
