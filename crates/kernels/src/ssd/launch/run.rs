use super::super::SsdProblem;
use super::super::kernel::{
    Mix, SizesLaunch, Steps, TILE, UNITS, plane, ssd_chunk_states, ssd_mix, ssd_pass_states,
    ssd_steps,
};
use crate::cube::tensor::{empty, operand, vector_size};
use burn::tensor::{DType, Shape};
use burn_cubecl::{CubeRuntime, tensor::CubeTensor};
use cubecl::calculate_cube_count_elemwise;
use cubecl::prelude::*;

/// Steps of a chunk on the device. Longer ones keep fewer states in memory, shorter ones compute
/// fewer products of steps; the problem's wish counts where it does not cost more memory than that.
pub(super) fn chunk_size(p: &SsdProblem) -> usize {
    let least = p.d_state.next_power_of_two().clamp(TILE, UNITS);
    let wanted = p.chunk_size.next_power_of_two().clamp(least, UNITS);
    wanted.min(p.seq.next_power_of_two().max(TILE))
}

/// Chunks of a sequence.
fn chunks(p: &SsdProblem) -> usize {
    p.seq.div_ceil(chunk_size(p))
}

/// Shape of the states at all chunk boundaries, `[batch, chunks + 1, nheads, headdim, d_state]`.
fn boundaries_shape(p: &SsdProblem) -> Shape {
    Shape::new([p.batch, chunks(p) + 1, p.nheads, p.headdim, p.d_state])
}

/// Shape of the states that the forward pass saves if asked to: those at chunk boundaries, or `None` if they take
/// more than twice the bytes of x (the last one is an output anyway).
pub(crate) fn saved(p: &SsdProblem, x: DType) -> Option<Shape> {
    let small = chunks(p) * p.d_state * DType::F32.size() <= 2 * p.seq * x.size();
    small.then(|| boundaries_shape(p))
}

/// A call: operands on the device, contiguous, and its scratch tensor.
pub(super) struct Run<'a, R: CubeRuntime> {
    pub(super) p: &'a SsdProblem,
    pub(super) client: ComputeClient<R>,
    /// Element type of the large tensors.
    pub(super) dtype: DType,
    pub(super) x: CubeTensor<R>,
    pub(super) dt: CubeTensor<R>,
    pub(super) a: CubeTensor<R>,
    pub(super) b: CubeTensor<R>,
    pub(super) c: CubeTensor<R>,
    pub(super) d: CubeTensor<R>,
    pub(super) z: CubeTensor<R>,
    pub(super) dt_bias: CubeTensor<R>,
    pub(super) initial_state: CubeTensor<R>,
    pub(super) scratch: CubeTensor<R>,
    pub(super) chunk: usize,
    pub(super) chunks: usize,
    /// Tiles of a row of x, and of b.
    pub(super) x_tiles: usize,
    pub(super) b_tiles: usize,
    pub(super) vector: usize,
}

impl<'a, R: CubeRuntime> Run<'a, R> {
    /// Lays the operands out and finds the step sizes.
    pub(super) fn new(
        operands: [CubeTensor<R>; 9],
        reset: Option<CubeTensor<R>>,
        p: &'a SsdProblem,
    ) -> Self {
        let [x, dt, a, b, c, d, z, dt_bias, initial_state] = operands;
        let (dtype, dt_type) = (x.dtype, dt.dtype);
        let chunk = chunk_size(p);
        let (x_tiles, b_tiles) = (p.headdim.div_ceil(TILE), p.d_state.div_ceil(TILE));
        let planes = plane::DOTS + 2 * x_tiles + b_tiles;
        let length = planes * p.batch * p.nheads * p.seq + p.nheads;
        let run = Self {
            p,
            client: x.client.clone(),
            dtype,
            scratch: empty(&x, Shape::new([length]), DType::F32),
            chunk,
            chunks: chunks(p),
            x_tiles,
            b_tiles,
            vector: vector_size(&x, p.headdim, 4).min(vector_size(&x, p.d_state, 4)),
            x: operand(x, dtype),
            dt: operand(dt, dt_type),
            a: operand(a, DType::F32),
            b: operand(b, dtype),
            c: operand(c, dtype),
            d: operand(d, DType::F32),
            z: operand(z, dtype),
            dt_bias: operand(dt_bias, DType::F32),
            initial_state: operand(initial_state, DType::F32),
        };
        let has_reset = reset.is_some();
        let reset = operand(reset.unwrap_or_else(|| run.a.clone()), DType::F32);
        ssd_steps::launch::<R>(
            &run.client,
            run.cubes_of_chunks(1),
            CubeDim::new_1d(chunk as u32),
            run.dt.clone().into_tensor_arg(),
            run.a.clone().into_tensor_arg(),
            run.dt_bias.clone().into_tensor_arg(),
            run.d.clone().into_tensor_arg(),
            reset.into_tensor_arg(),
            run.scratch.clone().into_tensor_arg(),
            run.sizes(),
            Steps {
                chunk,
                has_dt_bias: p.has_dt_bias,
                dt_softplus: p.dt_softplus,
                has_reset,
                has_d: p.has_d,
                planes,
            },
            dt_type.into(),
        );
        run
    }

    pub(super) fn sizes(&self) -> SizesLaunch<R> {
        SizesLaunch::new(
            self.p.batch,
            self.p.seq,
            self.p.nheads,
            self.p.ngroups,
            self.p.headdim,
            self.p.d_state,
            self.chunk,
            self.chunks,
        )
    }

    /// Cubes for every chunk and head, and `tiles` along z.
    pub(super) fn cubes_of_chunks(&self, tiles: usize) -> CubeCount {
        let chunks = self.p.batch * self.chunks;
        CubeCount::Static(chunks as u32, self.p.nheads as u32, tiles as u32)
    }

