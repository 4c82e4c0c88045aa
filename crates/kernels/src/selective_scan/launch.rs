//! Launches of the CubeCL kernels.

use super::kernel::{
    ScanConfig, chain, chunk_adjoints, chunk_states, pack, scan_backward, scan_forward,
    sum_parameters, sum_parts,
};
use super::layout::{self, Chunks, Device};
use super::{SelectiveScanProblem, reference};
use crate::backend::{StateSpaceGradients, StateSpaceOutput};
use crate::cube::tensor::{empty, operand};
use burn::tensor::{DType, Shape, TensorMetadata};
use burn_cubecl::kernel::slice;
use burn_cubecl::ops::reshape;
use burn_cubecl::{
    CubeBackend, CubeRuntime, FloatElement, IntElement, element::BoolElement, tensor::CubeTensor,
};
use cubecl::calculate_cube_count_elemwise;
use cubecl::prelude::*;

/// Bindings of the backward pass.
const BINDINGS: u32 = 16;

/// Cubes that keep one multiprocessor busy.
const CUBES_PER_PROCESSOR: usize = 8;

/// Multiprocessors of a device that does not say.
const PROCESSORS: usize = 32;

/// Operands as the kernels want them.
struct Prepared<R: CubeRuntime> {
    u: CubeTensor<R>,
    dt: CubeTensor<R>,
    b: CubeTensor<R>,
    c: CubeTensor<R>,
    z: CubeTensor<R>,
    params: CubeTensor<R>,
    /// Bound where an operand is absent.
    dummy: CubeTensor<R>,
    /// Element type of all but `params`.
    dtype: DType,
    config: ScanConfig,
    chunks: Chunks,
    problem: SelectiveScanProblem,
}

fn device<R: CubeRuntime>(client: &ComputeClient<R>) -> Device {
    let hardware = &client.properties().hardware;
    let processors = hardware
        .num_streaming_multiprocessors
        .map_or(PROCESSORS, |count| count as usize);
    Device {
        shared_bytes: hardware.max_shared_memory_size,
        units: hardware.max_units_per_cube as usize,
        cubes: processors * CUBES_PER_PROCESSOR,
        // CPUs have no planes.
        unroll: !client.properties().features.plane.is_empty(),
    }
}

/// What to compile, or `None` if the device cannot run it: too little shared memory (a `d_state` of
/// many hundreds) or too few bindings.
fn config<R: CubeRuntime>(
    u: &CubeTensor<R>,
    has_reset: bool,
    p: &SelectiveScanProblem,
) -> Option<ScanConfig> {
    let enough = u.client.properties().hardware.max_bindings >= BINDINGS;
    let config = layout::config(p, has_reset, device(&u.client))?;
    enough.then_some(config)
}

/// A unit for each of `length` elements.
fn elementwise<R: CubeRuntime>(client: &ComputeClient<R>, length: usize) -> (CubeCount, CubeDim) {
    let dim = CubeDim::new(client, length);
    (calculate_cube_count_elemwise(client, length, dim), dim)
}

impl<R: CubeRuntime> Prepared<R> {
    /// `others`: element types of tensors that join the operands later.
    fn new(
        operands: [CubeTensor<R>; 9],
        reset: Option<CubeTensor<R>>,
        p: &SelectiveScanProblem,
        config: ScanConfig,
        others: Option<DType>,
    ) -> Self {
        let [u, dt, a, b, c, d, z, dt_bias, initial_state] = operands;
        let mut dtypes = vec![u.dtype, dt.dtype, b.dtype, c.dtype];
        dtypes.extend(p.has_z.then_some(z.dtype).into_iter().chain(others));
        // Of different types none may be rounded to another's.
        let small = matches!(u.dtype, DType::F16 | DType::BF16);
        let same = dtypes.iter().all(|&dtype| dtype == u.dtype);
        let dtype = if small && same { u.dtype } else { DType::F32 };
        let dummy = empty(&u, [16], DType::F32);
        let optional = |has: bool, tensor: CubeTensor<R>, dtype: DType| match has {
            true => operand(tensor, dtype),
            false => dummy.clone(),
        };

        let resets = if reset.is_some() { p.batch * p.seq } else { 0 };
        let states = match p.has_initial_state {
            true => p.batch * p.d_inner * p.d_state,
            false => 0,
        };
        let length = p.d_inner * (p.d_state + 2) + resets + states;
        let params = empty(&u, [length], DType::F32);
        let (count, dim) = elementwise(&u.client, length);
        let has = [p.has_d, p.has_dt_bias, reset.is_some(), p.has_initial_state];
        let reset = match reset {
            Some(reset) => operand(reset, DType::F32),
            None => dummy.clone(),
        };
        // SAFETY: the kernel writes below the length of `params` only, and reads the shapes above.
        unsafe {
            pack::launch_unchecked::<R>(
                &u.client,
                count,
                dim,
                operand(a, DType::F32).into_tensor_arg(),
                optional(p.has_d, d, DType::F32).into_tensor_arg(),
                optional(p.has_dt_bias, dt_bias, DType::F32).into_tensor_arg(),
                reset.into_tensor_arg(),
                optional(p.has_initial_state, initial_state, DType::F32).into_tensor_arg(),
                params.clone().into_array_arg(),
                has,
            );
        }
        let z = optional(p.has_z, z, dtype);
        let chunks = layout::chunks(p, &config, device(&u.client));
        Self {
            u: operand(u, dtype),
            dt: operand(dt, dtype),
            b: operand(b, dtype),
            c: operand(c, dtype),
            z,
            params,
            dummy,
            dtype,
            config,
            chunks,
            problem: *p,
        }
    }

