use super::super::SsdProblem;
use super::super::kernel::{Mix, UNITS, ssd_finish, ssd_gate_backward, ssd_state_products};
use super::run::Run;
use crate::backend::StateSpaceGradients;
use crate::cube::sum::sum_rows;
use crate::cube::tensor::{empty, operand, vector_size};
use burn::tensor::{DType, Shape, TensorMetadata};
use burn_cubecl::ops::numeric::zeros;
use burn_cubecl::{
    CubeBackend, CubeRuntime, FloatElement, IntElement, element::BoolElement, tensor::CubeTensor,
};
use cubecl::calculate_cube_count_elemwise;
use cubecl::prelude::*;

/// Gradients of [`ssd`](crate::ssd()) with respect to its operands.
pub(crate) fn backward<R, F, I, BT>(
    operands: [CubeTensor<R>; 9],
    reset: Option<CubeTensor<R>>,
    saved: Option<CubeTensor<R>>,
    gradients: StateSpaceGradients<CubeBackend<R, F, I, BT>>,
    p: &SsdProblem,
) -> [CubeTensor<R>; 9]
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    BT: BoolElement,
{
    let dtypes = operands.each_ref().map(|operand| operand.dtype);
    let run = Run::new(operands, reset, p);
    let states = saved.unwrap_or_else(|| run.states(true).0);
    let dy = match gradients.y {
        Some(dy) => operand(dy, run.dtype),
        None => operand(
            zeros(run.x.device.clone(), run.x.shape(), run.dtype),
            run.dtype,
        ),
    };
    let (dy, dz) = match p.has_z {
        true => through_gate(&run, &states, dy),
        false => (dy, run.z.clone()),
    };
    let last = gradients.last_state.map(|last| operand(last, DType::F32));
    let (gradients, dinitial) = run.state_gradients(dy.clone(), last);

    let mix = |reverse: bool, into_heads: bool, has_dots: bool| Mix {
        reverse,
        into_heads,
        has_d: into_heads && p.has_d,
        has_dots,
        planes: run.planes(),
    };
    let (x, b, c) = (&run.x, &run.b, &run.c);
    let dx = run.mix([b, c, &dy, x, &gradients], mix(true, true, true));
    let db = run.mix([x, &dy, c, b, &gradients], mix(true, false, false));
    let dc = run.mix([&dy, x, b, c, &states], mix(false, false, true));
    let [ddt, da, ddt_bias, dd] = finish(&run, &states, &gradients);

    let kept = |has: bool, gradient: CubeTensor<R>, absent: &CubeTensor<R>| match has {
        true => gradient,
        false => absent.clone(),
    };
    let results = [
        dx,
        ddt,
        da,
        db,
        dc,
        kept(p.has_d, dd, &run.d),
        dz,
        kept(p.has_dt_bias, ddt_bias, &run.dt_bias),
        kept(p.has_initial_state, dinitial, &run.initial_state),
    ];
    let mut dtypes = dtypes.into_iter();
    results.map(|gradient| operand(gradient, dtypes.next().expect("one for each operand")))
}

/// Gradients of the ungated output and of the gate.
fn through_gate<R: CubeRuntime>(
    run: &Run<'_, R>,
    states: &CubeTensor<R>,
    dout: CubeTensor<R>,
) -> (CubeTensor<R>, CubeTensor<R>) {
    let y = run.ungated(states);
    let dy = empty(&y, y.shape(), y.dtype);
    let dz = empty(&y, y.shape(), y.dtype);
    let wide = vector_size(&y, run.p.headdim, 8);
    let vectors = y.shape().num_elements() / wide;
    let dim = CubeDim::new_1d(UNITS as u32);
    // SAFETY: the kernel reads and writes where the sizes it is given allow, and its loops end.
    unsafe {
        ssd_gate_backward::launch_unchecked::<R>(
            &run.client,
            calculate_cube_count_elemwise(&run.client, vectors, dim),
            dim,
            wide,
            y.into_tensor_arg(),
            run.z.clone().into_tensor_arg(),
            dout.into_tensor_arg(),
            dy.clone().into_tensor_arg(),
            dz.clone().into_tensor_arg(),
            vectors,
            run.dtype.into(),
        );
    }

    (dy, dz)
}

/// Gradients of dt, a, dt_bias and d, from the dots that the mixing kernels left.
fn finish<R: CubeRuntime>(
    run: &Run<'_, R>,
    states: &CubeTensor<R>,
    gradients: &CubeTensor<R>,
) -> [CubeTensor<R>; 4] {
    let p = run.p;
    let cubes = p.batch * run.chunks;
    let products = empty(&run.x, Shape::new([cubes, p.nheads]), DType::F32);
    // SAFETY: the kernel reads and writes where the sizes it is given allow, and its loops end.
    unsafe {
        ssd_state_products::launch_unchecked::<R>(
            &run.client,
            run.cubes_of_chunks(1),
            CubeDim::new_1d(UNITS as u32),
            vector_size(states, p.d_state, 4),
            states.clone().into_tensor_arg(),
            gradients.clone().into_tensor_arg(),
            products.clone().into_tensor_arg(),
            run.sizes(),
        );
    }

    let ddt = empty(&run.x, run.dt.shape(), run.dt.dtype);
    let partial = empty(&run.x, Shape::new([cubes, 3, p.nheads]), DType::F32);
    let [x_plane, skip_plane, c_plane] = run.dot_planes();
    let [x_planes, c_planes] = match run.is_cooperative() {
        true => [1, 1],
        false => [run.x_tiles, run.b_tiles],
    };
    ssd_finish::launch::<R>(
        &run.client,
        run.cubes_of_chunks(1),
        CubeDim::new_1d(run.chunk as u32),
        run.scratch.clone().into_tensor_arg(),
        run.a.clone().into_tensor_arg(),
        products.into_tensor_arg(),
        ddt.clone().into_tensor_arg(),
        partial.clone().into_tensor_arg(),
        run.sizes(),
        x_plane,
        skip_plane,
        c_plane,
        x_planes,
        c_planes,
        run.chunk,
        p.has_d,
        p.has_initial_state,
        run.dt.dtype.into(),
    );
    let sum = |index: usize| {
        let columns = index * p.nheads..(index + 1) * p.nheads;
        sum_rows(&partial, cubes, 3 * p.nheads, columns, DType::F32)
    };
    [ddt, sum(0), sum(1), sum(2)]
}
