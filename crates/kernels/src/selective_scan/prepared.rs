//! Operands on the device and the launches that both directions share.

use super::SelectiveScanProblem;
use super::kernel::{
    Regions, ScanConfig, chunk_adjoints, chunk_states, pack, scan_forward, sum_parts,
};
use super::layout::{self, Contents, Device};
use crate::cube::tensor::{empty, operand, part, processors, rows_operand};
use burn::tensor::{DType, Shape, TensorMetadata};
use burn_cubecl::{CubeRuntime, tensor::CubeTensor};
use cubecl::calculate_cube_count_elemwise;
use cubecl::prelude::*;

/// Bindings of the backward pass where states and gradients have tensors of their own. A device with fewer computes in
/// f32, finds the states again in the backward pass and keeps all of that in one tensor: seven bindings at most, what
/// WebGPU leaves beside the one of cubecl's own.
const BINDINGS: u32 = 13;

/// Units that one multiprocessor holds at once, about: more chunks than that cost little.
const UNITS_PER_PROCESSOR: usize = 1536;
/// Multiprocessors of a device that does not say.
const PROCESSORS: usize = 32;

/// What a call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// The scan; with `save` the states after all tiles are kept.
    Forward { save: bool },
    /// Its gradients.
    Backward,
}

/// Operands as the kernels want them.
pub(super) struct Prepared<R: CubeRuntime> {
    pub(super) u: CubeTensor<R>,
    pub(super) dt: CubeTensor<R>,
    pub(super) b: CubeTensor<R>,
    pub(super) c: CubeTensor<R>,
    pub(super) z: CubeTensor<R>,
    /// Small operands, and what kernels leave for each other.
    pub(super) memory: CubeTensor<R>,
    pub(super) regions: Regions,
    /// Element type of all but `memory`.
    pub(super) dtype: DType,
    config: ScanConfig,
    problem: SelectiveScanProblem,
}

fn device<R: CubeRuntime>(client: &ComputeClient<R>) -> Device {
    let hardware = &client.properties().hardware;
    let processors = processors(client, PROCESSORS);
    Device {
        shared_bytes: hardware.max_shared_memory_size,
        units: hardware.max_units_per_cube as usize,
        units_at_once: processors * UNITS_PER_PROCESSOR,
        // CPUs have no planes.
        is_cpu: client.properties().features.plane.is_empty(),
    }
}

/// Whether states and row gradients have to lie in the shared memory tensor.
pub(super) fn holds_all<R: CubeRuntime>(client: &ComputeClient<R>) -> bool {
    client.properties().hardware.max_bindings < BINDINGS
}

