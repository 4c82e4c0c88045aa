//! State-space duality in plain tensor operations: attention-like products inside a chunk, a decay
//! matrix between chunks (method 3.2). No loop over time, so that it suits a GPU.

use super::{SsdOperands, SsdProblem};
use crate::activation::{silu, softplus};
use crate::backend::StateSpaceOutput;
use crate::primitive::{unwrap, wrap};
use burn::tensor::{Device, Tensor, TensorData, backend::Backend, ops::FloatTensor};

/// Added to an exponent to make its exponential zero, in value and in gradient.
const MASKED: f32 = -1e30;

/// Chunk length and number of chunks; the last one is padded.
struct Grid {
    chunk: usize,
    chunks: usize,
}

impl Grid {
    fn new(p: &SsdProblem) -> Self {
        let chunk = p.chunk_size.min(p.seq);
        Self {
            chunk,
            chunks: p.seq.div_ceil(chunk),
        }
    }

    /// Appends zeros along the time axis 1 until every chunk is full.
    fn pad<B: Backend, const D: usize>(&self, tensor: Tensor<B, D>) -> Tensor<B, D> {
        let mut dims = tensor.dims();
        let missing = self.chunk * self.chunks - dims[1];
        if missing == 0 {
            return tensor;
        }
        dims[1] = missing;
        let zeros = Tensor::zeros(dims, &tensor.device());
        Tensor::cat(vec![tensor, zeros], 1)
    }

    /// `[batch, seq, heads, width]` to `[batch, heads, chunks, chunk, width]`.
    fn by_chunk<B: Backend>(&self, tensor: Tensor<B, 4>) -> Tensor<B, 5> {
        let [batch, _, heads, width] = tensor.dims();
        self.pad(tensor)
            .reshape([batch, self.chunks, self.chunk, heads, width])
            .permute([0, 3, 1, 2, 4])
    }

    /// `[batch, seq, heads]` to `[batch, heads, chunks, chunk]`.
    fn scalars_by_chunk<B: Backend>(&self, tensor: Tensor<B, 3>) -> Tensor<B, 4> {
        let [batch, _, heads] = tensor.dims();
        self.pad(tensor)
            .reshape([batch, self.chunks, self.chunk, heads])
            .permute([0, 3, 1, 2])
    }

    /// Group projection, repeated for every head, `[batch, nheads, chunks, chunk, d_state]`.
    fn per_head<B: Backend>(&self, grouped: Tensor<B, 4>, p: &SsdProblem) -> Tensor<B, 5> {
        let heads = p.nheads / p.ngroups;
        let chunked = self.by_chunk(grouped);
        if heads == 1 {
            return chunked;
        }
        chunked
            .unsqueeze_dim::<6>(2)
            .expand([
                p.batch,
                p.ngroups,
                heads,
                self.chunks,
                self.chunk,
                p.d_state,
            ])
            .reshape([p.batch, p.nheads, self.chunks, self.chunk, p.d_state])
    }
}

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

