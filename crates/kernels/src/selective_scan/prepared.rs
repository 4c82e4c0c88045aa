//! Operands on the device and the launches that both directions share.

use super::SelectiveScanProblem;
use super::kernel::{ScanConfig, chunk_adjoints, chunk_states, pack, scan_forward, sum_parts};
use super::layout::{self, Chunks, Device};
use crate::cube::tensor::{empty, operand, rows_operand};
use burn::tensor::{DType, Shape, TensorMetadata};
use burn_cubecl::{CubeRuntime, tensor::CubeTensor};
use cubecl::calculate_cube_count_elemwise;
use cubecl::prelude::*;

/// Bindings of the backward pass.
const BINDINGS: u32 = 16;

/// Units that one multiprocessor holds at once, about: more chunks than that cost little.
const UNITS_PER_PROCESSOR: usize = 1024;
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
        units_at_once: processors * UNITS_PER_PROCESSOR,
        // CPUs have no planes.
        is_cpu: client.properties().features.plane.is_empty(),
    }
}

/// What to compile, or `None` if the device cannot run it: too little shared memory (a `d_state` of
/// many hundreds) or too few bindings.
pub(super) fn config<R: CubeRuntime>(
    client: &ComputeClient<R>,
    has_reset: bool,
    p: &SelectiveScanProblem,
) -> Option<ScanConfig> {
    let enough = client.properties().hardware.max_bindings >= BINDINGS;
    let config = layout::config(p, has_reset, device(client))?;
    enough.then_some(config)
}

/// Element type that the kernels run in, given those of the operands and of a tensor that joins them later. Of
/// different types none may be rounded to another's.
pub(super) fn common_dtype(
    dtypes: [DType; 9],
    p: &SelectiveScanProblem,
    other: Option<DType>,
) -> DType {
    let [u, dt, _, b, c, _, z, ..] = dtypes;
    let mut others = [dt, b, c]
        .into_iter()
        .chain(p.has_z.then_some(z))
        .chain(other);
    let small = matches!(u, DType::F16 | DType::BF16);
    match small && others.all(|dtype| dtype == u) {
        true => u,
        false => DType::F32,
    }
}

/// Shape of the states after tiles, the last `slots` of them or all.
pub(super) fn states_shape(p: &SelectiveScanProblem, slots: usize) -> Shape {
    Shape::new([p.batch, slots, p.d_inner, p.d_state])
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
    /// Lays the operands out; `other` is the element type of a tensor that joins them later.
    pub(super) fn new(
        operands: [CubeTensor<R>; 9],
        reset: Option<CubeTensor<R>>,
        p: &SelectiveScanProblem,
        config: ScanConfig,
        other: Option<DType>,
    ) -> Self {
        let dtype = common_dtype(operands.each_ref().map(|operand| operand.dtype), p, other);
        let [u, dt, a, b, c, d, z, dt_bias, initial_state] = operands;
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
        let rows = |tensor| rows_operand(tensor, dtype, config.vector);
        let grouped = |tensor| rows_operand(tensor, dtype, config.state_vector);
        let z = match p.has_z {
            true => rows(z),
            false => dummy.clone(),
        };
        let chunks = layout::chunks(p, &config, device(&u.client));
        Self {
            u: rows(u),
            dt: rows(dt),
            b: grouped(b),
            c: grouped(c),
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
        let slots = if save { chunks.tiles } else { 1 };
        let states = self.new_f32(states_shape(p, slots));
        let y = empty(&self.u, self.u.shape(), self.dtype);
        let mut links = self.dummy.clone();
        if chunks.count > 1 {
            links = self.new_links();
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
                    links.clone().into_tensor_arg(),
                    chunks.per_chunk,
                    config,
                    self.dtype.into(),
                );
            }
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
                links.into_tensor_arg(),
                y.clone().into_tensor_arg(),
                states.clone().into_tensor_arg(),
                chunks.per_chunk,
                config,
                self.dtype.into(),
            );
        }
        (y, states)
    }

    /// What chunks leave for those that start from them, `[2, batch, chunks, d_inner, d_state]`.
    fn new_links(&self) -> CubeTensor<R> {
        let p = &self.problem;
        self.new_f32([2, p.batch, self.chunks.count, p.d_inner, p.d_state])
    }

    /// What the chunks of the backward pass start from, given the gradient of the last state; `None` if
    /// that is zero.
    pub(super) fn adjoints(
        &self,
        gy: &CubeTensor<R>,
        g_last: Option<&CubeTensor<R>>,
    ) -> Option<CubeTensor<R>> {
        let chunks = self.chunks;
        if chunks.count == 1 {
            return g_last.cloned();
        }
        let links = self.new_links();
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
                g_last.unwrap_or(&self.dummy).clone().into_tensor_arg(),
                links.clone().into_tensor_arg(),
                chunks.per_chunk,
                g_last.is_some(),
                self.config,
                self.dtype.into(),
            );
        }
        Some(links)
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
