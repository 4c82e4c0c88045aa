use super::super::SsdProblem;
use super::super::kernel::{UNITS, ssd_gate};
use super::run::{Run, saved};
use crate::backend::StateSpaceOutput;
use crate::cube::tensor::{empty, vector_size};
use burn::tensor::TensorMetadata;
use burn_cubecl::{
    CubeBackend, CubeRuntime, FloatElement, IntElement, element::BoolElement, tensor::CubeTensor,
};
use cubecl::calculate_cube_count_elemwise;
use cubecl::prelude::*;

/// Forward of [`ssd`](crate::ssd()). The states at chunk boundaries are saved where they take at
/// most twice the bytes of x.
pub(crate) fn forward<R, F, I, BT>(
    operands: [CubeTensor<R>; 9],
    reset: Option<CubeTensor<R>>,
    p: &SsdProblem,
    save: bool,
) -> StateSpaceOutput<CubeBackend<R, F, I, BT>>
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    BT: BoolElement,
{
    let run = Run::new(operands, reset, p);
    let (states, last_state) = run.states(save);
    let mut y = run.ungated(&states);
    if p.has_z {
        let out = empty(&y, y.shape(), y.dtype);
        let wide = vector_size(&y, p.headdim, 8);
        let vectors = y.shape().num_elements() / wide;
        let dim = CubeDim::new_1d(UNITS as u32);
        // SAFETY: the kernel reads and writes where the sizes it is given allow, and its loops end.
        unsafe {
            ssd_gate::launch_unchecked::<R>(
                &run.client,
                calculate_cube_count_elemwise(&run.client, vectors, dim),
                dim,
                wide,
                y.into_tensor_arg(),
                run.z.clone().into_tensor_arg(),
                out.clone().into_tensor_arg(),
                vectors,
                run.dtype.into(),
            );
        }

        y = out;
    }
    let save = save && saved(p, run.dtype).is_some();
    StateSpaceOutput {
        y,
        last_state,
        saved: save.then_some(states),
    }
}
