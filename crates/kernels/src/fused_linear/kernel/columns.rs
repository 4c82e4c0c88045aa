//! Weights whose columns lie side by side, `[d_input, d_output]` as projections hold them.

use super::{step_or_none, tile};
use crate::cube::activation::silu;
use crate::cube::rows::RowStrides;
use crate::cube::sum::across;
use crate::fused_linear::FusedOutputKind;
use cubecl::prelude::*;

/// Steps of a unit whose loads may be in flight at once.
const AHEAD: usize = 4;

/// How a product is laid over the units of a cube.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::fused_linear) struct ColumnLayout {
    /// Units of a cube, a power of two.
    pub(in crate::fused_linear) units: usize,
    /// Vectors of columns of a cube, a power of two.
    pub(in crate::fused_linear) columns: usize,
    /// Elements of a vector.
    pub(in crate::fused_linear) wide: usize,
    /// Rows of a cube.
    pub(in crate::fused_linear) tile: usize,
    /// Vectors in a row of `x`: as many rows of a weight belong to each as it has elements.
    pub(in crate::fused_linear) steps: usize,
    pub(in crate::fused_linear) weights: usize,
    pub(in crate::fused_linear) has_norm: bool,
    pub(in crate::fused_linear) output: FusedOutputKind,
}

impl ColumnLayout {
    /// Units that share a column.
    fn splits(&self) -> usize {
        self.units / self.columns
    }

    /// Products that a unit has part in.
    fn products(&self) -> usize {
        match self.output {
            FusedOutputKind::Gated => 2,
            FusedOutputKind::SideBySide | FusedOutputKind::Added => 1,
        }
    }
}

/// Elements from one line of each weight to the next.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub(in crate::fused_linear) struct LineStrides {
    pub(in crate::fused_linear) first: usize,
    pub(in crate::fused_linear) second: usize,
    pub(in crate::fused_linear) third: usize,
}

/// One cube for some columns of some rows. `widths` are those of the first two weights, `total` the columns of the result.
#[cube(launch_unchecked)]
pub(in crate::fused_linear) fn product_by_columns<X: Float, P: Float, W: Float, N: Size>(
    x: &Array<Vector<X, N>>,
    norm: &Array<Vector<P, N>>,
    first: &Array<Vector<W, N>>,
    second: &Array<Vector<W, N>>,
    third: &Array<Vector<W, N>>,
    residual: &Array<X>,
    out: &mut Array<X>,
    strides: &RowStrides,
    lines: &LineStrides,
    rows: usize,
    seq: usize,
    first_width: usize,
    second_width: usize,
    total: usize,
    eps: f32,
    #[comptime] layout: ColumnLayout,
    #[define(X, P, W)] _dtypes: [StorageType; 3],
) {
    let units = comptime!(layout.units);
    let columns = comptime!(layout.columns);
    let products = comptime!(layout.products());
    let height = comptime!(layout.tile);
    let unit = UNIT_POS as usize;
    let own = (CUBE_POS_X as usize * columns + unit % columns) * N::value();
    let mut sums = Array::<Vector<f32, N>>::new(comptime!(layout.products() * layout.tile));
    #[unroll]
    for at in 0..products * height {
        sums[at] = Vector::new(0.0f32);
    }
    let mut squares = Array::<f32>::new(layout.tile);
    #[unroll]
    for row in 0..height {
        squares[row] = 0.0f32;
    }
    let starts = tile::<N>(strides, rows, seq, layout.tile);

    // A column past the end is summed like the first one, and not written.
    let column = select(own < total, own, 0usize);
    if comptime!(products == 2) {
        accumulate::<X, P, W, N>(
            x,
            norm,
            first,
            lines.first,
            column,
            &starts,
            &mut sums,
            &mut squares,
            0usize,
            layout,
        );
        accumulate::<X, P, W, N>(
            x,
            norm,
            second,
            lines.second,
            column,
            &starts,
            &mut sums,
            &mut squares,
            height,
            layout,
        );
    } else if comptime!(layout.weights == 1) {
        accumulate::<X, P, W, N>(
            x,
            norm,
            first,
            lines.first,
            column,
            &starts,
            &mut sums,
            &mut squares,
            0usize,
            layout,
        );
    } else if column < first_width {
        accumulate::<X, P, W, N>(
            x,
            norm,
            first,
            lines.first,
            column,
            &starts,
            &mut sums,
            &mut squares,
            0usize,
            layout,
        );
    } else if column < first_width + second_width {
        let column = column - first_width;
        accumulate::<X, P, W, N>(
            x,
            norm,
            second,
            lines.second,
            column,
            &starts,
            &mut sums,
            &mut squares,
            0usize,
            layout,
        );
    } else {
        let column = column - first_width - second_width;
        accumulate::<X, P, W, N>(
            x,
            norm,
            third,
            lines.third,
            column,
            &starts,
            &mut sums,
            &mut squares,
            0usize,
            layout,
        );
    }

    let mut shared =
        SharedMemory::<Vector<f32, N>>::new(comptime!(layout.products() * layout.units));
    let mut shared_squares = SharedMemory::<f32>::new(units);
    #[unroll]
    for row in 0..height {
        #[unroll]
        for product in 0..products {
            shared[product * units + unit] = sums[product * height + row];
        }
        if comptime!(layout.has_norm) {
            shared_squares[unit] = squares[row];
        }
        sync_cube();
        #[unroll]
        for round in 0..comptime!(layout.splits().trailing_zeros()) {
            let stride = comptime!(layout.units >> (round + 1));
            if unit < stride {
                #[unroll]
                for product in 0..products {
                    let other = shared[product * units + unit + stride];
                    shared[product * units + unit] += other;
                }
                if comptime!(layout.has_norm) {
                    let other = shared_squares[unit + stride];
                    shared_squares[unit] += other;
                }
            }
            sync_cube();
        }
        let at = CUBE_POS_Y as usize * height + row;
        if unit < columns && at < rows {
            let mut factor = Vector::<f32, N>::new(1.0f32);
            if comptime!(layout.has_norm) {
                let size = f32::cast_from(comptime!(layout.steps * layout.wide));
                factor = Vector::new(1.0f32 / (shared_squares[unit] / size + eps).sqrt());
            }
            let mut value = shared[unit] * factor;
            if comptime!(products == 2) {
                value = silu::<N>(value) * (shared[units + unit] * factor);
            }
            #[unroll]
            for lane in 0..N::value() {
                if own + lane < total {
                    let place = at * total + own + lane;
                    let mut sum = value[lane];
                    if comptime!(layout.output == FusedOutputKind::Added) {
                        sum += f32::cast_from(residual[place]);
                    }
                    out[place] = X::cast_from(sum);
                }
            }
        }
        sync_cube();
    }
}