/// What to compile, or `None` if the device cannot run it: too little shared memory (a `d_state` of
/// many hundreds).
pub(super) fn config<R: CubeRuntime>(
    client: &ComputeClient<R>,
    has_reset: bool,
    p: &SelectiveScanProblem,
) -> Option<ScanConfig> {
    layout::config(p, has_reset, device(client))
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
    /// Lays the operands out. Backward, `last` is the gradient of the last state, and `other` the element type of a tensor
    /// that joins the operands later.
    pub(super) fn new(
        operands: [CubeTensor<R>; 9],
        reset: Option<CubeTensor<R>>,
        last: Option<CubeTensor<R>>,
        other: Option<DType>,
        p: &SelectiveScanProblem,
        config: ScanConfig,
        direction: Direction,
    ) -> Self {
        let holds_all = holds_all(&operands[0].client);
        let dtype = match holds_all {
            true => DType::F32,
            false => common_dtype(operands.each_ref().map(|operand| operand.dtype), p, other),
        };
        let [u, dt, a, b, c, d, z, dt_bias, initial_state] = operands;
        let client = u.client.clone();

        let chunks = layout::chunks(p, &config, device(&client));
        let contents = Contents {
            has_reset: reset.is_some(),
            has_last: last.is_some(),
            is_backward: direction == Direction::Backward,
            slots: match direction {
                Direction::Forward { save: false } => 1,
                _ => chunks.tiles,
            },
            holds_all,
            alignment: client.properties().memory.alignment as usize / size_of::<f32>(),
        };
        let (regions, length) = layout::regions(p, &config, chunks, contents);
        let memory = empty(&u, [length], DType::F32);
        let packed = regions.last
            + match last.is_some() {
                true => p.batch * p.d_inner * p.d_state,
                false => 0,
            };
        let (count, dim) = elementwise(&client, packed);
        let a = operand(a, DType::F32);
        // Absent ones are not read.
        let small = |tensor: Option<CubeTensor<R>>| match tensor {
            Some(tensor) => operand(tensor, DType::F32).into_tensor_arg(),
            None => a.clone().into_tensor_arg(),
        };
        // SAFETY: the kernel writes below `packed` only, the end of the last region that it fills, and reads the shapes
        // above.
        unsafe {
            pack::launch_unchecked::<R>(
                &client,
                count,
                dim,
                a.clone().into_tensor_arg(),
                small(p.has_d.then_some(d)),
                small(p.has_dt_bias.then_some(dt_bias)),
                small(reset),
                small(p.has_initial_state.then_some(initial_state)),
                small(last),
                memory.clone().into_tensor_arg(),
                packed,
                regions.launch(),
                [p.has_d, p.has_dt_bias],
            );
        }
        let rows = |tensor| rows_operand(tensor, dtype, config.vector);
        let grouped = |tensor| rows_operand(tensor, dtype, config.state_vector);
        let u = rows(u);
        Self {
            dt: rows(dt),
            b: grouped(b),
            c: grouped(c),
            z: match p.has_z {
                true => rows(z),
                false => u.clone(),
            },
            u,
            memory,
            regions,
            dtype,
            config,
            problem: *p,
        }
    }

    pub(super) fn client(&self) -> &ComputeClient<R> {
        &self.memory.client
    }

    pub(super) fn new_f32(&self, dims: impl Into<Shape>) -> CubeTensor<R> {
        empty(&self.memory, dims, DType::F32)
    }

    /// A tensor of its own, unless all is held by the shared one.
    pub(super) fn own(&self, dims: impl Into<Shape>, dtype: DType) -> Option<CubeTensor<R>> {
        (!holds_all(self.client())).then(|| empty(&self.memory, dims, dtype))
    }

    /// A region of the shared memory.
    pub(super) fn region(&self, first: usize, dims: impl Into<Shape>) -> CubeTensor<R> {
        part(&self.memory, first, dims)
    }

    pub(super) fn count(&self, chunks: usize) -> CubeCount {
        let cubes = layout::cubes(&self.problem, &self.config);
        CubeCount::Static(cubes as u32, self.problem.batch as u32, chunks as u32)
    }

    pub(super) fn dim(&self) -> CubeDim {
        CubeDim::new_1d(self.config.units() as u32)
    }

    /// The forward scan: output, and states `[batch, slots, d_inner, d_state]`.
    pub(super) fn scan(&self) -> (CubeTensor<R>, CubeTensor<R>) {
        let (p, regions) = (&self.problem, &self.regions);
        let config = ScanConfig {
            save: regions.slots > 1,
            ..self.config
        };
        let shape = states_shape(p, regions.slots);
        let states = self.own(shape.clone(), DType::F32);
        let y = empty(&self.u, self.u.shape(), self.dtype);
        if regions.chunks > 1 {
            // SAFETY: steps, groups and channels are kept inside the shapes by the kernel.
            unsafe {
                chunk_states::launch_unchecked::<R>(
                    self.client(),
                    self.count(regions.chunks - 1),
                    self.dim(),
                    config.vector,
                    config.state_vector,
                    self.u.clone().into_tensor_arg(),
                    self.dt.clone().into_tensor_arg(),
                    self.b.clone().into_tensor_arg(),
                    self.memory.clone().into_tensor_arg(),
                    regions.launch(),
                    config,
                    self.dtype.into(),
                );
            }
        }
        // SAFETY: steps, groups and channels are kept inside the shapes by the kernel.
        unsafe {
            scan_forward::launch_unchecked::<R>(
                self.client(),
                self.count(regions.chunks),
                self.dim(),
                config.vector,
                config.state_vector,
                self.u.clone().into_tensor_arg(),
                self.dt.clone().into_tensor_arg(),
                self.b.clone().into_tensor_arg(),
                self.c.clone().into_tensor_arg(),
                self.z.clone().into_tensor_arg(),
                self.memory.clone().into_tensor_arg(),
                y.clone().into_tensor_arg(),
                optional(&states),
                regions.launch(),
                config,
                self.dtype.into(),
            );
        }
        (
            y,
            states.unwrap_or_else(|| self.region(regions.states, shape)),
        )
    }

    /// Finds what the chunks of the backward pass start from.
    pub(super) fn link_adjoints(&self, gy: &CubeTensor<R>) {
        if self.regions.chunks == 1 {
            return;
        }
        // SAFETY: steps, groups and channels are kept inside the shapes by the kernel.
        unsafe {
            chunk_adjoints::launch_unchecked::<R>(
                self.client(),
                self.count(self.regions.chunks - 1),
                self.dim(),
                self.config.vector,
                self.config.state_vector,
                self.dt.clone().into_tensor_arg(),
                self.c.clone().into_tensor_arg(),
                self.z.clone().into_tensor_arg(),
                gy.clone().into_tensor_arg(),
                self.memory.clone().into_tensor_arg(),
                self.regions.launch(),
                self.config,
                self.dtype.into(),
            );
        }
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

/// An argument that a kernel is compiled with or without.
pub(super) fn optional<T, R>(tensor: &Option<CubeTensor<R>>) -> ComptimeOptionArgs<Tensor<T>, R>
where
    T: CubePrimitive,
    R: CubeRuntime,
{
    tensor.clone().map(|tensor| tensor.into_tensor_arg()).into()
}
