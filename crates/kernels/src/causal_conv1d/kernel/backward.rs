use super::{Filter, bias_of, filtered, taps};
use crate::cube::activation::silu_derivative;
use crate::cube::sum::strided_sum;
use cubecl::prelude::*;

/// One unit: `tiles` times `run` steps of one vector of channels. The input may begin with `lead`
/// steps of the window, and so does `dx`; `dy` and `reset` begin with the sequence. `partial` gets
/// each unit's share of the gradients of the taps and the bias, `[units, width + 1, channels]`.
#[cube(launch_unchecked)]
pub(in crate::causal_conv1d) fn causal_conv1d_backward<F: Float, P: Float, N: Size, M: Size>(
    x: &Tensor<Vector<F, N>>,
    weight: &Tensor<Vector<P, M>>,
    bias: &Tensor<P>,
    reset: &Tensor<f32>,
    dy: &Tensor<Vector<F, N>>,
    dx: &mut Tensor<Vector<F, N>>,
    partial: &mut Tensor<Vector<f32, N>>,
    batch: usize,
    seq: usize,
    lead: usize,
    columns: usize,
    tiles: usize,
    #[comptime] filter: Filter,
    #[define(F, P)] _dtypes: [StorageType; 2],
) {
    let run = comptime!(filter.run);
    let width = comptime!(filter.width);
    let before = comptime!(filter.width - 1);
    let held = comptime!(filter.run + 2 * (filter.width - 1));
    let ahead = comptime!(filter.run + filter.width - 1);
    let length = seq + lead;
    let parts = length.div_ceil(run * tiles);
    let column = ABSOLUTE_POS % columns;
    let part = ABSOLUTE_POS / columns % parts;
    let row = ABSOLUTE_POS / columns / parts;
    if row >= batch {
        terminate!();
    }
    let x_first = row * x.stride(0) / N::value() + column;
    let x_step = x.stride(1) / N::value();
    let dy_first = row * dy.stride(0) / N::value() + column;
    let dy_step = dy.stride(1) / N::value();
    let taps = taps::<P, N, M>(weight, column, filter.width);
    let bias = bias_of::<P, N>(bias, column, filter.has_bias);
    let mut dtaps = Array::<Vector<f32, N>>::new(comptime!(filter.width + 1));
    #[unroll]
    for tap in 0..comptime!(filter.width + 1) {
        dtaps[tap] = Vector::new(0.0f32);
    }

    for tile in 0..tiles {
        let start = (part * tiles + tile) * run;
        // Entry `index` is step `start + index - before` of the input.
        let mut inputs = Array::<Vector<F, N>>::new(held);
        let mut keeps = Array::<f32>::new(held);
        let mut dout = Array::<Vector<F, N>>::new(ahead);
        #[unroll]
        for index in 0..held {
            let mut value = Vector::<F, N>::new(F::from_int(0));
            if start + index >= before && start + index < length + before {
                value = x[x_first + (start + index - before) * x_step];
            }
            inputs[index] = value;
        }
        if comptime!(filter.has_reset) {
            #[unroll]
            for index in 0..held {
                let mut keep = 1.0f32;
                if start + index >= before + lead && start + index < length + before {
                    keep -= reset[row * seq + start + index - before - lead];
                }
                keeps[index] = keep;
            }
        }
        #[unroll]
        for index in 0..ahead {
            let mut value = Vector::<F, N>::new(F::from_int(0));
            if start + index >= lead && start + index < length {
                value = dy[dy_first + (start + index - lead) * dy_step];
            }
            dout[index] = value;
        }
        let mut dv = Array::<Vector<f32, N>>::new(ahead);
        #[unroll]
        for index in 0..ahead {
            let mut gradient = Vector::<f32, N>::cast_from(dout[index]);
            if comptime!(filter.silu) {
                let at = comptime!(index + filter.width - 1);
                let v = filtered::<F, N>(&inputs, &keeps, &taps, bias, at, filter);
                gradient *= silu_derivative::<N>(v);
            }
            dv[index] = gradient;
        }
        #[unroll]
        for index in 0..run {
            dtaps[width] += dv[index];
            let mut live = 1.0f32;
            #[unroll]
            for back in 0..width {
                let at = comptime!(index + filter.width - 1 - back);
                let mut term = dv[index] * Vector::cast_from(inputs[at]);
                if comptime!(filter.has_reset) {
                    term *= Vector::new(live);
                    live *= keeps[at];
                }
                dtaps[comptime!(filter.width - 1 - back)] += term;
            }
            let mut sum = Vector::<f32, N>::new(0.0f32);
            let mut live = 1.0f32;
            #[unroll]
            for back in 0..width {
                let mut term = dv[index + back] * taps[comptime!(filter.width - 1 - back)];
                if comptime!(filter.has_reset) {
                    if comptime!(back > 0) {
                        live *= keeps[comptime!(index + filter.width - 1 + back)];
                    }
                    term *= Vector::new(live);
                }
                sum += term;
            }
            if start + index < length {
                dx[(row * length + start + index) * columns + column] = Vector::cast_from(sum);
            }
        }
    }
    #[unroll]
    for tap in 0..comptime!(filter.width + 1) {
        partial[((row * parts + part) * (width + 1) + tap) * columns + column] = dtaps[tap];
    }
}

/// Sums the units' shares. Cubes along y: one a tap, then the bias.
#[cube(launch)]
pub(in crate::causal_conv1d) fn causal_conv1d_filter_gradient<P: Float>(
    partial: &Tensor<f32>,
    dweight: &mut Tensor<P>,
    dbias: &mut Tensor<P>,
    parts: usize,
    channels: usize,
    #[comptime] filter: Filter,
    #[define(P)] _dtype: StorageType,
) {
    let width = comptime!(filter.width);
    let channel = (CUBE_POS_X * CUBE_DIM_X + UNIT_POS_X) as usize;
    let tap = CUBE_POS_Y as usize;
    let mut count = parts;
    if channel >= channels {
        count = 0;
    }
    let first = tap * channels + channel;
    let sum = strided_sum(partial, first, (width + 1) * channels, count);
    if UNIT_POS_Y == 0 && channel < channels {
        if tap < width {
            dweight[channel * width + tap] = P::cast_from(sum);
        } else {
            if comptime!(filter.has_bias) {
                dbias[channel] = P::cast_from(sum);
            }
        }
    }
}
