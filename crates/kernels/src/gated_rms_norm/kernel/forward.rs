use crate::cube::activation::silu;
use crate::cube::rows::first_vector;
use crate::cube::sharers::{Layout, sum_sharers};
use crate::cube::sum::across;
use cubecl::prelude::*;

/// One group of one row for the units of a slot.
#[cube(launch_unchecked)]
pub(in crate::gated_rms_norm) fn gated_rms_norm_forward<F: Float, P: Float, N: Size>(
    y: &Tensor<Vector<F, N>>,
    z: &Tensor<Vector<F, N>>,
    weight: &Tensor<Vector<P, N>>,
    out: &mut Tensor<Vector<F, N>>,
    items: usize,
    groups: usize,
    seq: usize,
    eps: f32,
    #[comptime] layout: Layout,
    #[define(F, P)] _dtypes: [StorageType; 2],
) {
    let sharers = comptime!(layout.sharers);
    let held = comptime!(layout.held);
    let vectors = comptime!(layout.vectors);
    let at = UNIT_POS as usize;
    let sharer = at % sharers;
    let item = CUBE_POS * layout.slots + at / sharers;
    let group = item % groups;
    let row = clamp_max(item, items - 1) / groups;
    let y_first = first_vector::<F, N>(y, row, seq) + group * vectors;
    let z_first = first_vector::<F, N>(z, row, seq) + group * vectors;

    let mut ys = Array::<Vector<F, N>>::new(held);
    let mut zs = Array::<Vector<F, N>>::new(held);
    #[unroll]
    for index in 0..held {
        let vector = sharer + index * sharers;
        ys[index] = Vector::new(F::from_int(0));
        zs[index] = Vector::new(F::from_int(0));
        if item < items && vector < vectors {
            ys[index] = y[y_first + vector];
            zs[index] = z[z_first + vector];
        }
    }
    let mut gated = Array::<Vector<f32, N>>::new(held);
    let mut squares = Vector::<f32, N>::new(0.0f32);
    #[unroll]
    for index in 0..held {
        let g = Vector::cast_from(ys[index]) * silu::<N>(Vector::cast_from(zs[index]));
        gated[index] = g;
        squares += g * g;
    }
    let mut shared = SharedMemory::<f32>::new(comptime!(layout.slots * layout.sharers));
    shared[at] = across::<N>(squares);
    sum_sharers(&mut shared, 1usize, layout);
    let size = f32::cast_from(vectors * N::value());
    let scale = 1.0f32 / (shared[at - sharer] / size + eps).sqrt();
    #[unroll]
    for index in 0..held {
        let vector = sharer + index * sharers;
        if item < items && vector < vectors {
            let w = Vector::<f32, N>::cast_from(weight[group * vectors + vector]);
            out[item * vectors + vector] = Vector::cast_from(gated[index] * w * Vector::new(scale));
        }
    }
}
