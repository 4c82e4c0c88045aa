//! State-space duality in plain tensor operations: attention-like products inside a chunk, a decay
//! matrix between chunks (method 3.2). No loop over time, so that it suits a GPU.

mod backward;
mod grid;

pub use backward::backward;

use super::{SsdOperands, SsdProblem};
use crate::activation::{silu, softplus};
use crate::backend::StateSpaceOutput;
use crate::primitive::{unwrap, wrap};
use burn::tensor::{Device, Tensor, TensorData, backend::Backend, ops::FloatTensor};
use grid::Grid;

/// Added to an exponent to make its exponential zero, in value and in gradient.
const MASKED: f32 = -1e30;

/// Zero on and below the diagonal, [`MASKED`] above, `[1, .., size, size]`.
fn causal_mask<B: Backend, const D: usize>(size: usize, device: &Device<B>) -> Tensor<B, D> {
    let mut mask = vec![0.0f32; size * size];
    for row in 0..size {
        mask[row * size + row + 1..(row + 1) * size].fill(MASKED);
    }
    let mut dims = [1; D];
    dims[D - 2] = size;
    dims[D - 1] = size;
    Tensor::from_data(TensorData::new(mask, dims), device)
}

/// `line[.., t, 1] - line[.., 1, s]` for cumulative sums along the last axis.
fn differences<B: Backend, const D: usize, const E: usize>(line: Tensor<B, D>) -> Tensor<B, E> {
    line.clone().unsqueeze_dim::<E>(D) - line.unsqueeze_dim::<E>(D - 1)
}

/// [`MASKED`] where document counts differ, else zero.
fn document_mask<B: Backend, const D: usize>(count_difference: Tensor<B, D>) -> Tensor<B, D> {
    count_difference.abs().mul_scalar(MASKED)
}

/// Documents begun, counted inside each chunk, `[batch, 1, chunks, chunk]`.
fn document_counts<B: Backend>(reset: FloatTensor<B>, grid: &Grid) -> Tensor<B, 4> {
    grid.scalars_by_chunk(wrap::<B, 2>(reset).unsqueeze_dim::<3>(2))
        .cumsum(3)
}

/// Sums over whole chunks, up to each chunk boundary: `[batch, heads, chunks + 1]`, first zero.
fn chunk_sums<B: Backend>(per_chunk: Tensor<B, 4>, heads: usize) -> Tensor<B, 3> {
    let per_chunk = per_chunk.squeeze_dim::<3>(3);
    let [batch, _, _] = per_chunk.dims();
    let zero = Tensor::zeros([batch, heads, 1], &per_chunk.device());
    Tensor::cat(vec![zero, per_chunk], 2).cumsum(2)
}

/// What both directions need. Heads and chunks come before time: `[batch, nheads, chunks, ..]`.
struct Chunks<B: Backend> {
    grid: Grid,
    /// Step sizes with bias, before softplus, `[batch, seq, nheads]`.
    dt_raw: Tensor<B, 3>,
    /// Step sizes, `[.., chunk]`.
    dt: Tensor<B, 4>,
    /// `[.., chunk, headdim]`.
    x: Tensor<B, 5>,
    /// `[.., chunk, d_state]`.
    b: Tensor<B, 5>,
    /// `[.., chunk, d_state]`.
    c: Tensor<B, 5>,
    /// `C_t . B_s`, `[.., chunk, chunk]`.
    scores: Tensor<B, 5>,
    /// `exp(cum_t - cum_s)`, zero for `t < s` and across documents, `[.., chunk, chunk]`.
    decay: Tensor<B, 5>,
    /// `exp(cum_last - cum_s)`: decay from each step to the end of its chunk, `[.., chunk]`.
    to_end: Tensor<B, 4>,
    /// `exp(cum_t)`: decay from the state entering the chunk to each step, `[.., chunk]`.
    from_start: Tensor<B, 4>,
    /// Decay between chunk boundaries, `[batch, nheads, chunks + 1, chunks + 1]`.
    between: Tensor<B, 4>,
    /// Initial state and what each chunk adds,
    /// `[batch, nheads, chunks + 1, headdim * d_state]`.
    sources: Tensor<B, 4>,
    /// State at each chunk boundary, shaped like `sources`.
    states: Tensor<B, 4>,
}

