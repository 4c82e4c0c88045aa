//! Launches of the CubeCL kernels.

use super::kernel::{Tile, verify_prepare, verify_states};
use super::{VerifyOperands, VerifyProblem, reference};
use crate::cube::tensor::{array, empty, operand, vector_size};
use crate::decode_step::kernel::Layout;
use crate::decode_step::launch::{UNITS, layout};
use burn::tensor::ops::FloatTensorOps;
use burn::tensor::{DType, TensorMetadata};
use burn_cubecl::{
    CubeBackend, CubeRuntime, FloatElement, IntElement, element::BoolElement, tensor::CubeTensor,
};
use cubecl::prelude::*;

/// Units of a cube that prepares tokens.
const PREPARERS: usize = 256;
/// Heads whose step sizes a cube computes.
const STEPS: usize = 32;
/// Bindings of the states' kernel, unless the counts of kept tokens lie behind the weights.
const BINDINGS: u32 = 8;

/// [`verify`](super::verify()) on primitives: output, next states, next inputs of the convolution,
/// next cache.
pub(crate) fn forward<R, F, I, BT>(
    operands: VerifyOperands<CubeBackend<R, F, I, BT>>,
    p: &VerifyProblem,
) -> [CubeTensor<R>; 4]
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    BT: BoolElement,
{
    let step = &p.step;
    let [rows, states, conv_inputs, ..] = &operands;
    let (dtype, state_dtype, conv_dtype) = (rows.dtype, states.dtype, conv_inputs.dtype);
    let client = rows.client.clone();
    let hardware = &client.properties().hardware;
    let wide = vector_size(states, step.shape.d_state, 4);
    let most = hardware.max_units_per_cube as usize;
    let held = layout(step, wide, UNITS.min(most));
    if held.shared_bytes() > hardware.max_shared_memory_size {
        return reference::forward::<CubeBackend<R, F, I, BT>>(operands, p);
    }
    let tile = |layout| Tile {
        layout,
        wide,
        c_width: step.shape.c_width,
    };

    let [rows, states, conv_inputs, cache, kept, packed] = operands;
    let (rows, states) = (operand(rows, dtype), operand(states, state_dtype));
    let conv_inputs = operand(conv_inputs, conv_dtype);
    let [cache, kept, packed] = [cache, kept, packed].map(|x| operand(x, DType::F32));
    let lines = [step.batch, p.next_conv_lines(), step.conv_channels()];
    let next_conv_inputs = empty(&rows, lines, conv_dtype);
    let entries = [step.batch, p.tokens, p.cache_width()];
    let next_cache = empty(&rows, entries, DType::F32);
    let y = empty(&rows, [step.batch, p.tokens, step.d_inner()], dtype);
    let next_states = empty(&rows, states.shape(), state_dtype);

    let units = PREPARERS.min(1 << most.ilog2());
    let prepare = tile(Layout::new(step, [units, STEPS.min(units), 1, 1]));
    let cubes = prepare.items().div_ceil(units) + step.nheads.div_ceil(prepare.layout.heads);
    let lines = conv_inputs.meta.shape()[1];
    let weights = packed.meta.num_elements();
    // SAFETY: the problem's shapes, which were checked, say how far the kernel reads and writes, and its loops end.
    unsafe {
        verify_prepare::launch_unchecked::<R>(
            &client,
            CubeCount::Static(cubes as u32, p.tokens as u32, step.batch as u32),
            CubeDim::new_1d(units as u32),
            array(rows.clone()),
            array(conv_inputs),
            array(kept.clone()),
            array(packed.clone()),
            array(next_conv_inputs.clone()),
            array(next_cache.clone()),
            lines,
            prepare,
            [dtype, conv_dtype].map(Into::into),
        );
    }
    // One copy of the weights a call, but only where bindings are short.
    let (packed, kept) = match hardware.max_bindings < BINDINGS {
        true => (
            CubeBackend::<R, F, I, BT>::float_cat(vec![packed, kept], 0),
            None,
        ),
        false => (packed, Some(kept)),
    };
    // SAFETY: the problem's shapes, which were checked, say how far the kernel reads and writes, and its loops end.
    unsafe {
        verify_states::launch_unchecked::<R>(
            &client,
            CubeCount::Static(
                step.nheads.div_ceil(held.heads) as u32,
                step.batch as u32,
                1,
            ),
            CubeDim::new_1d(held.units as u32),
            wide,
            array(rows),
            array(states),
            array(cache),
            array(next_cache.clone()),
            kept.map(array).into(),
            array(operand(packed, DType::F32)),
            array(y.clone()),
            array(next_states.clone()),
            p.tokens,
            p.cached,
            weights,
            step.shape.eps as f32,
            tile(held),
            [dtype, state_dtype].map(Into::into),
        );
    }
    [y, next_states, next_conv_inputs, next_cache]
}
