//! The gated norm on the CPU (method 3.3): one task for some steps. All sums run in a fixed order.

use super::GatedRmsNormProblem;
use crate::host::dispatch::dispatch;
use crate::host::lanes::{LANES, Lanes};
use crate::host::output::{Output, fold};
use crate::host::tasks::for_each;

/// Steps in one task.
const TASK_STEPS: usize = 32;

/// Operands on the host.
#[derive(Clone, Copy)]
pub(crate) struct Operands<'a> {
    pub(crate) y: &'a [f32],
    pub(crate) z: &'a [f32],
    pub(crate) weight: &'a [f32],
}

/// Gradients of the operands.
pub(crate) struct Gradients {
    pub(crate) y: Vec<f32>,
    pub(crate) z: Vec<f32>,
    pub(crate) weight: Vec<f32>,
}

/// Fills `out`.
pub(crate) fn forward(operands: &Operands<'_>, p: &GatedRmsNormProblem, out: &mut [f32]) {
    let (length, task) = (out.len(), TASK_STEPS * p.channels);
    let out = Output::new(out);
    for_each(length.div_ceil(task), length, |index| {
        let first = index * task;
        // SAFETY: each task has its own steps.
        let out = unsafe { out.part(first, task.min(length - first)) };
        forward_task(operands, p, first, out);
    });
}

/// Gradients from that of the result.
pub(crate) fn backward(
    operands: &Operands<'_>,
    p: &GatedRmsNormProblem,
    dout: &[f32],
) -> Gradients {
    let length = operands.y.len();
    let task = TASK_STEPS * p.channels;
    let tasks = length.div_ceil(task);
    let mut g = Gradients {
        y: vec![0.0; length],
        z: vec![0.0; length],
        weight: vec![0.0; tasks * p.channels],
    };
    let (dy, dz) = (Output::new(&mut g.y), Output::new(&mut g.z));
    let dweight = Output::new(&mut g.weight);
    for_each(tasks, length, |index| {
        let first = index * task;
        let part = task.min(length - first);
        // SAFETY: each task has its own steps and its own sum.
        let (dy, dz, dweight) = unsafe {
            let dweight = dweight.part(index * p.channels, p.channels);
            (dy.part(first, part), dz.part(first, part), dweight)
        };
        backward_task(operands, p, first, dout, dy, dz, dweight);
    });
    fold(&mut g.weight, p.channels);
    g
}

dispatch! {
    fn forward_task(
        operands: &Operands<'_>,
        p: &GatedRmsNormProblem,
        first: usize,
        out: &mut [f32],
    ) = forward_body
}

#[inline(always)]
fn forward_body<const FMA: bool>(
    operands: &Operands<'_>,
    p: &GatedRmsNormProblem,
    first: usize,
    out: &mut [f32],
) {
    for (index, out) in out.chunks_exact_mut(p.group_size).enumerate() {
        let at = first + index * p.group_size;
        let weight = &operands.weight[at % p.channels..];
        let mut square = Lanes::ZERO;
        for (offset, out) in (0..p.group_size).step_by(LANES).zip(out.chunks_mut(LANES)) {
            let part = at + offset..at + offset + out.len();
            let z = Lanes::load(&operands.z[part.clone()]);
            let gated = Lanes::load(&operands.y[part]) * z * z.sigmoid::<FMA>();
            square = gated.mul_add::<FMA>(gated, square);
            gated.store(out);
        }
        let scale = Lanes::splat(scale(square.sum(), p));
        for (out, weight) in out.chunks_mut(LANES).zip(weight.chunks(LANES)) {
            let weight = Lanes::load(&weight[..out.len()]);
            (Lanes::load(out) * scale * weight).store(out);
        }
    }
}

/// One over the root mean square.
#[inline(always)]
fn scale(square_sum: f32, p: &GatedRmsNormProblem) -> f32 {
    1.0 / (square_sum / p.group_size as f32 + p.eps as f32).sqrt()
}

dispatch! {
    fn backward_task(
        operands: &Operands<'_>,
        p: &GatedRmsNormProblem,
        first: usize,
        dout: &[f32],
        dy: &mut [f32],
        dz: &mut [f32],
        dweight: &mut [f32],
    ) = backward_body
}

#[inline(always)]
fn backward_body<const FMA: bool>(
    operands: &Operands<'_>,
    p: &GatedRmsNormProblem,
    first: usize,
    dout: &[f32],
    dy: &mut [f32],
    dz: &mut [f32],
    dweight: &mut [f32],
) {
    let one = Lanes::splat(1.0);
    let groups = dy
        .chunks_exact_mut(p.group_size)
        .zip(dz.chunks_exact_mut(p.group_size));
    for (index, (dy, dz)) in groups.enumerate() {
        let at = first + index * p.group_size;
        let channel = at % p.channels;
        let weight = &operands.weight[channel..channel + p.group_size];
        let dweight = &mut dweight[channel..channel + p.group_size];
        // `dy` and `dz` hold the gate and its sigmoid between the two sweeps.
        let (mut square, mut along) = (Lanes::ZERO, Lanes::ZERO);
        for offset in (0..p.group_size).step_by(LANES) {
            let end = p.group_size.min(offset + LANES);
            let part = at + offset..at + end;
            let z = Lanes::load(&operands.z[part.clone()]);
            let gate = z.sigmoid::<FMA>();
            let silu = z * gate;
            let gated = Lanes::load(&operands.y[part.clone()]) * silu;
            let q = Lanes::load(&weight[offset..end]) * Lanes::load(&dout[part]);
            square = gated.mul_add::<FMA>(gated, square);
            along = gated.mul_add::<FMA>(q, along);
            silu.store(&mut dy[offset..end]);
            gate.store(&mut dz[offset..end]);
        }
        let scale = scale(square.sum(), p);
        let pull = Lanes::splat(scale * scale * scale * along.sum() / p.group_size as f32);
        let scale = Lanes::splat(scale);
        for offset in (0..p.group_size).step_by(LANES) {
            let end = p.group_size.min(offset + LANES);
            let part = at + offset..at + end;
            let (y, z) = (
                Lanes::load(&operands.y[part.clone()]),
                Lanes::load(&operands.z[part.clone()]),
            );
            let (silu, gate) = (Lanes::load(&dy[offset..end]), Lanes::load(&dz[offset..end]));
            let dout = Lanes::load(&dout[part]);
            let gated = y * silu;
            let q = Lanes::load(&weight[offset..end]) * dout;
            let dgated = scale * q - gated * pull;
            let sum = Lanes::load(&dweight[offset..end]);
            (dout * gated)
                .mul_add::<FMA>(scale, sum)
                .store(&mut dweight[offset..end]);
            (dgated * silu).store(&mut dy[offset..end]);
            let slope = gate * (z * (one - gate) + one);
            (dgated * y * slope).store(&mut dz[offset..end]);
        }
    }
}
