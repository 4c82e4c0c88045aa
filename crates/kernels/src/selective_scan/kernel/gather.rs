//! Small tensors in one, and sums over what cubes found on their own.

use super::Regions;
use crate::cube::activation::PER_NATURAL;
use cubecl::prelude::*;

/// Fills the first `length` elements of a scan's memory with the small operands: of each channel a row of `d_state + 2`, its
/// decay rates in the units of [`decay`](crate::cube::activation::decay), `d` and `dt_bias` (zero where absent), then
/// `reset` `[batch, seq]`, the initial state and the gradient of the last state `[batch, d_inner, d_state]`. Absent
/// tensors are placeholders.
#[cube(launch_unchecked)]
pub(in crate::selective_scan) fn pack(
    a: &Tensor<f32>,
    d: &Tensor<f32>,
    dt_bias: &Tensor<f32>,
    reset: &Tensor<f32>,
    initial_state: &Tensor<f32>,
    g_last: &Tensor<f32>,
    memory: &mut Tensor<f32>,
    length: usize,
    regions: Regions,
    #[comptime] has: [bool; 2],
) {
    let n = a.shape(1);
    let index = ABSOLUTE_POS;
    if index < length {
        let mut value = 0.0f32;
        if index < regions.resets {
            let channel = index / (n + 2);
            let k = index % (n + 2);
            if k < n {
                value = a[channel * n + k] * -PER_NATURAL;
            } else if k == n {
                if comptime!(has[0]) {
                    value = d[channel];
                }
            } else if comptime!(has[1]) {
                value = dt_bias[channel];
            }
        } else if index < regions.initial {
            value = reset[index - regions.resets];
        } else if index < regions.last {
            value = initial_state[index - regions.initial];
        } else {
            value = g_last[index - regions.last];
        }
        memory[index] = value;
    }
}

/// Sums the gradients of the parameters over batch and chunks, `partials` in all, in order.
///
/// - `ga`: `[d_inner, d_state]`; `gd`, `gbias`: `[d_inner]`
#[cube(launch_unchecked)]
pub(in crate::selective_scan) fn sum_parameters(
    memory: &Tensor<f32>,
    ga: &mut Tensor<f32>,
    gd: &mut Tensor<f32>,
    gbias: &mut Tensor<f32>,
    first: usize,
    partials: usize,
) {
    let n = ga.shape(1);
    let width = ga.shape(0) * (n + 2);
    let index = ABSOLUTE_POS;
    if index < width {
        let sum = RuntimeCell::<f32>::new(0.0f32);
        for k in 0..partials {
            sum.store(sum.read() + memory[first + k * width + index]);
        }
        let channel = index / (n + 2);
        let k = index % (n + 2);
        if k < n {
            ga[channel * n + k] = sum.read();
        } else if k == n {
            gd[channel] = sum.read();
        } else {
            gbias[channel] = sum.read();
        }
    }
}

/// Sums `[rows, parts, d_state]` over parts, in order.
#[cube(launch_unchecked)]
pub(in crate::selective_scan) fn sum_parts<F: Float>(
    partial: &Tensor<f32>,
    out: &mut Tensor<F>,
    parts: usize,
    d_state: usize,
    #[define(F)] _dtype: StorageType,
) {
    let n = d_state;
    let index = ABSOLUTE_POS;
    if index < out.len() {
        let first = index / n * parts * n + index % n;
        let sum = RuntimeCell::<f32>::new(0.0f32);
        for k in 0..parts {
            sum.store(sum.read() + partial[first + k * n]);
        }
        out[index] = F::cast_from(sum.read());
    }
}
