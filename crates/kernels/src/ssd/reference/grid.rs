//! Cutting the time axis into chunks and back.

use crate::primitive::apart;
use crate::ssd::SsdProblem;
use burn::tensor::{Tensor, backend::Backend};

/// Chunk length and number of chunks; the last one is padded.
pub(super) struct Grid {
    pub(super) chunk: usize,
    pub(super) chunks: usize,
}

impl Grid {
    pub(super) fn new(p: &SsdProblem) -> Self {
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
    pub(super) fn by_chunk<B: Backend>(&self, tensor: Tensor<B, 4>) -> Tensor<B, 5> {
        let [batch, _, heads, width] = tensor.dims();
        let chunked = self
            .pad(tensor)
            .reshape([batch, self.chunks, self.chunk, heads, width]);
        apart(chunked.permute([0, 3, 1, 2, 4]))
    }

    /// `[batch, seq, heads]` to `[batch, heads, chunks, chunk]`.
    pub(super) fn scalars_by_chunk<B: Backend>(&self, tensor: Tensor<B, 3>) -> Tensor<B, 4> {
        let [batch, _, heads] = tensor.dims();
        let chunked = self
            .pad(tensor)
            .reshape([batch, self.chunks, self.chunk, heads]);
        apart(chunked.permute([0, 3, 1, 2]))
    }

    /// The inverse of [`Grid::by_chunk`], without the padding.
    pub(super) fn by_step<B: Backend>(&self, chunked: Tensor<B, 5>, seq: usize) -> Tensor<B, 4> {
        let [batch, heads, _, _, width] = chunked.dims();
        chunked
            .permute([0, 2, 3, 1, 4])
            .reshape([batch, self.chunks * self.chunk, heads, width])
            .narrow(1, 0, seq)
    }

    /// Sums per-head gradients of a group projection, `[batch, seq, ngroups, d_state]`.
    pub(super) fn sum_groups<B: Backend>(
        &self,
        chunked: Tensor<B, 5>,
        p: &SsdProblem,
    ) -> Tensor<B, 4> {
        let heads = p.nheads / p.ngroups;
        let steps = self.by_step(chunked, p.seq);
        if heads == 1 {
            return steps;
        }
        steps
            .reshape([p.batch, p.seq, p.ngroups, heads, p.d_state])
            .sum_dim(3)
            .squeeze_dim::<4>(3)
    }

    /// Group projection, repeated for every head, `[batch, nheads, chunks, chunk, d_state]`.
    pub(super) fn per_head<B: Backend>(
        &self,
        grouped: Tensor<B, 4>,
        p: &SsdProblem,
    ) -> Tensor<B, 5> {
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
