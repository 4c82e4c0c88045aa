//! Products of a few rows: a weight is read once for a tile of rows, its inner dimension shared by units of a cube, whose
//! sums meet in shared memory in a fixed order.

mod columns;
mod rows;

pub(super) use columns::{ColumnLayout, LineStridesLaunch, product_by_columns};
pub(super) use rows::{RowLayout, product_by_rows};

use crate::cube::rows::{RowStrides, first_of_row};
use cubecl::prelude::*;

/// The first vector of each row in the tile of this cube; that of the last row where there are no more.
#[cube]
fn tile<N: Size>(
    strides: &RowStrides,
    rows: usize,
    seq: usize,
    #[comptime] tile: usize,
) -> Array<usize> {
    let mut starts = Array::<usize>::new(tile);
    #[unroll]
    for row in 0..tile {
        let at = clamp_max(CUBE_POS_Y as usize * tile + row, rows - 1);
        starts[row] = first_of_row::<N>(strides, at, seq);
    }
    starts
}

/// The `at`-th step of a unit, and 1 if there is one, else another step and 0.
#[cube]
fn step_or_none(at: usize, #[comptime] steps: usize) -> (usize, f32) {
    let is_step = at < steps;
    (select(is_step, at, 0usize), select(is_step, 1.0f32, 0.0f32))
}
