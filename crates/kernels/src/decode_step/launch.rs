//! Launch of the CubeCL kernel.

use super::kernel::{Layout, decode_step_forward};
use super::{DecodeStepOperands, DecodeStepProblem, reference};
use crate::cube::tensor::{array, empties, operand, vector_size};
use burn::tensor::{DType, Shape, TensorMetadata};
use burn_cubecl::{
    CubeBackend, CubeRuntime, FloatElement, IntElement, element::BoolElement, tensor::CubeTensor,
};
use cubecl::prelude::*;

/// Channels of a cube whose heads are narrower.
const CHANNELS: usize = 16;
/// Most units that share a channel: enough that neighbours read whole lines.
const SHARERS: usize = 8;
/// Most units of a cube.
pub(crate) const UNITS: usize = 512;
/// Rows of the low-rank dt that a unit reads.
const RANKS: usize = 16;

/// [`decode_step`](super::decode_step()) on primitives: output, next window, next state.
pub(crate) fn forward<R, F, I, BT>(
    operands: DecodeStepOperands<CubeBackend<R, F, I, BT>>,
    p: &DecodeStepProblem,
) -> [CubeTensor<R>; 3]
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    BT: BoolElement,
{
    let [rows, window, state, _] = &operands;
    let dtypes = [rows.dtype, window.dtype, state.dtype];
    let client = rows.client.clone();
    let hardware = &client.properties().hardware;
    let wide = vector_size(state, p.shape.d_state, 4);
    let units = UNITS.min(hardware.max_units_per_cube as usize);
    let layout = layout(p, wide, units);
    if layout.shared_bytes() > hardware.max_shared_memory_size {
        return reference::forward::<CubeBackend<R, F, I, BT>>(operands, p);
    }

    let [rows, window, state, packed] = operands;
    let (rows, window) = (operand(rows, dtypes[0]), operand(window, dtypes[1]));
    let (state, packed) = (operand(state, dtypes[2]), operand(packed, DType::F32));
    let outputs = [
        (Shape::new([p.batch, p.d_inner()]), dtypes[0]),
        (window.shape(), dtypes[1]),
        (state.shape(), dtypes[2]),
    ];
    let [y, next_window, next_state] = empties(&rows, outputs);
    let cubes = p.nheads.div_ceil(layout.heads) as u32;
    // SAFETY: the problem's shapes, which were checked, say how far the kernel reads and writes, and its loops end.
    unsafe {
        decode_step_forward::launch_unchecked::<R>(
            &client,
            CubeCount::Static(cubes, p.batch as u32, 1),
            CubeDim::new_1d(layout.units as u32),
            wide,
            array(rows),
            array(window),
            array(state),
            array(packed),
            array(y.clone()),
            array(next_window.clone()),
            array(next_state.clone()),
            p.shape.eps as f32,
            layout,
            dtypes.map(Into::into),
        );
    }
    [y, next_window, next_state]
}

/// Fits a cube to the problem.
pub(crate) fn layout(p: &DecodeStepProblem, wide: usize, most: usize) -> Layout {
    let s = &p.shape;
    let heads = match s.conv_covers_bc || p.has_norm {
        true => 1,
        false => floor((CHANNELS / s.headdim).max(1)),
    };
    let vectors = s.d_state / wide;
    let sharers = SHARERS.min(1 << vectors.trailing_zeros());
    let mut work = heads * s.headdim * sharers;
    if p.has_dt_weight {
        work = work.max(heads * p.dt_width.div_ceil(RANKS));
    }
    let units = work.next_power_of_two().clamp(32, floor(most));
    Layout::new(p, [units, heads, sharers, vectors / sharers])
}

/// The largest power of two that is not larger.
fn floor(value: usize) -> usize {
    1 << value.ilog2()
}