/// Forward of [`ssd`](super::ssd()) on primitives; differentiable when `B` is.
pub fn forward<B: Backend>(
    operands: SsdOperands<B>,
    reset: Option<FloatTensor<B>>,
    p: &SsdProblem,
) -> StateSpaceOutput<B> {
    let [x, dt, a, b, c, d, z, dt_bias, initial_state] = operands;
    let x = wrap::<B, 4>(x);
    let device = x.device();
    let grid = Grid::new(p);
    let (q, n_chunks) = (grid.chunk, grid.chunks);

    let mut dt = wrap::<B, 3>(dt);
    if p.has_dt_bias {
        dt = dt + wrap::<B, 1>(dt_bias).reshape([1, 1, p.nheads]);
    }
    if p.dt_softplus {
        dt = softplus(dt);
    }
    // Padded after softplus: a step of size zero leaves the state as it is.
    let dt = grid.scalars_by_chunk(dt); // [batch, nheads, chunks, chunk]
    let b = grid.per_head(wrap(b), p);
    let c = grid.per_head(wrap(c), p);
    let xs = grid.by_chunk(x.clone());
    let counts = reset.map(|reset| document_counts::<B>(reset, &grid));

    // Inside a chunk: M_ts = (C_t . B_s) exp(cum_t - cum_s) dt_s for s <= t.
    let cum = (dt.clone() * wrap::<B, 1>(a).reshape([1, p.nheads, 1, 1])).cumsum(3);
    let mut exponent = differences::<B, 4, 5>(cum.clone()) + causal_mask::<B, 5>(q, &device);
    if let Some(counts) = &counts {
        exponent = exponent + document_mask(differences::<B, 4, 5>(counts.clone()));
    }
    let scores = c.clone().matmul(b.clone().swap_dims(3, 4)); // [batch, nheads, chunks, chunk, chunk]
    let mixing = scores * exponent.exp() * dt.clone().unsqueeze_dim::<5>(3);
    let inside = mixing.matmul(xs.clone());

    // What each chunk adds to the state: sum over s of exp(cum_last - cum_s) dt_s x_s B_s^T.
    let total = cum.clone().narrow(3, q - 1, 1); // [batch, nheads, chunks, 1]
    let mut exponent = total.clone() - cum.clone();
    if let Some(counts) = &counts {
        let total = counts.clone().narrow(3, q - 1, 1);
        exponent = exponent + document_mask(total - counts.clone());
    }
    let weights = (exponent.exp() * dt).unsqueeze_dim::<5>(4);
    let added = xs.swap_dims(3, 4).matmul(b * weights); // [batch, nheads, chunks, headdim, d_state]

    // Between chunks: the state entering chunk k sums what entered before, decayed.
    let initial = match p.has_initial_state {
        true => wrap::<B, 4>(initial_state).unsqueeze_dim::<5>(2),
        false => Tensor::zeros([p.batch, p.nheads, 1, p.headdim, p.d_state], &device),
    };
    let sources = Tensor::cat(vec![initial, added], 2).reshape([
        p.batch,
        p.nheads,
        n_chunks + 1,
        p.headdim * p.d_state,
    ]);
    let mut exponent = differences::<B, 3, 4>(chunk_sums(total, p.nheads))
        + causal_mask::<B, 4>(n_chunks + 1, &device);
    if let Some(counts) = &counts {
        let per_chunk = counts.clone().narrow(3, q - 1, 1);
        exponent = exponent + document_mask(differences::<B, 3, 4>(chunk_sums(per_chunk, 1)));
    }
    let states = exponent.exp().matmul(sources).reshape([
        p.batch,
        p.nheads,
        n_chunks + 1,
        p.headdim,
        p.d_state,
    ]);
    let entering = states.clone().narrow(2, 0, n_chunks);
    let last_state = states.narrow(2, n_chunks, 1).squeeze_dim::<4>(2);

    let mut exponent = cum;
    if let Some(counts) = counts {
        exponent = exponent + document_mask(counts);
    }
    let carried = c.matmul(entering.swap_dims(3, 4)) * exponent.exp().unsqueeze_dim::<5>(4);

    let mut y = (inside + carried)
        .permute([0, 2, 3, 1, 4])
        .reshape([p.batch, n_chunks * q, p.nheads, p.headdim])
        .narrow(1, 0, p.seq);
    if p.has_d {
        y = y + x * wrap::<B, 1>(d).reshape([1, 1, p.nheads, 1]);
    }
    if p.has_z {
        y = y * silu(wrap::<B, 4>(z));
    }
    StateSpaceOutput {
        y: unwrap(y),
        last_state: unwrap(last_state),
        saved: None,
    }
}

/// Sums over whole chunks, up to each chunk boundary: `[batch, heads, chunks + 1]`, first zero.
fn chunk_sums<B: Backend>(per_chunk: Tensor<B, 4>, heads: usize) -> Tensor<B, 3> {
    let per_chunk = per_chunk.squeeze_dim::<3>(3);
    let [batch, _, _] = per_chunk.dims();
    let zero = Tensor::zeros([batch, heads, 1], &per_chunk.device());
    Tensor::cat(vec![zero, per_chunk], 2).cumsum(2)
}
