//! Keys and values of the tokens seen.

use burn::tensor::{Tensor, backend::Backend};

/// Attention over a cache looks at its tokens rounded up to this many: a GPU tunes its matrix products by shape, and would
/// tune them for every token decoded.
const GRID: usize = 16;

/// Keys whose scores attention computes when a cache holds `len` tokens; no query sees those past `len`.
fn on_grid(len: usize) -> usize {
    len.next_multiple_of(GRID)
}

/// Keys and values of one attention layer, in room for more tokens than seen.
#[derive(Clone, Debug)]
pub struct KvCache<B: Backend> {
    /// Keys and values, each `[batch, n_kv_heads, room, head_dim]`; none before the first token
    held: Option<[Tensor<B, 4>; 2]>,
    capacity: usize,
    len: usize,
}

impl<B: Backend> KvCache<B> {
    /// Room for `capacity` tokens is made at the first one, and doubles if outrun.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            held: None,
            capacity,
            len: 0,
        }
    }

    /// Adds `k` and `v`, `[batch, n_kv_heads, seq, head_dim]`; returns all keys and values, and zeros up to [`on_grid`].
    pub(crate) fn append(
        &mut self,
        k: Tensor<B, 4>,
        v: Tensor<B, 4>,
    ) -> (Tensor<B, 4>, Tensor<B, 4>) {
        let [batch, heads, seq, width] = k.dims();
        let (start, end) = (self.len, self.len + seq);
        self.len = end;
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
                    Some(held) => held.map(|old| write(grown(), old.narrow(2, 0, start), 0)),
                }
            }
        };
        let (keys, values) = (write(keys, k, start), write(values, v, start));
        let all = (
            keys.clone().narrow(2, 0, on_grid(end)),
            values.clone().narrow(2, 0, on_grid(end)),
        );
        self.held = Some([keys, values]);
        all
    }

    pub(crate) fn state_bytes(&self) -> usize {
        let Some([keys, _]) = &self.held else {
            return 0;
        };
        let [batch, heads, _, width] = keys.dims();
        2 * batch * heads * self.len * width * size_of::<f32>()
    }
}

/// Writes `tokens` into `room` from token `start` on.
fn write<B: Backend>(room: Tensor<B, 4>, tokens: Tensor<B, 4>, start: usize) -> Tensor<B, 4> {
    let [batch, heads, seq, width] = tokens.dims();
    room.slice_assign([0..batch, 0..heads, start..start + seq, 0..width], tokens)
}
