use crate::cube::rows::{RowStrides, first_of_row};
use crate::cube::sharers::{Layout, sum_sharers};
use crate::cube::sum::across;
use cubecl::prelude::*;

/// One step for the units of a slot.
#[cube(launch_unchecked)]
pub(in crate::rms_norm) fn rms_norm_forward<F: Float, P: Float, O: Float, N: Size>(
    x: &Array<Vector<F, N>>,
    weight: &Array<Vector<P, N>>,
    out: &mut Array<Vector<O, N>>,
    strides: &RowStrides,
    rows: usize,
    seq: usize,
    eps: f32,
    #[comptime] layout: Layout,
    #[define(F, P, O)] _dtypes: [StorageType; 3],
) {
    let sharers = comptime!(layout.sharers);
    let held = comptime!(layout.held);
    let vectors = comptime!(layout.vectors);
    let at = UNIT_POS as usize;
    let sharer = at % sharers;
    let row = CUBE_POS * layout.slots + at / sharers;
    let first = first_of_row::<N>(strides, clamp_max(row, rows - 1), seq);

    let mut xs = Array::<Vector<f32, N>>::new(held);
    let mut squares = Vector::<f32, N>::new(0.0f32);
    #[unroll]
    for index in 0..held {
        let vector = sharer + index * sharers;
        xs[index] = Vector::new(0.0f32);
        if row < rows && vector < vectors {
            xs[index] = Vector::cast_from(x[first + vector]);
        }
    }
    #[unroll]
    for index in 0..held {
        squares += xs[index] * xs[index];
    }
    let mut shared = SharedMemory::<f32>::new(comptime!(layout.slots * layout.sharers));
    shared[at] = across::<N>(squares);
    sum_sharers(&mut shared, 1usize, layout);
    let size = f32::cast_from(vectors * N::value());
    let scale = 1.0f32 / (shared[at - sharer] / size + eps).sqrt();
    #[unroll]
    for index in 0..held {
        let vector = sharer + index * sharers;
        if row < rows && vector < vectors {
            let w = Vector::<f32, N>::cast_from(weight[vector]);
            out[row * vectors + vector] = Vector::cast_from(xs[index] * w * Vector::new(scale));
        }
    }
}
