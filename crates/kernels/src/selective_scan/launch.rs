//! Launches of the CubeCL kernels.

use super::kernel::{ScanConfig, scan_backward, sum_parameters};
use super::prepared::{
    Direction, Prepared, common_dtype, config, elementwise, holds_all, optional, states_shape,
};
use super::{SelectiveScanProblem, layout, reference};
use crate::backend::{StateSpaceGradients, StateSpaceOutput};
use crate::cube::tensor::{operand, rows_operand};
use burn::tensor::{DType, Shape, TensorMetadata};
use burn_cubecl::kernel::slice;
use burn_cubecl::ops::reshape;
use burn_cubecl::{
    CubeBackend, CubeRuntime, FloatElement, IntElement, element::BoolElement, tensor::CubeTensor,
};
use cubecl::prelude::ComputeClient;

/// Shape of the states that the forward pass saves if asked to, or `None` if it saves none.
pub(crate) fn saved<R: CubeRuntime>(
    device: &R::Device,
    dtypes: [DType; 9],
    has_reset: bool,
    p: &SelectiveScanProblem,
) -> Option<Shape> {
    let client = R::client(device);
    let config = config(&client, has_reset, p)?;
    let saves = saves(&client, dtypes, p, &config);
    saves.then(|| states_shape(p, layout::tiles(p, &config)))
}

/// Whether the forward pass saves states; where one tensor holds all, the backward pass finds them again.
fn saves<R: CubeRuntime>(
    client: &ComputeClient<R>,
    dtypes: [DType; 9],
    p: &SelectiveScanProblem,
    config: &ScanConfig,
) -> bool {
    !holds_all(client) && layout::saves(p, config, common_dtype(dtypes, p, None).size())
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
    let client = operands[0].client.clone();
    let dtypes = operands.each_ref().map(|operand| operand.dtype);
    let save = save && saves(&client, dtypes, p, &config);
    let direction = Direction::Forward { save };
    let prepared = Prepared::new(operands, reset, None, None, p, config, direction);
    let (y, states) = prepared.scan();
    let slots = states.shape()[1];
    let last = match slots {
        1 => states.clone(),
        _ => slice(
            states.clone(),
            &[0..p.batch, slots - 1..slots, 0..p.d_inner, 0..p.d_state],
        ),
    };
    let last = reshape(last, Shape::new([p.batch, p.d_inner, p.d_state]));
    let last = match (holds_all(&client), dtype) {
        // A copy, lest a state keep all of the memory.
        (true, DType::F32) => last.copy(),
        _ => operand(last, dtype),
    };
    StateSpaceOutput {
        y: operand(y, dtype),
        last_state: last,
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
    let last = gradients.last_state;
    let has_last = last.is_some();
    let prepared = Prepared::new(operands, reset, last, other, p, config, Direction::Backward);
    let (dtype, regions) = (prepared.dtype, prepared.regions);
    let gy = match gradients.y {
        Some(gy) => gy,
        None => {
            let (shape, device) = (prepared.u.shape(), &prepared.u.device);
            burn_cubecl::ops::numeric::zeros::<R>(device.clone(), shape, dtype)
        }
    };
    let gy = rows_operand(gy, dtype, config.vector);
    let states = saved.unwrap_or_else(|| prepared.scan().1);
    let states = (!holds_all(prepared.client())).then_some(states);
    prepared.link_adjoints(&gy);

    let parts = layout::parts(p, &config);
    let partial = if parts == 1 { dtype } else { DType::F32 };
    let by_row = prepared.u.shape();
    let by_group = [p.batch, p.seq, p.ngroups * parts, p.d_state];
    let row = || prepared.own(by_row.clone(), dtype);
    let [gu, gdt, gz] = [row(), row(), if p.has_z { row() } else { None }];
    let [gb, gc] = [(); 2].map(|()| prepared.own(by_group, partial));
    // SAFETY: steps, groups and channels are kept inside the shapes by the kernel.
    unsafe {
        scan_backward::launch_unchecked::<R>(
            prepared.client(),
            prepared.count(regions.chunks),
            prepared.dim(),
            config.vector,
            config.state_vector,
            prepared.u.clone().into_tensor_arg(),
            prepared.dt.clone().into_tensor_arg(),
            prepared.b.clone().into_tensor_arg(),
            prepared.c.clone().into_tensor_arg(),
            prepared.z.clone().into_tensor_arg(),
            gy.into_tensor_arg(),
            prepared.memory.clone().into_tensor_arg(),
            optional(&states),
            optional(&gu),
            optional(&gdt),
            optional(&gz),
            optional(&gb),
            optional(&gc),
            regions.launch(),
            has_last,
            config,
            [dtype.into(), partial.into()],
        );
    }
    let ga = prepared.new_f32([p.d_inner, p.d_state]);
    let (gd, gbias) = (prepared.new_f32([p.d_inner]), prepared.new_f32([p.d_inner]));
    let (count, dim) = elementwise(prepared.client(), p.d_inner * (p.d_state + 2));
    // SAFETY: the kernel checks its index against the shape of `ga`, and reads the region of the partial gradients.
    unsafe {
        sum_parameters::launch_unchecked::<R>(
            prepared.client(),
            count,
            dim,
            prepared.memory.clone().into_tensor_arg(),
            ga.clone().into_tensor_arg(),
            gd.clone().into_tensor_arg(),
            gbias.clone().into_tensor_arg(),
            regions.g_params,
            p.batch * regions.chunks,
        );
    }
    let found = |own: Option<CubeTensor<R>>, first: usize, shape: Shape| {
        own.unwrap_or_else(|| prepared.region(first, shape))
    };
    let gu = found(gu, regions.gu, by_row.clone());
    let gdt = found(gdt, regions.gdt, by_row.clone());
    let gz = match p.has_z {
        true => found(gz, regions.gz, by_row),
        false => gu.clone(),
    };
    let gb = prepared.sum_parts(found(gb, regions.gb, by_group.into()), parts);
    let gc = prepared.sum_parts(found(gc, regions.gc, by_group.into()), parts);
    let g_initial = prepared.region(regions.g_initial, [p.batch, p.d_inner, p.d_state]);
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
