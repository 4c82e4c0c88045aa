use super::{Layout, find_row, mask, share, sum_sharers, write_zeros};
use crate::cube::sum::across;
use cubecl::prelude::*;

/// Sizes as in the forward.
#[cube(launch_unchecked)]
pub(in crate::masked_softmax) fn masked_softmax_backward<F: Float, N: Size>(
    weights: &Tensor<Vector<F, N>>,
    first: &Tensor<f32>,
    dweights: &Tensor<Vector<F, N>>,
    dscores: &mut Tensor<Vector<F, N>>,
    rows: usize,
    sequence_rows: usize,
    seq: usize,
    past: usize,
    vectors: usize,
    scale: f32,
    #[comptime] layout: Layout,
    #[define(F)] _dtype: StorageType,
) {
    let sharers = comptime!(layout.sharers);
    let sharer = UNIT_POS as usize % sharers;
    let row = find_row::<N>(first, rows, sequence_rows, seq, past, vectors, layout);

    let mut products = Vector::<f32, N>::new(0.0f32);
    for index in 0..share(row.seen, layout) {
        let at = row.start + row.begin + sharer + index * sharers;
        products += Vector::<f32, N>::cast_from(weights[at]) * Vector::cast_from(dweights[at]);
    }
    let along = Vector::<f32, N>::new(sum_sharers(across::<N>(products), layout));
    let factor = Vector::<f32, N>::new(scale);
    for index in 0..share(row.seen, layout) {
        let vector = row.begin + sharer + index * sharers;
        let at = row.start + vector;
        let pull = Vector::<f32, N>::cast_from(dweights[at]) - along;
        let gradient = Vector::<f32, N>::cast_from(weights[at]) * factor * pull;
        let seen = mask::<N>(gradient, 0.0f32, vector, &row);
        dscores[at] = Vector::cast_from(seen);
    }
    write_zeros::<F, N>(dscores, &row, layout);
}
