use super::{Layout, find_row, largest_of_sharers, mask, share, sum_sharers, write_zeros};
use crate::cube::sum::{across, largest_of};
use cubecl::prelude::*;

/// Score of a hidden key: as good as minus infinity.
const HIDDEN: f32 = -1e30;

/// `rows` counts those of all sequences, `sequence_rows` those of one.
#[cube(launch_unchecked)]
pub(in crate::masked_softmax) fn masked_softmax_forward<F: Float, N: Size>(
    scores: &Tensor<Vector<F, N>>,
    first: &Tensor<f32>,
    weights: &mut Tensor<Vector<F, N>>,
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
    let factor = Vector::<f32, N>::new(scale);

    // The sum is relative to the largest score so far.
    let mut largest = f32::new(HIDDEN);
    let mut sum = 0.0f32;
    for index in 0..share(row.seen, layout) {
        let vector = row.begin + sharer + index * sharers;
        let loaded = Vector::<f32, N>::cast_from(scores[row.start + vector]);
        let scaled = mask::<N>(loaded * factor, f32::new(HIDDEN), vector, &row);
        let next = max(largest, largest_of::<N>(scaled));
        let terms = (scaled - Vector::new(next)).exp();
        sum = sum * (largest - next).exp() + across::<N>(terms);
        largest = next;
    }
    let top = largest_of_sharers(largest, layout);
    let total = sum_sharers(sum * (largest - top).exp(), layout);
    let inverse = Vector::<f32, N>::new(1.0f32 / total);
    for index in 0..share(row.seen, layout) {
        let vector = row.begin + sharer + index * sharers;
        let loaded = Vector::<f32, N>::cast_from(scores[row.start + vector]);
        let terms = (loaded * factor - Vector::new(top)).exp();
        let seen = mask::<N>(terms * inverse, 0.0f32, vector, &row);
        weights[row.start + vector] = Vector::cast_from(seen);
    }
    write_zeros::<F, N>(weights, &row, layout);
}
