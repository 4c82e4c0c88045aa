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

/// Elements from one sequence to the next, and from one step to the next, of rows that a kernel takes as an array.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub(crate) struct RowStrides {
    pub(crate) sequence: usize,
    pub(crate) step: usize,
}

/// As [`first_vector`], of an array.
#[cube]
pub(crate) fn first_of_row<N: Size>(strides: &RowStrides, row: usize, seq: usize) -> usize {
    (row / seq * strides.sequence + row % seq * strides.step) / N::value()
}
