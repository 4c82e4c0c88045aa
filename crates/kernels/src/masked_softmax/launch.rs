//! Launches of the CubeCL kernels.

use super::MaskedSoftmaxProblem;
use super::kernel::{Layout, masked_softmax_backward, masked_softmax_forward};
use crate::cube::tensor::{as_it_is, empty, operand, vector_size};
use burn::tensor::{DType, Shape, TensorMetadata};
use burn_cubecl::{CubeRuntime, tensor::CubeTensor};
use cubecl::calculate_cube_count_elemwise;
use cubecl::prelude::*;

const UNITS: usize = 256;

/// Few layouts: keys grow while a model decodes, and every layout is a kernel to compile.
fn layout(vectors: usize, has_first: bool) -> Layout {
    let sharers = if vectors > 32 { 32 } else { 8 };
    Layout {
        sharers,
        slots: UNITS / sharers,
        has_first,
    }
}

/// The first visible keys as a kernel wants them, in f32 or not read at all.
fn first_keys<R: CubeRuntime>(
    first: Option<CubeTensor<R>>,
    beside: &CubeTensor<R>,
) -> CubeTensor<R> {
    match first {
        Some(first) => operand(first, DType::F32),
        None => empty(beside, Shape::new([1]), DType::F32),
    }
}

/// Cubes for all rows.
fn cubes<R: CubeRuntime>(
    client: &ComputeClient<R>,
    p: &MaskedSoftmaxProblem,
    layout: &Layout,
) -> CubeCount {
    let units = (p.batch * p.heads * p.rows).div_ceil(layout.slots) * UNITS;
    calculate_cube_count_elemwise(client, units, CubeDim::new_1d(UNITS as u32))
}

/// Forward of [`masked_softmax`](super::masked_softmax()).
pub(crate) fn forward<R: CubeRuntime>(
    scores: CubeTensor<R>,
    first: Option<CubeTensor<R>>,
    p: &MaskedSoftmaxProblem,
) -> CubeTensor<R> {
    let dtype = scores.dtype;
    let scores = as_it_is(scores);
    let client = scores.client.clone();
    let weights = empty(&scores, scores.shape(), dtype);
    let wide = vector_size(&scores, p.keys, 8);
    let layout = layout(p.keys / wide, first.is_some());
    let first = first_keys(first, &scores);
    // SAFETY: the kernel reads and writes where the sizes it is given allow, and its loops end.
    unsafe {
        masked_softmax_forward::launch_unchecked::<R>(
            &client,
            cubes(&client, p, &layout),
            CubeDim::new_1d(UNITS as u32),
            wide,
            scores.into_tensor_arg(),
            first.into_tensor_arg(),
            weights.clone().into_tensor_arg(),
            p.batch * p.heads * p.rows,
            p.heads * p.rows,
            p.seq,
            p.past,
            p.keys / wide,
            p.scale as f32,
            layout,
            dtype.into(),
        );
    }

    weights
}

/// Gradient of [`masked_softmax`](super::masked_softmax()) with respect to the scores.
pub(crate) fn backward<R: CubeRuntime>(
    weights: CubeTensor<R>,
    first: Option<CubeTensor<R>>,
    gradient: CubeTensor<R>,
    p: &MaskedSoftmaxProblem,
) -> CubeTensor<R> {
    let dtype = weights.dtype;
    let (weights, dweights) = (operand(weights, dtype), operand(gradient, dtype));
    let client = weights.client.clone();
    let dscores = empty(&weights, weights.shape(), dtype);
    let wide = vector_size(&weights, p.keys, 8);
    let layout = layout(p.keys / wide, first.is_some());
    let first = first_keys(first, &weights);
    // SAFETY: the kernel reads and writes where the sizes it is given allow, and its loops end.
    unsafe {
        masked_softmax_backward::launch_unchecked::<R>(
            &client,
            cubes(&client, p, &layout),
            CubeDim::new_1d(UNITS as u32),
            wide,
            weights.into_tensor_arg(),
            first.into_tensor_arg(),
            dweights.into_tensor_arg(),
            dscores.clone().into_tensor_arg(),
            p.batch * p.heads * p.rows,
            p.heads * p.rows,
            p.seq,
            p.past,
            p.keys / wide,
            p.scale as f32,
            layout,
            dtype.into(),
        );
    }

    dscores
}
