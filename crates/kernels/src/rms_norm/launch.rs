//! Launches of the CubeCL kernels.

use super::RmsNormProblem;
use super::kernel::{rms_norm_backward, rms_norm_forward};
use crate::cube::sharers::{SHARE, UNITS, cubes, layout};
use crate::cube::sum::sum_rows;
use crate::cube::tensor::{array, empty, operand, row_strides, rows_operand, vector_size};
use burn::tensor::{DType, Shape, TensorMetadata};
use burn_cubecl::{CubeRuntime, tensor::CubeTensor};
use cubecl::prelude::*;

/// Forward of [`rms_norm`](super::rms_norm()).
pub(crate) fn forward<R: CubeRuntime>(
    operands: [CubeTensor<R>; 2],
    p: &RmsNormProblem,
) -> CubeTensor<R> {
    let [x, weight] = operands;
    let (dtype, parameter, result) = (x.dtype, weight.dtype, DType::from(p.dtype));
    let wide = vector_size(&x, p.channels, 8);
    let (x, weight) = (rows_operand(x, dtype, wide), operand(weight, parameter));
    let client = x.client.clone();
    let out = empty(&x, x.shape(), result);
    let layout = layout(p.channels / wide);
    let rows = p.batch * p.seq;
    let strides = row_strides(&x);
    // SAFETY: the kernel reads and writes where the sizes it is given allow, and its loops end.
    unsafe {
        rms_norm_forward::launch_unchecked::<R>(
            &client,
            cubes(&client, rows, &layout),
            CubeDim::new_1d(UNITS as u32),
            wide,
            array(x),
            array(weight),
            array(out.clone()),
            strides,
            rows,
            p.seq,
            p.eps as f32,
            layout,
            [dtype.into(), parameter.into(), result.into()],
        );
    }

    out
}

/// Gradients of [`rms_norm`](super::rms_norm()) with respect to its operands.
pub(crate) fn backward<R: CubeRuntime>(
    operands: [CubeTensor<R>; 2],
    gradient: CubeTensor<R>,
    p: &RmsNormProblem,
    weight_wanted: bool,
) -> (CubeTensor<R>, Option<CubeTensor<R>>) {
    let [x, weight] = operands;
    let (dtype, parameter, result) = (x.dtype, weight.dtype, DType::from(p.dtype));
    let wide = vector_size(&x, p.channels, 8);
    let (x, weight) = (rows_operand(x, dtype, wide), operand(weight, parameter));
    let dout = rows_operand(gradient, result, wide);
    let client = x.client.clone();
    let dx = empty(&x, x.shape(), dtype);
    let layout = layout(p.channels / wide);
    let rows = p.batch * p.seq;
    let stride = if weight_wanted {
        rows.div_ceil(SHARE)
    } else {
        rows
    };
    let partial = if weight_wanted { stride } else { 1 };
    let partial = empty(&x, Shape::new([partial, p.channels]), DType::F32);
    // SAFETY: the kernel reads and writes where the sizes it is given allow, and its loops end.
    unsafe {
        rms_norm_backward::launch_unchecked::<R>(
            &client,
            cubes(&client, stride, &layout),
            CubeDim::new_1d(UNITS as u32),
            wide,
            x.into_tensor_arg(),
            weight.into_tensor_arg(),
            dout.into_tensor_arg(),
            dx.clone().into_tensor_arg(),
            partial.clone().into_tensor_arg(),
            rows,
            p.seq,
            stride,
            p.eps as f32,
            layout,
            weight_wanted,
            [dtype.into(), parameter.into(), result.into()],
        );
    }

    let dweight =
        weight_wanted.then(|| sum_rows(&partial, stride, p.channels, 0..p.channels, parameter));
    (dx, dweight)
}