    fn client(&self) -> &ComputeClient<R> {
        &self.params.client
    }

    fn new_f32(&self, dims: impl Into<Shape>) -> CubeTensor<R> {
        empty(&self.params, dims, DType::F32)
    }

    fn count(&self, chunks: usize) -> CubeCount {
        let cubes = layout::cubes(&self.problem, &self.config);
        CubeCount::Static(cubes as u32, self.problem.batch as u32, chunks as u32)
    }

    fn dim(&self) -> CubeDim {
        CubeDim::new_1d(self.config.units() as u32)
    }

    /// The forward scan: output, and states `[batch, slots, d_inner, d_state]`.
    fn scan(&self, save: bool) -> (CubeTensor<R>, CubeTensor<R>) {
        let (p, chunks) = (&self.problem, self.chunks);
        let config = ScanConfig {
            save,
            ..self.config
        };
        let slots = if save { chunks.tiles } else { chunks.count };
        let states = self.new_f32([p.batch, slots, p.d_inner, p.d_state]);
        let y = empty(&self.u, self.u.shape(), self.dtype);
        if chunks.count > 1 {
            let ends = self.new_f32([p.batch, chunks.count, p.d_inner * p.d_state]);
            let decays = self.new_f32(ends.shape());
            // SAFETY: steps, groups and channels are kept inside the shapes by the kernel.
            unsafe {
                chunk_states::launch_unchecked::<R>(
                    self.client(),
                    self.count(chunks.count - 1),
                    self.dim(),
                    config.vector,
                    config.state_vector,
                    self.u.clone().into_tensor_arg(),
                    self.dt.clone().into_tensor_arg(),
                    self.b.clone().into_tensor_arg(),
                    self.params.clone().into_tensor_arg(),
                    ends.clone().into_tensor_arg(),
                    decays.clone().into_tensor_arg(),
                    chunks.per_chunk,
                    config,
                    self.dtype.into(),
                );
            }
            let resets = if config.has_reset { p.batch * p.seq } else { 0 };
            let start_at = p.d_inner * (p.d_state + 2) + resets;
            let start = p.has_initial_state.then_some((&self.params, start_at));
            let stride = if save { chunks.per_chunk } else { 1 };
            self.chain(ends, decays, start, &states, stride, false);
        }
        // SAFETY: steps, groups and channels are kept inside the shapes by the kernel.
        unsafe {
            scan_forward::launch_unchecked::<R>(
                self.client(),
                self.count(chunks.count),
                self.dim(),
                config.vector,
                config.state_vector,
                self.u.clone().into_tensor_arg(),
                self.dt.clone().into_tensor_arg(),
                self.b.clone().into_tensor_arg(),
                self.c.clone().into_tensor_arg(),
                self.z.clone().into_tensor_arg(),
                self.params.clone().into_tensor_arg(),
                y.clone().into_tensor_arg(),
                states.clone().into_tensor_arg(),
                chunks.per_chunk,
                config,
                self.dtype.into(),
            );
        }
        (y, states)
    }

