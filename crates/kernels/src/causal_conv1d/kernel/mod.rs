//! Causal convolution: a unit slides its window, kept in registers, along a few channels.

mod backward;
mod forward;

pub(super) use backward::{causal_conv1d_backward, causal_conv1d_filter_gradient};
pub(super) use forward::causal_conv1d_forward;

use cubecl::prelude::*;

/// What a kernel is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Filter {
    /// Taps.
    pub(super) width: usize,
    /// Steps that a unit holds in registers at once.
    pub(super) run: usize,
    pub(super) has_bias: bool,
    pub(super) has_window: bool,
    pub(super) has_reset: bool,
    pub(super) silu: bool,
}

/// The filters of one vector of channels, tap by tap, from `[channels, width]`.
#[cube]
fn taps<P: Float, N: Size, M: Size>(
    weight: &Tensor<Vector<P, M>>,
    column: usize,
    #[comptime] width: usize,
) -> Array<Vector<f32, N>> {
    let lanes = N::value();
    let wide = M::value();
    let pieces = comptime!(width / wide);
    let mut taps = Array::<Vector<f32, N>>::new(width);
    #[unroll]
    for piece in 0..pieces {
        let mut loaded = Array::<Vector<P, M>>::new(lanes);
        #[unroll]
        for lane in 0..lanes {
            loaded[lane] = weight[(column * lanes + lane) * pieces + piece];
        }
        #[unroll]
        for entry in 0..wide {
            let mut tap = Vector::<f32, N>::new(0.0f32);
            #[unroll]
            for lane in 0..lanes {
                let filter = loaded[lane];
                tap[lane] = f32::cast_from(filter[entry]);
            }
            taps[piece * wide + entry] = tap;
        }
    }
    taps
}

/// The bias of one vector of channels, or zero.
#[cube]
fn bias_of<P: Float, N: Size>(
    bias: &Tensor<P>,
    column: usize,
    #[comptime] has_bias: bool,
) -> Vector<f32, N> {
    let lanes = N::value();
    let mut start = Vector::<f32, N>::new(0.0f32);
    if comptime!(has_bias) {
        #[unroll]
        for lane in 0..lanes {
            start[lane] = f32::cast_from(bias[column * lanes + lane]);
        }
    }
    start
}

/// Filtered inputs before SiLU at entry `at` of `inputs`. `keeps` is 0 where a document starts: no
/// tap looks back across it.
#[cube]
fn filtered<F: Float, N: Size>(
    inputs: &Array<Vector<F, N>>,
    keeps: &Array<f32>,
    taps: &Array<Vector<f32, N>>,
    bias: Vector<f32, N>,
    #[comptime] at: usize,
    #[comptime] filter: Filter,
) -> Vector<f32, N> {
    let mut sum = bias;
    let mut live = 1.0f32;
    #[unroll]
    for back in 0..filter.width {
        let index = comptime!(at - back);
        let term = taps[comptime!(filter.width - 1 - back)] * Vector::cast_from(inputs[index]);
        if comptime!(filter.has_reset) {
            sum += term * Vector::new(live);
            live *= keeps[index];
        } else {
            sum += term;
        }
    }
    sum
}