impl<B: Backend> Chunks<B> {
    fn run(operands: SsdOperands<B>, reset: Option<FloatTensor<B>>, p: &SsdProblem) -> Self {
        let [x, dt, a, b, c, _, _, dt_bias, initial_state] = operands;
        let x = wrap::<B, 4>(x);
        let device = x.device();
        let grid = Grid::new(p);
        let (q, n_chunks) = (grid.chunk, grid.chunks);

        let mut dt_raw = wrap::<B, 3>(dt);
        if p.has_dt_bias {
            dt_raw = dt_raw + wrap::<B, 1>(dt_bias).reshape([1, 1, p.nheads]);
        }
        let dt = if p.dt_softplus {
            softplus(dt_raw.clone())
        } else {
            dt_raw.clone()
        };
        // Padded after softplus: a step of size zero leaves the state as it is.
        let dt = grid.scalars_by_chunk(dt);
        let b = grid.per_head(wrap(b), p);
        let c = grid.per_head(wrap(c), p);
        let x = grid.by_chunk(x);
        let counts = reset.map(|reset| document_counts::<B>(reset, &grid));
        let cum = (dt.clone() * wrap::<B, 1>(a).reshape([1, p.nheads, 1, 1])).cumsum(3);
        let total = cum.clone().narrow(3, q - 1, 1); // [batch, nheads, chunks, 1]

        let mut exponent = differences::<B, 4, 5>(cum.clone()) + causal_mask::<B, 5>(q, &device);
        let mut to_end = total.clone() - cum.clone();
        let mut from_start = cum;
        let mut between = differences::<B, 3, 4>(chunk_sums(total, p.nheads))
            + causal_mask::<B, 4>(n_chunks + 1, &device);
        if let Some(counts) = counts {
            let total = counts.clone().narrow(3, q - 1, 1);
            exponent = exponent + document_mask(differences::<B, 4, 5>(counts.clone()));
            to_end = to_end + document_mask(total.clone() - counts.clone());
            from_start = from_start + document_mask(counts);
            between = between + document_mask(differences::<B, 3, 4>(chunk_sums(total, 1)));
        }
        let (to_end, from_start, between) = (to_end.exp(), from_start.exp(), between.exp());

        let weights = (to_end.clone() * dt.clone()).unsqueeze_dim::<5>(4);
        let added = x.clone().swap_dims(3, 4).matmul(b.clone() * weights);
        let initial = match p.has_initial_state {
            true => wrap::<B, 4>(initial_state).unsqueeze_dim::<5>(2),
            false => Tensor::zeros([p.batch, p.nheads, 1, p.headdim, p.d_state], &device),
        };
        let flat = [p.batch, p.nheads, n_chunks + 1, p.headdim * p.d_state];
        let sources = Tensor::cat(vec![initial, added], 2).reshape(flat);
        let states = between.clone().matmul(sources.clone());
        Self {
            scores: c.clone().matmul(b.clone().swap_dims(3, 4)),
            decay: exponent.exp(),
            grid,
            dt_raw,
            dt,
            x,
            b,
            c,
            to_end,
            from_start,
            between,
            sources,
            states,
        }
    }

    /// `M_ts = (C_t . B_s) exp(cum_t - cum_s) dt_s`, `[.., chunk, chunk]`.
    fn mixing(&self) -> Tensor<B, 5> {
        self.scores.clone() * self.decay.clone() * self.dt.clone().unsqueeze_dim::<5>(3)
    }

    /// States entering the chunks, `[batch, nheads, chunks, headdim, d_state]`.
    fn entering(&self, p: &SsdProblem) -> Tensor<B, 5> {
        let chunks = self.grid.chunks;
        self.states
            .clone()
            .narrow(2, 0, chunks)
            .reshape([p.batch, p.nheads, chunks, p.headdim, p.d_state])
    }

    /// Output before the gate, `[batch, seq, nheads, headdim]`.
    fn ungated(&self, x: FloatTensor<B>, d: FloatTensor<B>, p: &SsdProblem) -> Tensor<B, 4> {
        let inside = self.mixing().matmul(self.x.clone());
        let carried = self.c.clone().matmul(self.entering(p).swap_dims(3, 4))
            * self.from_start.clone().unsqueeze_dim::<5>(4);
        let s = self.grid.by_step(inside + carried, p.seq);
        match p.has_d {
            true => s + wrap::<B, 4>(x) * wrap::<B, 1>(d).reshape([1, 1, p.nheads, 1]),
            false => s,
        }
    }
}

/// Forward of [`ssd`](super::ssd()) on primitives; differentiable when `B` is.
pub fn forward<B: Backend>(
    operands: SsdOperands<B>,
    reset: Option<FloatTensor<B>>,
    p: &SsdProblem,
) -> StateSpaceOutput<B> {
    let [x, _, _, _, _, d, z, ..] = operands.clone();
    let chunks = Chunks::<B>::run(operands, reset, p);
    let mut y = chunks.ungated(x, d, p);
    if p.has_z {
        y = y * silu(wrap::<B, 4>(z));
    }
    let last_state = chunks
        .states
        .narrow(2, chunks.grid.chunks, 1)
        .reshape([p.batch, p.nheads, p.headdim, p.d_state]);
    StateSpaceOutput {
        y: unwrap(y),
        last_state: unwrap(last_state),
        saved: None,
    }
}
