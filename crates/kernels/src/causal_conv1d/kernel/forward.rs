use super::{Filter, bias_of, filtered, taps};
use crate::cube::activation::silu;
use cubecl::prelude::*;

/// One unit: `run` steps of one vector of channels.
#[cube(launch_unchecked)]
pub(in crate::causal_conv1d) fn causal_conv1d_forward<F: Float, P: Float, N: Size, M: Size>(
    x: &Tensor<Vector<F, N>>,
    weight: &Tensor<Vector<P, M>>,
    bias: &Tensor<P>,
    window: &Tensor<Vector<F, N>>,
    reset: &Tensor<f32>,
    y: &mut Tensor<Vector<F, N>>,
    batch: usize,
    seq: usize,
    columns: usize,
    #[comptime] filter: Filter,
    #[define(F, P)] _dtypes: [StorageType; 2],
) {
    let run = comptime!(filter.run);
    let before = comptime!(filter.width - 1);
    let held = comptime!(filter.run + filter.width - 1);
    let tiles = seq.div_ceil(run);
    let column = ABSOLUTE_POS % columns;
    let tile = ABSOLUTE_POS / columns % tiles;
    let row = ABSOLUTE_POS / columns / tiles;
    if row >= batch {
        terminate!();
    }
    let start = tile * run;
    let x_first = row * x.stride(0) / N::value() + column;
    let x_step = x.stride(1) / N::value();

    // Everything is loaded before anything is used.
    let mut inputs = Array::<Vector<F, N>>::new(held);
    let mut keeps = Array::<f32>::new(held);
    #[unroll]
    for index in 0..held {
        let mut value = Vector::<F, N>::new(F::from_int(0));
        if start + index >= before {
            let step = clamp_max(start + index - before, seq - 1);
            value = x[x_first + step * x_step];
        } else {
            if comptime!(filter.has_window) {
                value = window[(row * before + start + index) * columns + column];
            }
        }
        inputs[index] = value;
        if comptime!(filter.has_reset) {
            let mut keep = 1.0f32;
            if start + index >= before {
                let step = clamp_max(start + index - before, seq - 1);
                keep -= reset[row * seq + step];
            }
            keeps[index] = keep;
        }
    }
    let taps = taps::<P, N, M>(weight, column, filter.width);
    let bias = bias_of::<P, N>(bias, column, filter.has_bias);

    #[unroll]
    for index in 0..run {
        let at = comptime!(index + filter.width - 1);
        let mut v = filtered::<F, N>(&inputs, &keeps, &taps, bias, at, filter);
        if comptime!(filter.silu) {
            v = silu::<N>(v);
        }
        if start + index < seq {
            y[(row * seq + start + index) * columns + column] = Vector::cast_from(v);
        }
    }
}