/// Adds this unit's steps of the product with `weight`, whose lines are `line` elements apart, from place `to` on, and with the first product the squares of `x`.
#[cube]
fn accumulate<X: Float, P: Float, W: Float, N: Size>(
    x: &Array<Vector<X, N>>,
    norm: &Array<Vector<P, N>>,
    weight: &Array<Vector<W, N>>,
    line: usize,
    column: usize,
    starts: &Array<usize>,
    sums: &mut Array<Vector<f32, N>>,
    squares: &mut Array<f32>,
    #[comptime] to: usize,
    #[comptime] layout: ColumnLayout,
) {
    let split = UNIT_POS as usize / layout.columns;
    let stride = line / N::value();
    let column = column / N::value();
    let rounds = comptime!(layout.steps.div_ceil(layout.splits()));
    for block in 0..comptime!(rounds.div_ceil(AHEAD)) {
        #[unroll]
        for ahead in 0..comptime!(AHEAD.min(rounds)) {
            let at = split + (block * comptime!(AHEAD) + ahead) * comptime!(layout.splits());
            let (step, there) = step_or_none(at, layout.steps);
            let mut weights = Array::<Vector<f32, N>>::new(layout.wide);
            #[unroll]
            for lane in 0..N::value() {
                let row = step * N::value() + lane;
                weights[lane] = Vector::cast_from(weight[row * stride + column]);
            }
            #[unroll]
            for row in 0..comptime!(layout.tile) {
                let mut input = Vector::<f32, N>::cast_from(x[starts[row] + step]);
                input *= Vector::new(there);
                if comptime!(layout.has_norm) {
                    if comptime!(to == 0) {
                        squares[row] += across::<N>(input * input);
                    }
                    input *= Vector::cast_from(norm[step]);
                }
                #[unroll]
                for lane in 0..N::value() {
                    sums[to + row] += weights[lane] * Vector::new(input[lane]);
                }
            }
        }
    }
}
