//! Sums in a fixed order: of a vector's elements, beside what else is asked of one, and the second half of every sum over rows, partial sums to one.

use super::tensor::empty;
use burn::tensor::{DType, Shape};
use burn_cubecl::{CubeRuntime, tensor::CubeTensor};
use cubecl::prelude::*;
use std::ops::Range;

/// Columns of a cube.
pub(crate) const COLUMNS: u32 = 32;
/// Units that share a column.
pub(crate) const SHARERS: u32 = 8;

/// Sum of a vector's elements.
#[cube]
pub(crate) fn across<N: Size>(vector: Vector<f32, N>) -> f32 {
    let mut sum = 0.0f32;
    #[unroll]
    for lane in 0..N::value() {
        sum += vector[lane];
    }
    sum
}

/// The element of a vector at `wanted`, which need not be known to the compiler.
#[cube]
pub(crate) fn lane_of<N: Size>(vector: Vector<f32, N>, wanted: usize) -> f32 {
    let mut value = f32::new(0.0);
    #[unroll]
    for lane in 0..N::value() {
        value = select(wanted == lane, vector[lane], value);
    }
    value
}

/// Largest of a vector's elements.
#[cube]
pub(crate) fn largest_of<N: Size>(vector: Vector<f32, N>) -> f32 {
    let mut largest = vector[0];
    #[unroll]
    for lane in 1..N::value() {
        largest = max(largest, vector[lane]);
    }
    largest
}

/// Sums the values of a cube's `units`, a power of two, in shared memory of that size; every unit gets the sum.
#[cube]
pub(crate) fn sum_units(
    shared: &mut SharedMemory<f32>,
    value: f32,
    #[comptime] units: usize,
) -> f32 {
    let unit = UNIT_POS as usize;
    sync_cube();
    shared[unit] = value;
    sync_cube();
    #[unroll]
    for round in 0..comptime!(units.trailing_zeros()) {
        let stride = comptime!(units >> (round + 1));
        if unit < stride {
            let other = shared[unit + stride];
            shared[unit] += other;
        }
        sync_cube();
    }
    shared[0]
}

/// Sums `count` values `stride` apart, the work shared by the units of a cube column. Every unit of
/// the cube has to call it; units with `UNIT_POS_Y` 0 get the sum.
#[cube]
pub(crate) fn strided_sum(values: &Tensor<f32>, first: usize, stride: usize, count: usize) -> f32 {
    let sharer = UNIT_POS_Y as usize;
    let sharers = comptime!(SHARERS as usize);
    let columns = comptime!(COLUMNS as usize);
    let mut shared = SharedMemory::<f32>::new(comptime!((SHARERS * COLUMNS) as usize));
    let mut sum = 0.0f32;
    let mine = (count + sharers - 1 - sharer) / sharers;
    for index in 0..mine {
        sum += values[first + (sharer + index * sharers) * stride];
    }
    shared[sharer * columns + UNIT_POS_X as usize] = sum;
    sync_cube();
    let mut total = 0.0f32;
    if sharer == 0 {
        #[unroll]
        for other in 0..sharers {
            total += shared[other * columns + UNIT_POS_X as usize];
        }
    }
    total
}

#[cube(launch)]
fn sum_rows_kernel<P: Float>(
    values: &Tensor<f32>,
    sums: &mut Tensor<P>,
    rows: usize,
    width: usize,
    first: usize,
    columns: usize,
    #[define(P)] _dtype: StorageType,
) {
    let column = (CUBE_POS_X * CUBE_DIM_X + UNIT_POS_X) as usize;
    let mut count = rows;
    if column >= columns {
        count = 0;
    }
    let sum = strided_sum(values, first + column, width, count);
    if UNIT_POS_Y == 0 && column < columns {
        sums[column] = P::cast_from(sum);
    }
}

/// Sums some columns of a contiguous `[rows, width]` in f32 over its rows.
pub(crate) fn sum_rows<R: CubeRuntime>(
    values: &CubeTensor<R>,
    rows: usize,
    width: usize,
    columns: Range<usize>,
    dtype: DType,
) -> CubeTensor<R> {
    let sums = empty(values, Shape::new([columns.len()]), dtype);
    sum_rows_kernel::launch::<R>(
        &values.client,
        CubeCount::Static((columns.len() as u32).div_ceil(COLUMNS), 1, 1),
        CubeDim::new_2d(COLUMNS, SHARERS),
        values.clone().into_tensor_arg(),
        sums.clone().into_tensor_arg(),
        rows,
        width,
        columns.start,
        columns.len(),
        dtype.into(),
    );
    sums
}
