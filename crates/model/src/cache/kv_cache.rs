//! Keys and values of the tokens seen.

use burn::tensor::{Tensor, backend::Backend};

use super::is_ragged;

/// Attention over a cache looks at its tokens rounded up to this many: a GPU tunes its matrix products by shape, and would
/// tune them for every token decoded.
const GRID: usize = 16;

/// Keys whose scores attention computes when a cache holds `len` tokens; no query sees those past `len`.
pub(crate) fn on_grid(len: usize) -> usize {
    len.next_multiple_of(GRID)
}

/// Keys and values of one attention layer, in room for more tokens than seen.
#[derive(Clone, Debug)]
pub struct KvCache<B: Backend> {
    /// Keys and values, each `[batch, n_kv_heads, room, head_dim]`; none before the first token
    held: Option<[Tensor<B, 4>; 2]>,
    capacity: usize,
}

impl<B: Backend> KvCache<B> {
    /// Room for `capacity` tokens is made at the first one, and doubles if outrun.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            held: None,
            capacity,
        }
    }

    /// Writes `k` and `v`, `[batch, n_kv_heads, seq, head_dim]`, each sequence after the first tokens that `starts` counts; returns all
    /// keys and values up to [`on_grid`] of the longest. What lies after a sequence's last token is never seen.
    pub(crate) fn append(
        &mut self,
        k: Tensor<B, 4>,
        v: Tensor<B, 4>,
        starts: &[usize],
    ) -> (Tensor<B, 4>, Tensor<B, 4>) {
        let [batch, heads, seq, width] = k.dims();
        let longest = starts.iter().copied().max().unwrap_or(0);
        let end = longest + seq;
        let [keys, values] = match self.held.take() {
            Some(held) if held[0].dims()[2] >= end => held,
            held => {
                let room = match &held {
                    None => end.max(self.capacity),
                    Some(held) => end.max(2 * held[0].dims()[2]),
                };
                let room = on_grid(room);
                let grown = || Tensor::zeros([batch, heads, room, width], &k.device());
                match held {
                    None => [grown(), grown()],
                    Some(held) => {
                        held.map(|old| write(grown(), old.narrow(2, 0, longest.max(1)), &[0]))
                    }
                }
            }
        };
        let (keys, values) = (write(keys, k, starts), write(values, v, starts));
        let all = (
            keys.clone().narrow(2, 0, on_grid(end)),
            values.clone().narrow(2, 0, on_grid(end)),
        );
        self.held = Some([keys, values]);
        all
    }

    /// Bytes of the keys and values of one token of one sequence.
    pub(super) fn token_bytes(&self) -> usize {
        let Some([keys, _]) = &self.held else {
            return 0;
        };
        let [_, heads, _, width] = keys.dims();
        2 * heads * width * size_of::<f32>()
    }
}

/// Writes `tokens` into `room`, from the same token on if `starts` are equal, else each sequence from its own.
fn write<B: Backend>(room: Tensor<B, 4>, tokens: Tensor<B, 4>, starts: &[usize]) -> Tensor<B, 4> {
    let [batch, heads, seq, width] = tokens.dims();
    if !is_ragged(starts) {
        let start = starts[0];
        return room.slice_assign([0..batch, 0..heads, start..start + seq, 0..width], tokens);
    }
    let write_row = |room: Tensor<B, 4>, (row, start): (usize, &usize)| {
        let row_tokens = tokens.clone().narrow(0, row, 1);
        room.slice_assign(
            [row..row + 1, 0..heads, *start..start + seq, 0..width],
            row_tokens,
        )
    };
    starts.iter().enumerate().fold(room, write_row)
}
