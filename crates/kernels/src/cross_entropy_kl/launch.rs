//! Launch of the CubeCL kernel.

use super::kernel::{Layout, cross_entropy_kl_rows};
use super::{CrossEntropyKlOperands, CrossEntropyKlProblem};
use crate::cube::tensor::{as_it_is, empty, halving_units, operand, vector_size};
use burn::tensor::{DType, TensorMetadata};
use burn_cubecl::{
    CubeBackend, CubeRuntime, FloatElement, IntElement, element::BoolElement, tensor::CubeTensor,
};
use cubecl::calculate_cube_count_elemwise;
use cubecl::prelude::*;

/// Most units of a cube.
const UNITS: usize = 256;
/// Bytes that one load moves.
const LOAD_BYTES: usize = 16;

/// [`cross_entropy_kl`](super::cross_entropy_kl()) on primitives: values and gradient.
pub(crate) fn forward<R, F, I, BT>(
    operands: CrossEntropyKlOperands<CubeBackend<R, F, I, BT>>,
    p: &CrossEntropyKlProblem,
) -> (CubeTensor<R>, Option<CubeTensor<R>>)
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    BT: BoolElement,
{
    let dtype = operands.student.dtype;
    let student = as_it_is(operands.student);
    let client = student.client.clone();
    let has_teacher = operands.teacher.is_some();
    let layout = Layout {
        units: halving_units(&student, UNITS),
        has_teacher,
        has_gradient: p.with_gradient,
    };
    let widest = operands.teacher.iter().map(|teacher| teacher.dtype.size());
    let widest = widest.fold(dtype.size(), usize::max);
    let wide = vector_size(&student, p.vocab, LOAD_BYTES / widest);
    // Stands for what is absent; never read or written.
    let unused = |dtype| empty(&student, [wide], dtype);
    let teacher = operands.teacher.map_or_else(|| unused(dtype), as_it_is);
    let gradient = match p.with_gradient {
        true => empty(&student, student.shape(), dtype),
        false => unused(dtype),
    };
    let labels = as_it_is(operands.labels);
    let [ce_weights, kl_weights] = operands.weights.map(|weight| operand(weight, DType::F32));
    let values = empty(&student, [p.rows, 2], DType::F32);
    let dtypes = [dtype, teacher.dtype, labels.dtype];
    let dim = CubeDim::new_1d(layout.units as u32);
    // SAFETY: the kernel reads and writes where the sizes it is given allow, and its loops end.
    unsafe {
        cross_entropy_kl_rows::launch_unchecked::<R>(
            &client,
            calculate_cube_count_elemwise(&client, p.rows * layout.units, dim),
            dim,
            wide,
            student.into_tensor_arg(),
            teacher.into_tensor_arg(),
            labels.into_tensor_arg(),
            ce_weights.into_tensor_arg(),
            kl_weights.into_tensor_arg(),
            values.clone().into_tensor_arg(),
            gradient.clone().into_tensor_arg(),
            p.rows,
            p.vocab / wide,
            layout,
            dtypes.map(Into::into),
        );
    }
    (values, p.with_gradient.then_some(gradient))
}
