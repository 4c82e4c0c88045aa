//! Launch of the CubeCL kernel.

use super::AdamwStep;
use super::kernel::{NumbersLaunch, adamw_step};
use crate::cube::tensor::{empty, operand, vector_size};
use burn::tensor::{DType, TensorMetadata};
use burn_cubecl::{CubeRuntime, tensor::CubeTensor};
use cubecl::calculate_cube_count_elemwise;
use cubecl::prelude::*;

const UNITS: u32 = 256;

/// One step of [`adamw`](super::adamw()).
pub(crate) fn step<R: CubeRuntime>(
    operands: [CubeTensor<R>; 4],
    step: &AdamwStep,
) -> [CubeTensor<R>; 3] {
    let operands = operands.map(|tensor| operand(tensor, DType::F32));
    let length = operands[0].meta.num_elements();
    let wide = vector_size(&operands[0], length, 4);
    let results: [_; 3] =
        std::array::from_fn(|_| empty(&operands[0], operands[0].shape(), DType::F32));
    let [parameter, gradient, moment_1, moment_2] = operands;
    let client = parameter.client.clone();
    let (total, dim) = (length / wide, CubeDim::new_1d(UNITS));
    let [first, second] = step.corrections();
    let [new_parameter, new_moment_1, new_moment_2] = results.clone();
    // SAFETY: the kernel reads and writes where the sizes it is given allow.
    unsafe {
        adamw_step::launch_unchecked::<R>(
            &client,
            calculate_cube_count_elemwise(&client, total, dim),
            dim,
            wide,
            parameter.into_tensor_arg(),
            gradient.into_tensor_arg(),
            moment_1.into_tensor_arg(),
            moment_2.into_tensor_arg(),
            new_parameter.into_tensor_arg(),
            new_moment_1.into_tensor_arg(),
            new_moment_2.into_tensor_arg(),
            NumbersLaunch::new(
                step.lr as f32,
                step.kept() as f32,
                step.beta_1,
                step.beta_2,
                step.epsilon,
                1.0 / first,
                1.0 / second,
            ),
            total,
        );
    }
    results
}
