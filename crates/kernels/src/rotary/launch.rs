//! Launch of the CubeCL kernel.

use super::RotaryProblem;
use super::kernel::{Way, rotary_kernel};
use crate::cube::tensor::{empty, operand, rows_operand, vector_size};
use burn::tensor::DType;
use burn_cubecl::{CubeRuntime, tensor::CubeTensor};
use cubecl::calculate_cube_count_elemwise;
use cubecl::prelude::*;

const UNITS: u32 = 256;

/// [`rotary`](super::rotary()), either way.
pub(crate) fn forward<R: CubeRuntime>(
    x: CubeTensor<R>,
    angles: CubeTensor<R>,
    p: &RotaryProblem,
) -> CubeTensor<R> {
    let dtype = x.dtype;
    let half = p.head_dim / 2;
    let wide = vector_size(&x, half, 4);
    let x = match p.is_inverse {
        true => operand(x, dtype),
        false => rows_operand(x, dtype, wide),
    };
    let angles = operand(angles, DType::F32);
    let client = x.client.clone();
    let out = empty(&x, p.result(), dtype);
    let total = p.batch * p.seq * p.heads * half / wide;
    let dim = CubeDim::new_1d(UNITS);
    // SAFETY: the kernel reads and writes where the sizes it is given allow.
    unsafe {
        rotary_kernel::launch_unchecked::<R>(
            &client,
            calculate_cube_count_elemwise(&client, total, dim),
            dim,
            wide,
            x.into_tensor_arg(),
            angles.into_tensor_arg(),
            out.clone().into_tensor_arg(),
            p.seq,
            p.heads,
            half / wide,
            total,
            Way::of(p),
            dtype.into(),
        );
    }

    out
}