    /// Chains the ends of chunks into `out`, `[batch, slots, ..]`.
    fn chain(
        &self,
        ends: CubeTensor<R>,
        decays: CubeTensor<R>,
        start: Option<(&CubeTensor<R>, usize)>,
        out: &CubeTensor<R>,
        stride: usize,
        backward: bool,
    ) {
        let p = &self.problem;
        let width = p.d_inner * p.d_state;
        let (has_start, start_at) = (start.is_some(), start.map_or(0, |(_, at)| at));
        let start = start.map_or(&self.dummy, |(start, _)| start);
        const UNITS: usize = 256;
        // SAFETY: the kernel checks its column; batch and slots are in the shapes.
        unsafe {
            chain::launch_unchecked::<R>(
                self.client(),
                CubeCount::Static(width.div_ceil(UNITS) as u32, p.batch as u32, 1),
                CubeDim::new_1d(UNITS as u32),
                ends.into_tensor_arg(),
                decays.into_tensor_arg(),
                start.clone().into_tensor_arg(),
                out.clone().into_tensor_arg(),
                start_at,
                stride,
                has_start,
                backward,
            );
        }
    }

    /// Gradients of the states after chunks, `[batch, chunks, d_inner, d_state]`; `None` if zero.
    fn adjoints(&self, gy: &CubeTensor<R>, g_last: Option<CubeTensor<R>>) -> Option<CubeTensor<R>> {
        let (p, chunks) = (&self.problem, self.chunks);
        let g_last = g_last.map(|g_last| operand(g_last, DType::F32));
        if chunks.count == 1 {
            return g_last;
        }
        let ends = self.new_f32([p.batch, chunks.count, p.d_inner * p.d_state]);
        let decays = self.new_f32(ends.shape());
        let out = self.new_f32(ends.shape());
        // SAFETY: steps, groups and channels are kept inside the shapes by the kernel.
        unsafe {
            chunk_adjoints::launch_unchecked::<R>(
                self.client(),
                self.count(chunks.count - 1),
                self.dim(),
                self.config.vector,
                self.config.state_vector,
                self.dt.clone().into_tensor_arg(),
                self.c.clone().into_tensor_arg(),
                self.z.clone().into_tensor_arg(),
                gy.clone().into_tensor_arg(),
                self.params.clone().into_tensor_arg(),
                ends.clone().into_tensor_arg(),
                decays.clone().into_tensor_arg(),
                chunks.per_chunk,
                self.config,
                self.dtype.into(),
            );
        }
        let start = g_last.as_ref().map(|g_last| (g_last, 0));
        self.chain(ends, decays, start, &out, 1, true);
        Some(out)
    }

    /// Sums `[batch, seq, ngroups * parts, d_state]` over parts.
    fn sum_parts(&self, partial: CubeTensor<R>, parts: usize) -> CubeTensor<R> {
        if parts == 1 {
            return partial;
        }
        let out = empty(&self.b, self.b.shape(), self.dtype);
        let (count, dim) = elementwise(self.client(), self.b.shape().num_elements());
        // SAFETY: the kernel checks its index; `partial` has `parts` times the elements of `out`.
        unsafe {
            sum_parts::launch_unchecked::<R>(
                self.client(),
                count,
                dim,
                partial.into_tensor_arg(),
                out.clone().into_tensor_arg(),
                parts,
                self.problem.d_state,
                self.dtype.into(),
            );
        }
        out
    }
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
    let Some(config) = config(&operands[0], reset.is_some(), p) else {
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
    let Some(config) = config(&operands[0], reset.is_some(), p) else {
        return reference::backward::<CubeBackend<R, F, I, BT>>(operands, reset, gradients, p);
    };
    let kept = operands.clone();
    let others = gradients.y.as_ref().map(|gy| gy.dtype);
    let prepared = Prepared::new(operands, reset, p, config, others);
    let dtype = prepared.dtype;
    let gy = match gradients.y {
        Some(gy) => operand(gy, dtype),
        None => {
            let (shape, device) = (prepared.u.shape(), &prepared.u.device);
            burn_cubecl::ops::numeric::zeros::<R>(device.clone(), shape, dtype)
        }
    };
    let gy = operand(gy, dtype);
    let states = saved.unwrap_or_else(|| prepared.scan(true).1);
    let adjoints = prepared.adjoints(&gy, gradients.last_state);
    let has_adjoints = adjoints.is_some();
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
            adjoints
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
            has_adjoints,
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
