//! Launches of the CubeCL kernels.

use super::SwigluProblem;
use super::kernel::{swiglu_backward, swiglu_forward};
use crate::cube::tensor::{empty, operand, rows_operand, vector_size};
use burn::tensor::TensorMetadata;
use burn_cubecl::{CubeRuntime, tensor::CubeTensor};
use cubecl::calculate_cube_count_elemwise;
use cubecl::prelude::*;

const UNITS: u32 = 256;

/// Forward of [`swiglu`](super::swiglu()).
pub(crate) fn forward<R: CubeRuntime>(
    operands: [CubeTensor<R>; 2],
    p: &SwigluProblem,
) -> CubeTensor<R> {
    let dtype = operands[0].dtype;
    let wide = vector_size(&operands[0], p.channels, 8);
    let [gate, up] = operands.map(|rows| rows_operand(rows, dtype, wide));
    let client = gate.client.clone();
    let out = empty(&gate, gate.shape(), dtype);
    let (total, dim) = (p.len() / wide, CubeDim::new_1d(UNITS));
    // SAFETY: the kernel reads and writes where the sizes it is given allow.
    unsafe {
        swiglu_forward::launch_unchecked::<R>(
            &client,
            calculate_cube_count_elemwise(&client, total, dim),
            dim,
            wide,
            gate.into_tensor_arg(),
            up.into_tensor_arg(),
            out.clone().into_tensor_arg(),
            p.seq,
            p.channels / wide,
            total,
            dtype.into(),
        );
    }

    out
}

/// Gradients of [`swiglu`](super::swiglu()) with respect to its operands.
pub(crate) fn backward<R: CubeRuntime>(
    operands: [CubeTensor<R>; 2],
    gradient: CubeTensor<R>,
    p: &SwigluProblem,
) -> [CubeTensor<R>; 2] {
    let (dtype, up_dtype) = (operands[0].dtype, operands[1].dtype);
    let wide = vector_size(&operands[0], p.channels, 8);
    let [gate, up] = operands.map(|rows| rows_operand(rows, dtype, wide));
    let dout = rows_operand(gradient, dtype, wide);
    let client = gate.client.clone();
    let (dgate, dup) = (
        empty(&gate, gate.shape(), dtype),
        empty(&gate, gate.shape(), dtype),
    );
    let (total, dim) = (p.len() / wide, CubeDim::new_1d(UNITS));
    // SAFETY: the kernel reads and writes where the sizes it is given allow.
    unsafe {
        swiglu_backward::launch_unchecked::<R>(
            &client,
            calculate_cube_count_elemwise(&client, total, dim),
            dim,
            wide,
            gate.into_tensor_arg(),
            up.into_tensor_arg(),
            dout.into_tensor_arg(),
            dgate.clone().into_tensor_arg(),
            dup.clone().into_tensor_arg(),
            p.seq,
            p.channels / wide,
            total,
            dtype.into(),
        );
    }

    [dgate, operand(dup, up_dtype)]
}
