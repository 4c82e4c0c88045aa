//! Launch of the CubeCL kernel.

use super::kernel::{Layout, cached_attention_kernel};
use super::{CachedAttentionOperands, CachedAttentionProblem, FEW_TOKENS, reference};
use crate::cube::tensor::{array, as_it_is, empty, operand};
use burn::tensor::DType;
use burn_cubecl::{
    CubeBackend, CubeRuntime, FloatElement, IntElement, element::BoolElement, tensor::CubeTensor,
};
use cubecl::prelude::*;

/// Units of a cube.
const UNITS: usize = 256;
/// Most elements of a vector.
const WIDE: usize = 4;

/// [`cached_attention`](super::cached_attention()) on primitives: output, keys, values.
pub(crate) fn forward<R, F, I, BT>(
    operands: CachedAttentionOperands<CubeBackend<R, F, I, BT>>,
    p: &CachedAttentionProblem,
) -> [CubeTensor<R>; 3]
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    BT: BoolElement,
{
    let client = operands.qkv.client.clone();
    let shared = client.properties().hardware.max_shared_memory_size;
    let layout = layout(p).filter(|layout| layout.shared_bytes() <= shared);
    let is_few = p.seq <= FEW_TOKENS && operands.keys.dtype == operands.values.dtype;
    // The kernel looks at all keys.
    let is_few = is_few && p.window.is_none();
    let Some(layout) = layout.filter(|_| is_few) else {
        return reference::forward::<CubeBackend<R, F, I, BT>>(operands, p);
    };

    let dtypes = [operands.qkv.dtype, operands.keys.dtype];
    let qkv = operand(operands.qkv, dtypes[0]);
    let angles = operand(operands.angles, DType::F32);
    // Not read where sequences are of one length.
    let lens = operands.lens.unwrap_or_else(|| angles.clone());
    let [keys, values] = [operands.keys, operands.values].map(writable);
    let out = empty(&qkv, p.result(), dtypes[0]);
    let cubes = [p.n_heads, p.seq, p.batch()].map(|count| count as u32);
    // SAFETY: the kernel reads and writes where the sizes it is given allow, and its loops end.
    unsafe {
        cached_attention_kernel::launch_unchecked::<R>(
            &client,
            CubeCount::Static(cubes[0], cubes[1], cubes[2]),
            CubeDim::new_1d(UNITS as u32),
            layout.wide,
            array(qkv),
            array(angles),
            array(lens),
            array(keys.clone()),
            array(values.clone()),
            array(out.clone()),
            p.longest(),
            p.room,
            (p.head_dim as f32).powf(-0.5),
            layout,
            dtypes.map(Into::into),
        );
    }
    [out, keys, values]
}

/// The tensor to be written over: itself, without gaps, or a copy if something else holds it.
fn writable<R: CubeRuntime>(tensor: CubeTensor<R>) -> CubeTensor<R> {
    as_it_is(match tensor.can_mut() {
        true => tensor,
        false => tensor.copy(),
    })
}

/// Fits a query to a cube; none if its head is too wide.
fn layout(p: &CachedAttentionProblem) -> Option<Layout> {
    let wide = [WIDE, 2, 1].into_iter();
    let wide = wide
        .filter(|wide| (p.head_dim / 2).is_multiple_of(*wide))
        .max()?;
    let lanes = p.head_dim / wide;
    (lanes <= UNITS).then(|| Layout {
        units: UNITS,
        lanes,
        groups: UNITS / lanes,
        wide,
        n_heads: p.n_heads,
        n_kv_heads: p.n_kv_heads,
        own_angles: p.own_angles,
        is_ragged: p.is_ragged(),
    })
}
