//! Launch of the CubeCL kernel.

use super::kernel::{Layout, weigh_positions};
use super::{WeighDraftsOperands, WeighDraftsProblem};
use crate::cube::tensor::{array, as_it_is, empty, halving_units, operand, vector_size};
use burn::tensor::DType;
use burn_cubecl::{
    CubeBackend, CubeRuntime, FloatElement, IntElement, element::BoolElement, tensor::CubeTensor,
};
use cubecl::prelude::*;

/// Most units of a cube.
const UNITS: usize = 1024;
/// Bytes that one load moves; the uniform draws are in f32.
const LOAD_BYTES: usize = 16;

/// [`weigh_drafts`](super::weigh_drafts()) on primitives.
pub(crate) fn forward<R, F, I, BT>(
    operands: WeighDraftsOperands<CubeBackend<R, F, I, BT>>,
    p: &WeighDraftsProblem,
) -> CubeTensor<R>
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    BT: BoolElement,
{
    let verified = as_it_is(operands.verified);
    let client = verified.client.clone();
    let uniform = operand(operands.uniform, DType::F32);
    let wide = vector_size(&uniform, p.vocab, LOAD_BYTES / size_of::<f32>());
    let layout = Layout {
        units: halving_units(&verified, UNITS),
        has_drafter: operands.drafted.is_some(),
        has_counts: operands.counts.is_some(),
    };
    let drafts = as_it_is(operands.drafts);
    let ids = drafts.dtype;
    // Others stand for what is absent, and are not read.
    let drafted = operands.drafted.map_or_else(|| verified.clone(), as_it_is);
    let counts = operands
        .counts
        .map_or_else(|| drafts.clone(), |counts| operand(counts, ids));
    let positions = p.drafts + 1;
    let out = empty(&verified, [p.batch, positions, 4], DType::F32);
    let dtypes = [verified.dtype, drafted.dtype, ids];
    // SAFETY: the kernel reads and writes where the sizes it is given allow, and its loops end.
    unsafe {
        weigh_positions::launch_unchecked::<R>(
            &client,
            CubeCount::Static((p.batch * positions) as u32, 1, 1),
            CubeDim::new_1d(layout.units as u32),
            wide,
            array(verified),
            array(drafted),
            array(drafts),
            array(counts),
            array(uniform),
            array(out.clone()),
            positions,
            p.vocab / wide,
            1.0 / p.temperature,
            layout,
            dtypes.map(Into::into),
        );
    }
    out
}
