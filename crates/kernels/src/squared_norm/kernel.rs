//! Parts of a sum, one a cube.

use crate::cube::sum::{across, sum_units};
use cubecl::prelude::*;

/// Units of a cube.
pub(super) const UNITS: usize = 256;

/// Each cube's share of the sum of `vectors` vectors, or of their squares, goes to place `first` and its number.
#[cube(launch_unchecked)]
pub(super) fn partial_sums<F: Float, N: Size>(
    values: &Tensor<Vector<F, N>>,
    sums: &mut Tensor<f32>,
    first: usize,
    vectors: usize,
    #[comptime] of_squares: bool,
    #[define(F)] _dtype: StorageType,
) {
    let stride = CUBE_COUNT * comptime!(UNITS);
    let unit = CUBE_POS * comptime!(UNITS) + UNIT_POS as usize;
    let mut sum = Vector::<f32, N>::new(0.0f32);
    let mine = (vectors + stride - 1 - unit) / stride;
    for index in 0..mine {
        let value = Vector::<f32, N>::cast_from(values[unit + index * stride]);
        if comptime!(of_squares) {
            sum += value * value;
        } else {
            sum += value;
        }
    }
    let mut shared = SharedMemory::<f32>::new(comptime!(UNITS));
    let total = sum_units(&mut shared, across::<N>(sum), UNITS);
    if UNIT_POS == 0 {
        sums[first + CUBE_POS] = total;
    }
}
