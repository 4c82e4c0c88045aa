//! Launches of the CubeCL kernels.

use super::kernel::{
    ColumnLayout, LineStridesLaunch, RowLayout, product_by_columns, product_by_rows,
};
use super::{
    FEW_ROWS, FEW_ROWS_OF_HEAD, FusedLinearOperands, FusedLinearProblem, FusedOutputKind, reference,
};
use crate::cube::tensor::{array, empty, operand, processors, row_strides, rows_operand};
use crate::product::multiplies_quickly;
use burn::tensor::FloatDType;
use burn_cubecl::{
    CubeBackend, CubeRuntime, FloatElement, IntElement, element::BoolElement, tensor::CubeTensor,
};
use cubecl::prelude::*;

/// Units of a cube.
const UNITS: usize = 256;
/// Most rows of a cube: each has sums in every unit's registers.
const TILE: usize = 4;
/// Elements of a vector where columns lie side by side, and bytes of one where the inner dimension does.
const WIDE: usize = 4;
const LOAD_BYTES: usize = 16;
/// Most vectors of columns of a cube.
const COLUMNS: usize = 32;
/// Least bytes of a line of columns: what memory moves at a time.
const SECTOR_BYTES: usize = 32;
/// Multiprocessors of a device that does not say.
const PROCESSORS: usize = 16;
/// Units that share a column of a tied head, and columns that each of them sums.
const SHARERS: usize = 16;
const HELD: usize = 4;

/// [`fused_linear`](super::fused_linear()) on primitives.
pub(crate) fn forward<R, F, I, BT>(
    operands: FusedLinearOperands<CubeBackend<R, F, I, BT>>,
    p: &FusedLinearProblem,
) -> CubeTensor<R>
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    BT: BoolElement,
{
    let [first, ..] = &operands.weights;
    let is_turned = first
        .as_ref()
        .is_some_and(|first| first.meta.strides()[0] == 1);
    let is_plain = p.eps.is_none() && p.output == FusedOutputKind::SideBySide && p.weights() == 1;
    let is_head = is_plain && is_turned && p.d_input > 1;
    if p.rows() > if is_head { FEW_ROWS_OF_HEAD } else { FEW_ROWS } {
        // Where a device multiplies weights as they are held, that is several times as fast as in f32.
        let held = first.as_ref().filter(|first| multiplies_quickly(first));
        let compute = held.map(|first| FloatDType::from(first.dtype));
        return reference::forward_in::<CubeBackend<R, F, I, BT>>(compute, operands, p);
    }
    let FusedLinearOperands {
        x,
        norm,
        weights: [first, second, third],
        residual,
    } = operands;
    let first = first.expect("a call has a weight");
    if is_head {
        return by_rows(x, first, p);
    }
    // The weights of a call are of one type.
    let dtype = first.dtype;
    let weights = [Some(first), second, third];
    let weights = weights.map(|weight| weight.map(|weight| lines(weight, dtype)));
    by_columns(x, norm, weights, residual, p)
}

/// The weight with its columns side by side; its lines may be apart.
fn lines<R: CubeRuntime>(weight: CubeTensor<R>, dtype: burn::tensor::DType) -> CubeTensor<R> {
    match weight.dtype == dtype && weight.meta.strides()[1] == 1 {
        true => weight,
        false => operand(weight, dtype),
    }
}

