//! Launches of the CubeCL kernels.

use super::kernel::{
    Filter, causal_conv1d_backward, causal_conv1d_filter_gradient, causal_conv1d_forward,
};
use super::{CausalConv1dOperands, CausalConv1dProblem};
use crate::cube::sum::{COLUMNS, SHARERS};
use crate::cube::tensor::{empty, operand, rows_operand, vector_size};
use burn::tensor::ops::FloatTensorOps;
use burn::tensor::{DType, Shape, Slice, TensorMetadata};
use burn_cubecl::{
    CubeBackend, CubeRuntime, FloatElement, IntElement, element::BoolElement, tensor::CubeTensor,
};
use cubecl::calculate_cube_count_elemwise;
use cubecl::prelude::*;

/// Steps in registers: the window costs `width - 1` more loads.
const RUN: usize = 8;
/// Steps that a unit of the backward sums before it writes its share of the filter's gradient.
const SHARE: usize = 64;
const UNITS: u32 = 256;

fn filter(problem: &CausalConv1dProblem, has_reset: bool) -> Filter {
    Filter {
        width: problem.width,
        run: RUN,
        has_bias: problem.has_bias,
        has_window: problem.has_initial_window,
        has_reset,
        silu: problem.silu,
    }
}

/// Forward of [`causal_conv1d`](super::causal_conv1d()).
pub(crate) fn forward<R: CubeRuntime>(
    operands: [CubeTensor<R>; 4],
    reset: Option<CubeTensor<R>>,
    p: &CausalConv1dProblem,
) -> CubeTensor<R> {
    let [x, weight, bias, window] = operands;
    let (dtype, parameter) = (x.dtype, weight.dtype);
    let wide = vector_size(&x, p.channels, 4);
    let (x, weight) = (rows_operand(x, dtype, wide), operand(weight, parameter));
    let bias = operand(bias, parameter);
    let window = operand(window, dtype);
    let filter = filter(p, reset.is_some());
    let reset = operand(reset.unwrap_or_else(|| bias.clone()), DType::F32);
    let y = empty(&x, x.shape(), dtype);
    let client = x.client.clone();
    let columns = p.channels / wide;
    let units = columns * p.seq.div_ceil(RUN) * p.batch;
    let dim = CubeDim::new_1d(UNITS);
    // SAFETY: the kernel reads and writes where the sizes it is given allow, and its loops end.
    unsafe {
        causal_conv1d_forward::launch_unchecked::<R>(
            &client,
            calculate_cube_count_elemwise(&client, units, dim),
            dim,
            wide,
            vector_size(&weight, p.width, 4),
            x.into_tensor_arg(),
            weight.into_tensor_arg(),
            bias.into_tensor_arg(),
            window.into_tensor_arg(),
            reset.into_tensor_arg(),
            y.clone().into_tensor_arg(),
            p.batch,
            p.seq,
            columns,
            filter,
            [dtype.into(), parameter.into()],
        );
    }

    y
}

/// Gradients of [`causal_conv1d`](super::causal_conv1d()) with respect to its operands.
pub(crate) fn backward<R, F, I, BT>(
    operands: CausalConv1dOperands<CubeBackend<R, F, I, BT>>,
    reset: Option<CubeTensor<R>>,
    gradient: CubeTensor<R>,
    p: &CausalConv1dProblem,
) -> CausalConv1dOperands<CubeBackend<R, F, I, BT>>
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    BT: BoolElement,
{
    let [x, weight, bias, window] = operands;
    if !p.has_initial_window {
        let [dx, dweight, dbias] = gradients([x, weight, bias], reset, gradient, 0, p);
        return [dx, dweight, dbias, window];
    }
    // The window becomes part of the input: two copies, but only where a state is carried.
    let lead = p.width - 1;
    let dtype = window.dtype;
    let x = CubeBackend::<R, F, I, BT>::float_cat(vec![operand(window, x.dtype), x], 1);
    let [dpadded, dweight, dbias] = gradients([x, weight, bias], reset, gradient, lead, p);
    let steps = |from: usize, to: usize| {
        let slices = [
            Slice::from(0..p.batch),
            Slice::from(from..to),
            Slice::from(0..p.channels),
        ];
        CubeBackend::<R, F, I, BT>::float_slice(dpadded.clone(), &slices)
    };
    let (dwindow, dx) = (steps(0, lead), steps(lead, lead + p.seq));
    [dx, dweight, dbias, operand(dwindow, dtype)]
}

/// Gradients of x (with `lead` steps before the sequence), weight and bias.
fn gradients<R: CubeRuntime>(
    [x, weight, bias]: [CubeTensor<R>; 3],
    reset: Option<CubeTensor<R>>,
    gradient: CubeTensor<R>,
    lead: usize,
    p: &CausalConv1dProblem,
) -> [CubeTensor<R>; 3] {
    let (dtype, parameter, bias_dtype) = (x.dtype, weight.dtype, bias.dtype);
    // More channels in a unit would need more registers than leave room for other units.
    let wide = vector_size(&x, p.channels, 2);
    let [x, dy] = [x, gradient].map(|rows| rows_operand(rows, dtype, wide));
    let (weight, bias) = (operand(weight, parameter), operand(bias, parameter));
    let filter = filter(p, reset.is_some());
    let reset = operand(reset.unwrap_or_else(|| bias.clone()), DType::F32);
    let client = x.client.clone();
    let dx = empty(&x, x.shape(), dtype);
    let dweight = empty(&x, weight.shape(), parameter);
    let dbias = empty(&x, bias.shape(), parameter);
    let columns = p.channels / wide;
    let tiles = SHARE / RUN;
    let parts = (p.seq + lead).div_ceil(SHARE) * p.batch;
    let partial = empty(&x, Shape::new([parts, p.width + 1, p.channels]), DType::F32);
    let dim = CubeDim::new_1d(UNITS);
    // SAFETY: the kernel reads and writes where the sizes it is given allow, and its loops end.
    unsafe {
        causal_conv1d_backward::launch_unchecked::<R>(
            &client,
            calculate_cube_count_elemwise(&client, columns * parts, dim),
            dim,
            wide,
            vector_size(&weight, p.width, 4),
            x.into_tensor_arg(),
            weight.into_tensor_arg(),
            bias.into_tensor_arg(),
            reset.into_tensor_arg(),
            dy.into_tensor_arg(),
            dx.clone().into_tensor_arg(),
            partial.clone().into_tensor_arg(),
            p.batch,
            p.seq,
            lead,
            columns,
            tiles,
            filter,
            [dtype.into(), parameter.into()],
        );
    }

    let cubes = (p.channels as u32).div_ceil(COLUMNS);
    causal_conv1d_filter_gradient::launch::<R>(
        &client,
        CubeCount::Static(cubes, p.width as u32 + 1, 1),
        CubeDim::new_2d(COLUMNS, SHARERS),
        partial.into_tensor_arg(),
        dweight.clone().into_tensor_arg(),
        dbias.clone().into_tensor_arg(),
        parts,
        p.channels,
        filter,
        parameter.into(),
    );
    [dx, dweight, operand(dbias, bias_dtype)]
}
