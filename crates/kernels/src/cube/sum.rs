//! Second half of every sum over rows: partial sums to one, in a fixed order.

use cubecl::prelude::*;

/// Columns of a cube.
pub(crate) const COLUMNS: u32 = 32;
/// Units that share a column.
pub(crate) const SHARERS: u32 = 8;

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
