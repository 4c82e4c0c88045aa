//! Launches of the CubeCL kernels.

use super::GatedRmsNormProblem;
use super::kernel::{gated_rms_norm_backward, gated_rms_norm_forward};
use crate::cube::sharers::{SHARE, UNITS, cubes, layout};
use crate::cube::sum::sum_rows;
use crate::cube::tensor::{empty, operand, rows_operand, vector_size};
use burn::tensor::{DType, Shape, TensorMetadata};
use burn_cubecl::{CubeRuntime, tensor::CubeTensor};
use cubecl::prelude::*;

/// Forward of [`gated_rms_norm`](super::gated_rms_norm()).
pub(crate) fn forward<R: CubeRuntime>(
    operands: [CubeTensor<R>; 3],
    p: &GatedRmsNormProblem,
) -> CubeTensor<R> {
    let [y, z, weight] = operands;
    let (dtype, parameter) = (y.dtype, weight.dtype);
    let wide = vector_size(&y, p.group_size, 8);
    let [y, z] = [y, z].map(|rows| rows_operand(rows, dtype, wide));
    let weight = operand(weight, parameter);
    let client = y.client.clone();
    let out = empty(&y, y.shape(), dtype);
    let layout = layout(p.group_size / wide);
    let groups = p.channels / p.group_size;
    let items = p.batch * p.seq * groups;
    // SAFETY: the kernel reads and writes where the sizes it is given allow, and its loops end.
    unsafe {
        gated_rms_norm_forward::launch_unchecked::<R>(
            &client,
            cubes(&client, items, &layout),
            CubeDim::new_1d(UNITS as u32),
            wide,
            y.into_tensor_arg(),
            z.into_tensor_arg(),
            weight.into_tensor_arg(),
            out.clone().into_tensor_arg(),
            items,
            groups,
            p.seq,
            p.eps as f32,
            layout,
            [dtype.into(), parameter.into()],
        );
    }

    out
}

/// Gradients of [`gated_rms_norm`](super::gated_rms_norm()) with respect to its operands.
pub(crate) fn backward<R: CubeRuntime>(
    operands: [CubeTensor<R>; 3],
    gradient: CubeTensor<R>,
    p: &GatedRmsNormProblem,
) -> [CubeTensor<R>; 3] {
    let [y, z, weight] = operands;
    let (dtype, z_dtype, parameter) = (y.dtype, z.dtype, weight.dtype);
    let wide = vector_size(&y, p.group_size, 8);
    let [y, z, dout] = [y, z, gradient].map(|rows| rows_operand(rows, dtype, wide));
    let weight = operand(weight, parameter);
    let client = y.client.clone();
    let (dy, dz) = (empty(&y, y.shape(), dtype), empty(&y, y.shape(), dtype));
    let layout = layout(p.group_size / wide);
    let groups = p.channels / p.group_size;
    let rows = p.batch * p.seq;
    let stride = rows.div_ceil(SHARE);
    let partial = empty(&y, Shape::new([stride, p.channels]), DType::F32);
    // SAFETY: the kernel reads and writes where the sizes it is given allow, and its loops end.
    unsafe {
        gated_rms_norm_backward::launch_unchecked::<R>(
            &client,
            cubes(&client, stride * groups, &layout),
            CubeDim::new_1d(UNITS as u32),
            wide,
            y.into_tensor_arg(),
            z.into_tensor_arg(),
            weight.into_tensor_arg(),
            dout.into_tensor_arg(),
            dy.clone().into_tensor_arg(),
            dz.clone().into_tensor_arg(),
            partial.clone().into_tensor_arg(),
            rows,
            p.seq,
            stride,
            groups,
            p.eps as f32,
            layout,
            [dtype.into(), parameter.into()],
        );
    }

    let dweight = sum_rows(&partial, stride, p.channels, 0..p.channels, parameter);
    [dy, operand(dz, z_dtype), dweight]
}
