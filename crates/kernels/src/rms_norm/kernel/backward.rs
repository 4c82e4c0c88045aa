use crate::cube::rows::first_vector;
use crate::cube::sharers::{Layout, sum_sharers};
use crate::cube::sum::across;
use cubecl::prelude::*;

/// A slot takes every `stride`-th row, so that its units can sum their share of the weight's gradient in registers;
/// `partial` is `[stride, channels]`, and not written where that gradient is not wanted.
#[cube(launch_unchecked)]
pub(in crate::rms_norm) fn rms_norm_backward<F: Float, P: Float, O: Float, N: Size>(
    x: &Tensor<Vector<F, N>>,
    weight: &Tensor<Vector<P, N>>,
    dout: &Tensor<Vector<O, N>>,
    dx: &mut Tensor<Vector<F, N>>,
    partial: &mut Tensor<Vector<f32, N>>,
    rows: usize,
    seq: usize,
    stride: usize,
    eps: f32,
    #[comptime] layout: Layout,
    #[comptime] weight_wanted: bool,
    #[define(F, P, O)] _dtypes: [StorageType; 3],
) {
    let sharers = comptime!(layout.sharers);
    let held = comptime!(layout.held);
    let vectors = comptime!(layout.vectors);
    let units = comptime!(layout.slots * layout.sharers);
    let at = UNIT_POS as usize;
    let sharer = at % sharers;
    let slot = CUBE_POS * layout.slots + at / sharers;
    let mut shared = SharedMemory::<f32>::new(comptime!(2 * layout.slots * layout.sharers));
    let size = f32::cast_from(vectors * N::value());

    let mut weights = Array::<Vector<f32, N>>::new(held);
    let mut dweights = Array::<Vector<f32, N>>::new(held);
    #[unroll]
    for index in 0..held {
        let vector = sharer + index * sharers;
        weights[index] = Vector::new(0.0f32);
        dweights[index] = Vector::new(0.0f32);
        if vector < vectors {
            weights[index] = Vector::cast_from(weight[vector]);
        }
    }
    for round in 0..rows.div_ceil(stride) {
        let row = slot + round * stride;
        let live = slot < stride && row < rows;
        let inside = clamp_max(row, rows - 1);
        let x_first = first_vector::<F, N>(x, inside, seq);
        let dout_first = first_vector::<O, N>(dout, inside, seq);
        let mut xs = Array::<Vector<f32, N>>::new(held);
        let mut douts = Array::<Vector<f32, N>>::new(held);
        #[unroll]
        for index in 0..held {
            let vector = sharer + index * sharers;
            xs[index] = Vector::new(0.0f32);
            douts[index] = Vector::new(0.0f32);
            if live && vector < vectors {
                xs[index] = Vector::cast_from(x[x_first + vector]);
                douts[index] = Vector::cast_from(dout[dout_first + vector]);
            }
        }
        let mut squares = Vector::<f32, N>::new(0.0f32);
        let mut products = Vector::<f32, N>::new(0.0f32);
        #[unroll]
        for index in 0..held {
            squares += xs[index] * xs[index];
            products += xs[index] * weights[index] * douts[index];
        }
        shared[at] = across::<N>(squares);
        shared[units + at] = across::<N>(products);
        sum_sharers(&mut shared, 2usize, layout);
        let scale = 1.0f32 / (shared[at - sharer] / size + eps).sqrt();
        let along = shared[units + at - sharer] / size * scale * scale;
        // The next round writes where others may still read.
        sync_cube();
        #[unroll]
        for index in 0..held {
            let vector = sharer + index * sharers;
            if live && vector < vectors {
                let wide = Vector::<f32, N>::new(scale);
                if comptime!(weight_wanted) {
                    dweights[index] += douts[index] * xs[index] * wide;
                }
                let q = douts[index] * weights[index];
                let found = (q - xs[index] * Vector::new(along)) * wide;
                dx[row * vectors + vector] = Vector::cast_from(found);
            }
        }
    }
    if comptime!(weight_wanted) {
        #[unroll]
        for index in 0..held {
            let vector = sharer + index * sharers;
            if slot < stride && vector < vectors {
                partial[slot * vectors + vector] = dweights[index];
            }
        }
    }
}
