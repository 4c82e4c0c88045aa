//! Operands on the device and the launches that both directions share.

use super::SelectiveScanProblem;
use super::kernel::{
    ScanConfig, chain, chunk_adjoints, chunk_states, pack, scan_forward, sum_parts,
};
use super::layout::{self, Chunks, Device};
use crate::cube::tensor::{empty, operand};
use burn::tensor::{DType, Shape, TensorMetadata};
use burn_cubecl::{CubeRuntime, tensor::CubeTensor};
use cubecl::calculate_cube_count_elemwise;
use cubecl::prelude::*;

/// Bindings of the backward pass.
const BINDINGS: u32 = 16;

/// Cubes that keep one multiprocessor busy.
const CUBES_PER_PROCESSOR: usize = 8;

/// Multiprocessors of a device that does not say.
const PROCESSORS: usize = 32;

/// Operands as the kernels want them.
pub(super) struct Prepared<R: CubeRuntime> {
    pub(super) u: CubeTensor<R>,
    pub(super) dt: CubeTensor<R>,
    pub(super) b: CubeTensor<R>,
    pub(super) c: CubeTensor<R>,
    pub(super) z: CubeTensor<R>,
    pub(super) params: CubeTensor<R>,
    /// Bound where an operand is absent.
    pub(super) dummy: CubeTensor<R>,
    /// Element type of all but `params`.
    pub(super) dtype: DType,
    config: ScanConfig,
    pub(super) chunks: Chunks,
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
pub(super) fn config<R: CubeRuntime>(
    u: &CubeTensor<R>,
    has_reset: bool,
    p: &SelectiveScanProblem,
) -> Option<ScanConfig> {
    let enough = u.client.properties().hardware.max_bindings >= BINDINGS;
    let config = layout::config(p, has_reset, device(&u.client))?;
    enough.then_some(config)
}

/// A unit for each of `length` elements.
pub(super) fn elementwise<R: CubeRuntime>(
    client: &ComputeClient<R>,
    length: usize,
) -> (CubeCount, CubeDim) {
    let dim = CubeDim::new(client, length);
    (calculate_cube_count_elemwise(client, length, dim), dim)
}

impl<R: CubeRuntime> Prepared<R> {
    /// `others`: element types of tensors that join the operands later.
    pub(super) fn new(
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

    pub(super) fn client(&self) -> &ComputeClient<R> {
        &self.params.client
    }

    pub(super) fn new_f32(&self, dims: impl Into<Shape>) -> CubeTensor<R> {
        empty(&self.params, dims, DType::F32)
    }

    pub(super) fn count(&self, chunks: usize) -> CubeCount {
        let cubes = layout::cubes(&self.problem, &self.config);
        CubeCount::Static(cubes as u32, self.problem.batch as u32, chunks as u32)
    }

    pub(super) fn dim(&self) -> CubeDim {
        CubeDim::new_1d(self.config.units() as u32)
    }

    /// The forward scan: output, and states `[batch, slots, d_inner, d_state]`.
    pub(super) fn scan(&self, save: bool) -> (CubeTensor<R>, CubeTensor<R>) {
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
    pub(super) fn chain(
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
    pub(super) fn adjoints(
        &self,
        gy: &CubeTensor<R>,
        g_last: Option<CubeTensor<R>>,
    ) -> Option<CubeTensor<R>> {
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
    pub(super) fn sum_parts(&self, partial: CubeTensor<R>, parts: usize) -> CubeTensor<R> {
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