    pub(super) fn planes(&self) -> usize {
        plane::DOTS + 2 * self.x_tiles + self.b_tiles
    }

    /// Planes of the dots of x with dx, of x with dy, and of c with dc.
    pub(super) fn dot_planes(&self) -> [usize; 3] {
        let first = plane::DOTS;
        [first, first + self.x_tiles, first + 2 * self.x_tiles]
    }

    /// The shape of a state, `[batch, nheads, headdim, d_state]`.
    pub(super) fn state_shape(&self) -> Shape {
        let p = self.p;
        Shape::new([p.batch, p.nheads, p.headdim, p.d_state])
    }

    /// States at all boundaries, `[batch, chunks + 1, nheads, headdim, d_state]`, and the last one; `exact` if a
    /// backward pass follows.
    pub(super) fn states(&self, exact: bool) -> (CubeTensor<R>, CubeTensor<R>) {
        let start = self.p.has_initial_state.then(|| self.initial_state.clone());
        self.boundaries([self.x.clone(), self.b.clone()], start, false, exact)
    }

    /// Gradients of the states at all boundaries, and of the first one.
    pub(super) fn state_gradients(
        &self,
        dy: CubeTensor<R>,
        last: Option<CubeTensor<R>>,
    ) -> (CubeTensor<R>, CubeTensor<R>) {
        self.boundaries([dy, self.c.clone()], last, true, true)
    }

    fn boundaries(
        &self,
        [left, right]: [CubeTensor<R>; 2],
        start: Option<CubeTensor<R>>,
        reverse: bool,
        exact: bool,
    ) -> (CubeTensor<R>, CubeTensor<R>) {
        let p = self.p;
        let size = p.nheads * p.headdim * p.d_state;
        let states = empty(&self.x, boundaries_shape(p), DType::F32);
        let end = empty(&self.x, self.state_shape(), DType::F32);
        match self.is_cooperative() {
            true => self.chunk_states_cooperative([&left, &right, &states], !reverse, exact),
            false => self.chunk_states([&left, &right, &states], !reverse),
        }
        let wide = vector_size(&states, p.d_state, 4);
        let dim = CubeDim::new_1d(UNITS as u32);
        let has_start = start.is_some();
        let start = start.unwrap_or_else(|| self.a.clone());
        // SAFETY: the kernel reads and writes where the sizes it is given allow, and its loops end.
        unsafe {
            ssd_pass_states::launch_unchecked::<R>(
                &self.client,
                calculate_cube_count_elemwise(&self.client, p.batch * size / wide, dim),
                dim,
                wide,
                states.clone().into_tensor_arg(),
                start.into_tensor_arg(),
                end.clone().into_tensor_arg(),
                self.scratch.clone().into_tensor_arg(),
                self.sizes(),
                reverse,
                has_start,
            );
        }

        (states, end)
    }

    fn chunk_states(&self, [left, right, states]: [&CubeTensor<R>; 3], leaving: bool) {
        // SAFETY: the kernel reads and writes where the sizes it is given allow, and its loops end.
        unsafe {
            ssd_chunk_states::launch_unchecked::<R>(
                &self.client,
                self.cubes_of_chunks(self.x_tiles * self.b_tiles),
                CubeDim::new_1d(UNITS as u32),
                self.vector,
                left.clone().into_tensor_arg(),
                right.clone().into_tensor_arg(),
                self.scratch.clone().into_tensor_arg(),
                states.clone().into_tensor_arg(),
                self.sizes(),
                leaving,
                self.dtype.into(),
            );
        }
    }

    /// The result of one of the four uses of the mixing kernel.
    pub(super) fn mix(
        &self,
        [query, key, value, own, states]: [&CubeTensor<R>; 5],
        mix: Mix,
    ) -> CubeTensor<R> {
        let p = self.p;
        let (streams, width, tiles) = match mix.into_heads {
            true => (p.nheads, p.headdim, self.x_tiles),
            false => (p.ngroups, p.d_state, self.b_tiles),
        };
        let out = empty(&self.x, [p.batch, p.seq, streams, width], self.dtype);
        let [x_plane, skip_plane, c_plane] = self.dot_planes();
        let dots_plane = if mix.into_heads { x_plane } else { c_plane };
        if self.is_cooperative() {
            let tensors = [query, key, value, own, states, &out];
            self.mix_cooperative(tensors, [dots_plane, skip_plane], mix);
            return out;
        }
        let cubes = p.batch * p.seq.div_ceil(TILE);
        // SAFETY: the kernel reads and writes where the sizes it is given allow, and its loops end.
        unsafe {
            ssd_mix::launch_unchecked::<R>(
                &self.client,
                CubeCount::Static(cubes as u32, streams as u32, tiles as u32),
                CubeDim::new_1d(UNITS as u32),
                self.vector,
                query.clone().into_tensor_arg(),
                key.clone().into_tensor_arg(),
                value.clone().into_tensor_arg(),
                own.clone().into_tensor_arg(),
                states.clone().into_tensor_arg(),
                self.scratch.clone().into_tensor_arg(),
                out.clone().into_tensor_arg(),
                self.sizes(),
                dots_plane,
                skip_plane,
                mix,
                self.dtype.into(),
            );
        }

        out
    }

    /// The output before the gate.
    pub(super) fn ungated(&self, states: &CubeTensor<R>) -> CubeTensor<R> {
        let mix = Mix {
            reverse: false,
            into_heads: true,
            has_d: self.p.has_d,
            has_dots: false,
            planes: self.planes(),
        };
        self.mix([&self.c, &self.b, &self.x, &self.x, states], mix)
    }
}