fn by_columns<R: CubeRuntime>(
    x: CubeTensor<R>,
    norm: Option<CubeTensor<R>>,
    [first, second, third]: [Option<CubeTensor<R>>; 3],
    residual: Option<CubeTensor<R>>,
    p: &FusedLinearProblem,
) -> CubeTensor<R> {
    let first = first.expect("a call has a weight");
    let present = || {
        [Some(&first), second.as_ref(), third.as_ref()]
            .into_iter()
            .flatten()
    };
    let client = x.client.clone();
    let wide = [WIDE, 2, 1].into_iter();
    let wide = wide.filter(|wide| p.d_input.is_multiple_of(*wide));
    let fits = |wide: usize| {
        let side_by_side = p.weights() > 1 && p.output == FusedOutputKind::SideBySide;
        let fits = |weight: &CubeTensor<R>| {
            let [stride, width] = [weight.meta.strides()[0], weight.meta.shape()[1]];
            let offset = weight.handle.offset_start.unwrap_or(0);
            let bytes = (wide * weight.dtype.size()) as u64;
            // The last vector of a line may reach into what pads it.
            let reaches = stride >= width.next_multiple_of(wide) && !side_by_side;
            stride.is_multiple_of(wide)
                && offset.is_multiple_of(bytes)
                && (width.is_multiple_of(wide) || reaches)
        };
        present().all(fits)
    };
    let wide = wide.into_iter().find(|wide| fits(*wide)).unwrap_or(1);

    let dtypes = [
        x.dtype,
        norm.as_ref().map_or(x.dtype, |norm| norm.dtype),
        first.dtype,
    ];
    let x = rows_operand(x, dtypes[0], wide);
    let has_norm = norm.is_some();
    let norm = norm.map_or_else(|| x.clone(), |norm| operand(norm, dtypes[1]));
    let residual = residual.map_or_else(|| x.clone(), |residual| operand(residual, dtypes[0]));
    let out = empty(&x, p.result(), dtypes[0]);

    let tile = p.rows().next_power_of_two().min(TILE);
    let vectors = p.d_output().div_ceil(wide);
    let columns = columns(p, wide, first.dtype.size(), processors(&client, PROCESSORS));
    let layout = ColumnLayout {
        units: UNITS,
        columns,
        wide,
        tile,
        steps: p.d_input / wide,
        weights: p.weights(),
        has_norm,
        output: p.output,
    };
    let cubes = [vectors.div_ceil(columns), p.rows().div_ceil(tile)];
    let other = |weight: Option<CubeTensor<R>>| weight.unwrap_or_else(|| first.clone());
    let (second, third) = (other(second), other(third));
    let [first_line, second_line, third_line] =
        [&first, &second, &third].map(|weight| weight.meta.strides()[0]);
    let strides = row_strides(&x);
    // SAFETY: the kernel reads and writes where the sizes it is given allow, and its loops end.
    unsafe {
        product_by_columns::launch_unchecked::<R>(
            &client,
            CubeCount::Static(cubes[0] as u32, cubes[1] as u32, 1),
            CubeDim::new_1d(UNITS as u32),
            wide,
            array(x),
            array(norm),
            array(first),
            array(second),
            array(third),
            array(residual),
            array(out.clone()),
            strides,
            LineStridesLaunch::new(first_line, second_line, third_line),
            p.rows(),
            p.seq,
            p.widths[0],
            p.widths[1],
            p.d_output(),
            p.eps.unwrap_or(0.0) as f32,
            layout,
            dtypes.map(Into::into),
        );
    }
    out
}

/// Vectors of columns of a cube: as many as leave no multiprocessor without one, but a whole sector of memory at least.
/// A cube lies in one weight.
fn columns(p: &FusedLinearProblem, wide: usize, size: usize, processors: usize) -> usize {
    let vectors = p.d_output().div_ceil(wide);
    let within = |columns: usize| {
        p.output != FusedOutputKind::SideBySide
            || p.weights() == 1
            || p.widths
                .iter()
                .all(|width| width.is_multiple_of(columns * wide))
    };
    let least = SECTOR_BYTES.div_ceil(wide * size).next_power_of_two();
    let powers = (0..=COLUMNS.ilog2()).rev().map(|power| 1 << power);
    let mut fitting = powers.filter(|columns| within(*columns));
    let busy = |columns: &usize| *columns <= least || vectors.div_ceil(*columns) >= processors;
    fitting.find(busy).unwrap_or(1)
}

fn by_rows<R: CubeRuntime>(
    x: CubeTensor<R>,
    weight: CubeTensor<R>,
    p: &FusedLinearProblem,
) -> CubeTensor<R> {
    let client = x.client.clone();
    let dtypes = [x.dtype, weight.dtype];
    let fits = |wide: usize| {
        let offset = weight.handle.offset_start.unwrap_or(0);
        p.d_input.is_multiple_of(wide)
            && weight.meta.strides()[1].is_multiple_of(wide)
            && offset.is_multiple_of((wide * weight.dtype.size()) as u64)
    };
    let sizes = client.io_optimized_vector_sizes(weight.dtype.size());
    let mut sizes = sizes.filter(|wide| wide * weight.dtype.size() <= LOAD_BYTES);
    let wide = sizes.find(|wide| fits(*wide)).unwrap_or(1);
    let x = rows_operand(x, dtypes[0], wide);
    let out = empty(&x, p.result(), dtypes[0]);
    let tile = p.rows().next_power_of_two().min(TILE);
    let steps = p.d_input / wide;
    let layout = RowLayout {
        units: UNITS,
        sharers: SHARERS.min(steps.next_power_of_two()),
        held: HELD,
        tile,
        steps,
    };
    let cubes = p.d_output().div_ceil(layout.slots() * HELD);
    let (strides, line) = (row_strides(&x), weight.meta.strides()[1]);
    // SAFETY: the kernel reads and writes where the sizes it is given allow, and its loops end.
    unsafe {
        product_by_rows::launch_unchecked::<R>(
            &client,
            CubeCount::Static(cubes as u32, p.rows().div_ceil(tile) as u32, 1),
            CubeDim::new_1d(UNITS as u32),
            wide,
            array(x),
            array(weight),
            array(out.clone()),
            strides,
            line,
            p.rows(),
            p.seq,
            p.d_output(),
            layout,
            dtypes.map(Into::into),
        );
    }
    out
}
