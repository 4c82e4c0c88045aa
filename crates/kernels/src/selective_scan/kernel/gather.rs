//! Small tensors in one, and sums over what cubes found on their own.

use cubecl::prelude::*;

/// Packs the small operands: `a`, `d` and `dt_bias` of each channel as rows of `d_state + 2` (zero where
/// absent), then `reset` `[batch, seq]`, then the initial state `[batch, d_inner, d_state]`. Absent
/// tensors are placeholders.
#[cube(launch_unchecked)]
pub(in crate::selective_scan) fn pack(
    a: &Tensor<f32>,
    d: &Tensor<f32>,
    dt_bias: &Tensor<f32>,
    reset: &Tensor<f32>,
    initial_state: &Tensor<f32>,
    params: &mut Array<f32>,
    #[comptime] has: [bool; 4],
) {
    let n = a.shape(1);
    let rows = a.shape(0) * (n + 2);
    let index = ABSOLUTE_POS;
    if index < params.len() {
        let mut resets = 0usize.runtime();
        if comptime!(has[2]) {
            resets = reset.len();
        }
        let mut value = 0.0f32;
        if index < rows {
            let channel = index / (n + 2);
            let k = index % (n + 2);
            if k < n {
                value = a[channel * n + k];
            } else if k == n {
                if comptime!(has[0]) {
                    value = d[channel];
                }
            } else if comptime!(has[1]) {
                value = dt_bias[channel];
            }
        } else if index < rows + resets {
            value = reset[index - rows];
        } else {
            value = initial_state[index - rows - resets];
        }
        params[index] = value;
    }
}

/// Sums the gradients of the parameters over batch and chunks, in order.
///
/// - `partial`: `[partials, d_inner, d_state + 2]`; `ga`: `[d_inner, d_state]`; `gd`, `gbias`: `[d_inner]`
#[cube(launch_unchecked)]
pub(in crate::selective_scan) fn sum_parameters(
    partial: &Tensor<f32>,
    ga: &mut Tensor<f32>,
    gd: &mut Tensor<f32>,
    gbias: &mut Tensor<f32>,
) {
    let stride = partial.shape(2);
    let width = partial.shape(1) * stride;
    let index = ABSOLUTE_POS;
    if index < width {
        let sum = RuntimeCell::<f32>::new(0.0f32);
        for k in 0..partial.shape(0) {
            sum.store(sum.read() + partial[k * width + index]);
        }
        let channel = index / stride;
        let k = index % stride;
        if k + 2 < stride {
            ga[channel * (stride - 2) + k] = sum.read();
        } else if k + 2 == stride {
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
