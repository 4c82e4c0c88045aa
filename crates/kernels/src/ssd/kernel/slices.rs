//! Products of tiles in registers, from slices of 16 in shared memory.

use super::TILE;
use cubecl::prelude::*;

/// Length of a slice along the summed axis, and units along a side of a tile.
pub(super) const SLICE: usize = 16;
/// Elements of a unit along each side of a tile.
pub(super) const SIDE: usize = 4;
/// Distance of the lines of a slice in shared memory; chosen against bank conflicts.
pub(super) const STRIDE: usize = 66;

/// Room for one slice.
#[cube]
pub(super) fn slice() -> SharedMemory<f32> {
    SharedMemory::<f32>::new(comptime!(SLICE * STRIDE))
}

/// 64 rows of 16 elements, turned so that an element's 64 rows lie side by side. `first` and
/// `stride` count vectors; elements from `limit` on and rows from `rows` on are zero.
#[cube]
pub(super) fn load_turned<E: Float, N: Size>(
    source: &Tensor<Vector<E, N>>,
    slice: &mut SharedMemory<f32>,
    first: usize,
    stride: usize,
    rows: usize,
    from: usize,
    limit: usize,
) {
    let lanes = N::value();
    let across = comptime!(SLICE / lanes);
    #[unroll]
    for piece in 0..comptime!(SIDE / lanes) {
        let flat = UNIT_POS as usize + comptime!(piece * SLICE * SLICE);
        let row = flat / across;
        let element = flat % across * lanes;
        let mut value = Vector::<f32, N>::new(0.0f32);
        if row < rows && from + element < limit {
            value = Vector::cast_from(source[first + row * stride + (from + element) / lanes]);
        }
        #[unroll]
        for lane in 0..lanes {
            slice[(element + lane) * comptime!(STRIDE) + row] = value[lane];
        }
    }
}

/// 16 rows of 64 elements, as they lie. Limits as in [`load_turned`].
#[cube]
pub(super) fn load_rows<E: Float, N: Size>(
    source: &Tensor<Vector<E, N>>,
    slice: &mut SharedMemory<f32>,
    first: usize,
    stride: usize,
    rows: usize,
    from: usize,
    limit: usize,
) {
    let lanes = N::value();
    let across = comptime!(TILE / lanes);
    #[unroll]
    for piece in 0..comptime!(SIDE / lanes) {
        let flat = UNIT_POS as usize + comptime!(piece * SLICE * SLICE);
        let row = flat / across;
        let element = flat % across * lanes;
        let mut value = Vector::<f32, N>::new(0.0f32);
        if row < rows && from + element < limit {
            value = Vector::cast_from(source[first + row * stride + (from + element) / lanes]);
        }
        #[unroll]
        for lane in 0..lanes {
            slice[row * comptime!(STRIDE) + element + lane] = value[lane];
        }
    }
}

/// Adds the product of two slices to the tile: unit `(row, column)` of 16 by 16 has the rows
/// `row + 16 i` and the columns `column + 16 j`.
#[cube]
pub(super) fn multiply(
    left: &SharedMemory<f32>,
    left_first: usize,
    #[comptime] left_stride: usize,
    right: &SharedMemory<f32>,
    sums: &mut Array<f32>,
) {
    let row = UNIT_POS as usize / comptime!(SLICE);
    let column = UNIT_POS as usize % comptime!(SLICE);
    for k in 0..comptime!(SLICE) {
        let mut rows = Array::<f32>::new(comptime!(SIDE));
        let mut columns = Array::<f32>::new(comptime!(SIDE));
        #[unroll]
        for i in 0..comptime!(SIDE) {
            rows[i] = left[left_first + k * left_stride + row + comptime!(i * SLICE)];
            columns[i] = right[k * comptime!(STRIDE) + column + comptime!(i * SLICE)];
        }
        #[unroll]
        for i in 0..comptime!(SIDE) {
            #[unroll]
            for j in 0..comptime!(SIDE) {
                sums[i * comptime!(SIDE) + j] += rows[i] * columns[j];
            }
        }
    }
}

/// Sets a tile's sums to zero.
#[cube]
pub(super) fn clear(sums: &mut Array<f32>) {
    #[unroll]
    for index in 0..comptime!(SIDE * SIDE) {
        sums[index] = 0.0f32;
    }
}
