//! Rows of `[batch, seq, ..]` that may be apart, as slices of a projection are.

use cubecl::prelude::*;

/// The first vector of a step; `row` counts steps of all sequences.
#[cube]
pub(crate) fn first_vector<F: Float, N: Size>(
    rows: &Tensor<Vector<F, N>>,
    row: usize,
    seq: usize,
) -> usize {
    (row / seq * rows.stride(0) + row % seq * rows.stride(1)) / N::value()
}
