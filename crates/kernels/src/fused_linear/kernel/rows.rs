//! Weights whose inner dimension lies together: the transpose of an embedding, as a tied head reads it.

use super::{step_or_none, tile};
use crate::cube::rows::RowStrides;
use crate::cube::sum::across;
use cubecl::prelude::*;

/// How a product is laid over the units of a cube.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::fused_linear) struct RowLayout {
    /// Units of a cube.
    pub(in crate::fused_linear) units: usize,
    /// Units that share a column of the result, a power of two.
    pub(in crate::fused_linear) sharers: usize,
    /// Columns of each unit.
    pub(in crate::fused_linear) held: usize,
    /// Rows of a cube.
    pub(in crate::fused_linear) tile: usize,
    /// Vectors in a row of `x`.
    pub(in crate::fused_linear) steps: usize,
}

impl RowLayout {
    /// Columns of a cube that are summed at the same time.
    pub(in crate::fused_linear) fn slots(&self) -> usize {
        self.units / self.sharers
    }
}

/// One cube for some columns of some rows; `line` are the elements from one row of the weight's memory to the next, `total` the
/// columns of the result.
#[cube(launch_unchecked)]
pub(in crate::fused_linear) fn product_by_rows<X: Float, W: Float, N: Size>(
    x: &Array<Vector<X, N>>,
    weight: &Array<Vector<W, N>>,
    out: &mut Array<X>,
    strides: &RowStrides,
    line: usize,
    rows: usize,
    seq: usize,
    total: usize,
    #[comptime] layout: RowLayout,
    #[define(X, W)] _dtypes: [StorageType; 2],
) {
    let units = comptime!(layout.units);
    let sharers = comptime!(layout.sharers);
    let slots = comptime!(layout.slots());
    let held = comptime!(layout.held);
    let height = comptime!(layout.tile);
    let unit = UNIT_POS as usize;
    let sharer = unit % sharers;
    let stride = line / N::value();
    let own = CUBE_POS_X as usize * slots * held + unit / sharers;
    let starts = tile::<N>(strides, rows, seq, layout.tile);

    let mut places = Array::<usize>::new(layout.held);
    #[unroll]
    for index in 0..held {
        // A column past the end is summed like the last one, and not written.
        places[index] = clamp_max(own + index * slots, total - 1) * stride;
    }
    let mut sums = Array::<Vector<f32, N>>::new(comptime!(layout.held * layout.tile));
    #[unroll]
    for at in 0..held * height {
        sums[at] = Vector::new(0.0f32);
    }
    for round in 0..comptime!(layout.steps.div_ceil(layout.sharers)) {
        let (step, there) = step_or_none(sharer + round * sharers, layout.steps);
        let mut inputs = Array::<Vector<f32, N>>::new(layout.tile);
        #[unroll]
        for row in 0..height {
            inputs[row] = Vector::<f32, N>::cast_from(x[starts[row] + step]) * Vector::new(there);
        }
        #[unroll]
        for index in 0..held {
            let weights = Vector::<f32, N>::cast_from(weight[places[index] + step]);
            #[unroll]
            for row in 0..height {
                sums[index * height + row] += weights * inputs[row];
            }
        }
    }

    let mut shared = SharedMemory::<f32>::new(comptime!(layout.held * layout.tile * layout.units));
    #[unroll]
    for at in 0..held * height {
        shared[at * units + unit] = across::<N>(sums[at]);
    }
    sync_cube();
    #[unroll]
    for round in 0..comptime!(layout.sharers.trailing_zeros()) {
        let reach = comptime!(layout.sharers >> (round + 1));
        if sharer < reach {
            #[unroll]
            for at in 0..held * height {
                let other = shared[at * units + unit + reach];
                shared[at * units + unit] += other;
            }
        }
        sync_cube();
    }
    // One unit writes a column of a row: neighbours write side by side.
    for round in 0..comptime!((layout.held * layout.tile * layout.slots()).div_ceil(layout.units)) {
        let item = round * units + unit;
        let (at, slot) = (item / slots, item % slots);
        let column = CUBE_POS_X as usize * slots * held + at / height * slots + slot;
        let row = CUBE_POS_Y as usize * height + at % height;
        if at < held * height && column < total && row < rows {
            out[row * total + column] = X::cast_from(shared[at * units + slot * sharers]);
        }
    }
}
