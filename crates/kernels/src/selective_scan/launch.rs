//! Launches of the CubeCL kernels.

use super::kernel::{scan_backward, sum_parameters};
use super::prepared::{Prepared, common_dtype, config, elementwise, states_shape};
use super::{SelectiveScanProblem, layout, reference};
use crate::backend::{StateSpaceGradients, StateSpaceOutput};
use crate::cube::tensor::{empty, operand, rows_operand};
use burn::tensor::{DType, Shape, TensorMetadata};
use burn_cubecl::kernel::slice;
use burn_cubecl::ops::reshape;
use burn_cubecl::{
    CubeBackend, CubeRuntime, FloatElement, IntElement, element::BoolElement, tensor::CubeTensor,
};

/// Shape of the states that the forward pass saves if asked to, or `None` if it saves none.
pub(crate) fn saved<R: CubeRuntime>(
    device: &R::Device,
    dtypes: [DType; 9],
    has_reset: bool,
    p: &SelectiveScanProblem,
) -> Option<Shape> {
    let config = config(&R::client(device), has_reset, p)?;
    let saves = layout::saves(p, &config, common_dtype(dtypes, p, None).size());
    saves.then(|| states_shape(p, layout::tiles(p, &config)))
}

/// Forward of [`selective_scan`](super::selective_scan()).
pub(crate) fn forward<R, F, I, BT>(
    operands: [CubeTensor<R>; 9],
    reset: Option<CubeTensor<R>>,
    p: &SelectiveScanProblem,
    save: bool,
) -> StateSpaceOutput<CubeBackend<R, F, I, BT>>
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    BT: BoolElement,
{
    let dtype = operands[0].dtype;
    let Some(config) = config(&operands[0].client, reset.is_some(), p) else {
        return reference::forward(operands, reset, p);
    };
    let prepared = Prepared::new(operands, reset, p, config, None);
    let save = save && layout::saves(p, &config, prepared.dtype.size());
    let (y, states) = prepared.scan(save);
    let slots = states.shape()[1];
    let last = match slots {
        1 => states.clone(),
        _ => slice(
            states.clone(),
            &[0..p.batch, slots - 1..slots, 0..p.d_inner, 0..p.d_state],
        ),
    };
    let last = reshape(last, Shape::new([p.batch, p.d_inner, p.d_state]));
    StateSpaceOutput {
        y: operand(y, dtype),
        last_state: operand(last, dtype),
        saved: save.then_some(states),
    }
}

/// Gradients of [`selective_scan`](super::selective_scan()) with respect to its operands.
pub(crate) fn backward<R, F, I, BT>(
    operands: [CubeTensor<R>; 9],
    reset: Option<CubeTensor<R>>,
    saved: Option<CubeTensor<R>>,
    gradients: StateSpaceGradients<CubeBackend<R, F, I, BT>>,
    p: &SelectiveScanProblem,
) -> [CubeTensor<R>; 9]
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    BT: BoolElement,
{
    let Some(config) = config(&operands[0].client, reset.is_some(), p) else {
        return reference::backward::<CubeBackend<R, F, I, BT>>(operands, reset, gradients, p);
    };
    let kept = operands.clone();
    let other = gradients.y.as_ref().map(|gy| gy.dtype);
    let prepared = Prepared::new(operands, reset, p, config, other);
    let dtype = prepared.dtype;
    let gy = match gradients.y {
        Some(gy) => gy,
        None => {
            let (shape, device) = (prepared.u.shape(), &prepared.u.device);
            burn_cubecl::ops::numeric::zeros::<R>(device.clone(), shape, dtype)
        }
    };
    let gy = rows_operand(gy, dtype, config.vector);
    let states = saved.unwrap_or_else(|| prepared.scan(true).1);
    let g_last = gradients.last_state;
    let g_last = g_last.map(|g_last| operand(g_last, DType::F32));
    let links = prepared.adjoints(&gy, g_last.as_ref());
    let chunks = prepared.chunks;

    let like_u = || empty(&prepared.u, prepared.u.shape(), dtype);
    let (gu, gdt) = (like_u(), like_u());
    let gz = match p.has_z {
        true => like_u(),
        false => prepared.dummy.clone(),
    };
    let parts = (p.d_inner / p.ngroups).div_ceil(config.per_group);
    let partial = if parts == 1 { dtype } else { DType::F32 };
    let grouped = [p.batch, p.seq, p.ngroups * parts, p.d_state];
    let gb = empty(&prepared.u, grouped, partial);
    let gc = empty(&prepared.u, grouped, partial);
    let g_params = prepared.new_f32([p.batch * chunks.count, p.d_inner, p.d_state + 2]);
    let g_initial = prepared.new_f32([p.batch, p.d_inner, p.d_state]);
    // SAFETY: steps, groups and channels are kept inside the shapes by the kernel.
    unsafe {
        scan_backward::launch_unchecked::<R>(
            prepared.client(),
            prepared.count(chunks.count),
            prepared.dim(),
            config.vector,
            config.state_vector,
            prepared.u.clone().into_tensor_arg(),
            prepared.dt.clone().into_tensor_arg(),
            prepared.b.clone().into_tensor_arg(),
            prepared.c.clone().into_tensor_arg(),
            prepared.z.clone().into_tensor_arg(),
            prepared.params.clone().into_tensor_arg(),
            states.into_tensor_arg(),
            gy.into_tensor_arg(),
            links
                .unwrap_or_else(|| prepared.dummy.clone())
                .into_tensor_arg(),
            gu.clone().into_tensor_arg(),
            gdt.clone().into_tensor_arg(),
            gz.clone().into_tensor_arg(),
            gb.clone().into_tensor_arg(),
            gc.clone().into_tensor_arg(),
            g_params.clone().into_tensor_arg(),
            g_initial.clone().into_tensor_arg(),
            chunks.per_chunk,
            g_last.is_some(),
            config,
            [dtype.into(), partial.into()],
        );
    }
    let ga = prepared.new_f32([p.d_inner, p.d_state]);
    let (gd, gbias) = (prepared.new_f32([p.d_inner]), prepared.new_f32([p.d_inner]));
    let (count, dim) = elementwise(prepared.client(), p.d_inner * (p.d_state + 2));
    // SAFETY: the kernel checks its index against the shape of `g_params`.
    unsafe {
        sum_parameters::launch_unchecked::<R>(
            prepared.client(),
            count,
            dim,
            g_params.into_tensor_arg(),
            ga.clone().into_tensor_arg(),
            gd.clone().into_tensor_arg(),
            gbias.clone().into_tensor_arg(),
        );
    }
    let gb = prepared.sum_parts(gb, parts);
    let gc = prepared.sum_parts(gc, parts);
    let has = [
        true,
        true,
        true,
        true,
        true,
        p.has_d,
        p.has_z,
        p.has_dt_bias,
        p.has_initial_state,
    ];
    let mut found = [gu, gdt, ga, gb, gc, gd, gz, gbias, g_initial]
        .into_iter()
        .zip(has);
    kept.map(|kept| match found.next() {
        Some((gradient, true)) => operand(gradient, kept.dtype),
        _ => kept,
    })
}
