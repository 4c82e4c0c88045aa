//! The masked softmax on the CPU (method 2.1): one task for some rows, in place. All sums run in a fixed order.

use super::MaskedSoftmaxProblem;
use crate::host::dispatch::dispatch;
use crate::host::lanes::{LANES, Lanes};
use crate::host::output::Output;
use crate::host::tasks::for_each;
use std::ops::Range;

/// Rows in one task.
const TASK_ROWS: usize = 16;

/// Turns scores into weights; `first` is `[batch, seq]`.
pub(crate) fn forward(scores: &mut [f32], first: Option<&[f32]>, p: &MaskedSoftmaxProblem) {
    for_each_task(scores, p, |row, part| forward_task(part, first, row, p));
}

/// Turns the gradient of the weights into that of the scores.
pub(crate) fn backward(
    weights: &[f32],
    gradient: &mut [f32],
    first: Option<&[f32]>,
    p: &MaskedSoftmaxProblem,
) {
    for_each_task(gradient, p, |row, part| {
        backward_task(weights, part, first, row, p);
    });
}

/// Hands out the rows, some at a time, with the index of the first one.
fn for_each_task(
    values: &mut [f32],
    p: &MaskedSoftmaxProblem,
    task: impl Fn(usize, &mut [f32]) + Send + Sync,
) {
    let (length, size) = (values.len(), TASK_ROWS * p.keys);
    let values = Output::new(values);
    for_each(length.div_ceil(size), length, |index| {
        let start = index * size;
        // SAFETY: each task has its own rows.
        let part = unsafe { values.part(start, size.min(length - start)) };
        task(index * TASK_ROWS, part);
    });
}

/// Keys that a row sees, at least its own.
#[inline(always)]
fn visible(first: Option<&[f32]>, row: usize, p: &MaskedSoftmaxProblem) -> Range<usize> {
    let (sequence, query) = (row / (p.heads * p.rows), row % p.seq);
    let own = p.past + query;
    let first = first.map_or(0, |first| first[sequence * p.seq + query] as usize);
    first.min(own)..own + 1
}

dispatch! {
    fn forward_task(
        scores: &mut [f32],
        first: Option<&[f32]>,
        row: usize,
        p: &MaskedSoftmaxProblem,
    ) = forward_body
}

#[inline(always)]
fn forward_body<const FMA: bool>(
    scores: &mut [f32],
    first: Option<&[f32]>,
    row: usize,
    p: &MaskedSoftmaxProblem,
) {
    let scale = Lanes::splat(p.scale as f32);
    for (index, scores) in scores.chunks_exact_mut(p.keys).enumerate() {
        let visible = visible(first, row + index, p);
        scores[..visible.start].fill(0.0);
        scores[visible.end..].fill(0.0);
        let scores = &mut scores[visible];

        let mut largest = Lanes::splat(f32::NEG_INFINITY);
        for scores in scores.chunks_mut(LANES) {
            let scaled = Lanes::load(scores) * scale;
            scaled.store(scores);
            largest = largest.max_first(scaled, scores.len());
        }
        let largest = Lanes::splat(largest.largest());
        let mut sum = Lanes::ZERO;
        for scores in scores.chunks_mut(LANES) {
            (Lanes::load(scores) - largest).exp::<FMA>().store(scores);
            // Lanes past the end are zero.
            sum = sum + Lanes::load(scores);
        }
        let inverse = Lanes::splat(1.0 / sum.sum());
        for scores in scores.chunks_mut(LANES) {
            (Lanes::load(scores) * inverse).store(scores);
        }
    }
}

dispatch! {
    fn backward_task(
        weights: &[f32],
        gradient: &mut [f32],
        first: Option<&[f32]>,
        row: usize,
        p: &MaskedSoftmaxProblem,
    ) = backward_body
}

#[inline(always)]
fn backward_body<const FMA: bool>(
    weights: &[f32],
    gradient: &mut [f32],
    first: Option<&[f32]>,
    row: usize,
    p: &MaskedSoftmaxProblem,
) {
    let scale = Lanes::splat(p.scale as f32);
    for (index, gradient) in gradient.chunks_exact_mut(p.keys).enumerate() {
        let row = row + index;
        let weights = &weights[row * p.keys..][..p.keys];
        let visible = visible(first, row, p);
        gradient[..visible.start].fill(0.0);
        gradient[visible.end..].fill(0.0);
        let (weights, gradient) = (&weights[visible.clone()], &mut gradient[visible]);

        let mut along = Lanes::ZERO;
        for (weights, gradient) in weights.chunks(LANES).zip(gradient.chunks(LANES)) {
            along = Lanes::load(weights).mul_add::<FMA>(Lanes::load(gradient), along);
        }
        let along = Lanes::splat(along.sum());
        for (weights, gradient) in weights.chunks(LANES).zip(gradient.chunks_mut(LANES)) {
            let pull = Lanes::load(gradient) - along;
            (scale * Lanes::load(weights) * pull).store(gradient);
        }
    }
}
