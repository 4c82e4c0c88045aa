use crate::cube::activation::{silu, silu_derivative};
use crate::cube::rows::first_vector;
use crate::cube::sharers::{Layout, sum_sharers};
use crate::cube::sum::across;
use cubecl::prelude::*;

/// A slot takes one group of every `stride`-th row, so that its units can sum their share of the
/// weight's gradient in registers; `partial` is `[stride, channels]`.
#[cube(launch_unchecked)]
pub(in crate::gated_rms_norm) fn gated_rms_norm_backward<F: Float, P: Float, N: Size>(
    y: &Tensor<Vector<F, N>>,
    z: &Tensor<Vector<F, N>>,
    weight: &Tensor<Vector<P, N>>,
    dout: &Tensor<Vector<F, N>>,
    dy: &mut Tensor<Vector<F, N>>,
    dz: &mut Tensor<Vector<F, N>>,
    partial: &mut Tensor<Vector<f32, N>>,
    rows: usize,
    seq: usize,
    stride: usize,
    groups: usize,
    eps: f32,
    #[comptime] layout: Layout,
    #[define(F, P)] _dtypes: [StorageType; 2],
) {
    let sharers = comptime!(layout.sharers);
    let held = comptime!(layout.held);
    let vectors = comptime!(layout.vectors);
    let units = comptime!(layout.slots * layout.sharers);
    let at = UNIT_POS as usize;
    let sharer = at % sharers;
    let slot = CUBE_POS * layout.slots + at / sharers;
    let group = slot % groups;
    let first = slot / groups;
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
            weights[index] = Vector::cast_from(weight[group * vectors + vector]);
        }
    }
    for round in 0..rows.div_ceil(stride) {
        let row = first + round * stride;
        let live = first < stride && row < rows;
        let item = row * groups + group;
        let inside = clamp_max(row, rows - 1);
        let y_first = first_vector::<F, N>(y, inside, seq) + group * vectors;
        let z_first = first_vector::<F, N>(z, inside, seq) + group * vectors;
        let dout_first = first_vector::<F, N>(dout, inside, seq) + group * vectors;
        let mut ys = Array::<Vector<F, N>>::new(held);
        let mut zs = Array::<Vector<F, N>>::new(held);
        let mut douts = Array::<Vector<F, N>>::new(held);
        #[unroll]
        for index in 0..held {
            let vector = sharer + index * sharers;
            ys[index] = Vector::new(F::from_int(0));
            zs[index] = Vector::new(F::from_int(0));
            douts[index] = Vector::new(F::from_int(0));
            if live && vector < vectors {
                ys[index] = y[y_first + vector];
                zs[index] = z[z_first + vector];
                douts[index] = dout[dout_first + vector];
            }
        }
        let mut squares = Vector::<f32, N>::new(0.0f32);
        let mut products = Vector::<f32, N>::new(0.0f32);
        #[unroll]
        for index in 0..held {
            let g = Vector::cast_from(ys[index]) * silu::<N>(Vector::cast_from(zs[index]));
            squares += g * g;
            products += g * weights[index] * Vector::cast_from(douts[index]);
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
                let zv = Vector::<f32, N>::cast_from(zs[index]);
                let yv = Vector::<f32, N>::cast_from(ys[index]);
                let dv = Vector::<f32, N>::cast_from(douts[index]);
                let gate = silu::<N>(zv);
                let g = yv * gate;
                let wide = Vector::<f32, N>::new(scale);
                dweights[index] += dv * g * wide;
                let dg = (dv * weights[index] - g * Vector::new(along)) * wide;
                dy[item * vectors + vector] = Vector::cast_from(dg * gate);
                dz[item * vectors + vector] = Vector::cast_from(dg * yv * silu_derivative::<N>(zv));
            }
        }
    }
    #[unroll]
    for index in 0..held {
        let vector = sharer + index * sharers;
        if first < stride && vector < vectors {
            partial[slot * vectors + vector] = dweights[index];
        }
    }
}
