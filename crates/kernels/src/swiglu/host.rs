//! The gate on the CPU (method 2.1, step 5): one task for some elements.

use crate::host::dispatch::dispatch;
use crate::host::lanes::{LANES, Lanes};
use crate::host::output::Output;
use crate::host::tasks::for_each;

/// Elements in one task.
const TASK: usize = 1 << 13;

/// Fills `out`.
pub(crate) fn forward(gate: &[f32], up: &[f32], out: &mut [f32]) {
    let length = out.len();
    let out = Output::new(out);
    for_each(length.div_ceil(TASK), length, |index| {
        let first = index * TASK;
        // SAFETY: each task has its own elements.
        let out = unsafe { out.part(first, TASK.min(length - first)) };
        forward_task(&gate[first..], &up[first..], out);
    });
}

/// Gradients of gate and up from that of the result.
pub(crate) fn backward(gate: &[f32], up: &[f32], dout: &[f32]) -> [Vec<f32>; 2] {
    let length = dout.len();
    let (mut dgate, mut dup) = (vec![0.0; length], vec![0.0; length]);
    let (dgate_parts, dup_parts) = (Output::new(&mut dgate), Output::new(&mut dup));
    for_each(length.div_ceil(TASK), length, |index| {
        let first = index * TASK;
        let part = TASK.min(length - first);
        // SAFETY: each task has its own elements.
        let (dgate, dup) = unsafe { (dgate_parts.part(first, part), dup_parts.part(first, part)) };
        backward_task(&gate[first..], &up[first..], &dout[first..], dgate, dup);
    });
    [dgate, dup]
}

dispatch! {
    fn forward_task(gate: &[f32], up: &[f32], out: &mut [f32]) = forward_body
}

#[inline(always)]
fn forward_body<const FMA: bool>(gate: &[f32], up: &[f32], out: &mut [f32]) {
    let operands = gate.chunks(LANES).zip(up.chunks(LANES));
    for (out, (gate, up)) in out.chunks_mut(LANES).zip(operands) {
        let gate = Lanes::load(&gate[..out.len()]);
        let silu = gate * gate.sigmoid::<FMA>();
        (silu * Lanes::load(&up[..out.len()])).store(out);
    }
}

dispatch! {
    fn backward_task(
        gate: &[f32],
        up: &[f32],
        dout: &[f32],
        dgate: &mut [f32],
        dup: &mut [f32],
    ) = backward_body
}

#[inline(always)]
fn backward_body<const FMA: bool>(
    gate: &[f32],
    up: &[f32],
    dout: &[f32],
    dgate: &mut [f32],
    dup: &mut [f32],
) {
    let one = Lanes::splat(1.0);
    let operands = gate
        .chunks(LANES)
        .zip(up.chunks(LANES))
        .zip(dout.chunks(LANES));
    let gradients = dgate.chunks_mut(LANES).zip(dup.chunks_mut(LANES));
    for ((dgate, dup), ((gate, up), dout)) in gradients.zip(operands) {
        let held = dgate.len();
        let gate = Lanes::load(&gate[..held]);
        let dout = Lanes::load(&dout[..held]);
        let sigmoid = gate.sigmoid::<FMA>();
        let slope = sigmoid * (gate * (one - sigmoid) + one);
        (dout * Lanes::load(&up[..held]) * slope).store(dgate);
        (dout * gate * sigmoid).store(dup);
    }
}
