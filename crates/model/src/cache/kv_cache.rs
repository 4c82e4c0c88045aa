//! Keys and values of the tokens seen.

use burn::tensor::{Device, Tensor, backend::Backend};

/// Room is made for a multiple of so many tokens, of which matrix products may look at more than were seen.
const GRID: usize = 16;

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

    /// Moves keys and values out, each `[batch, n_kv_heads, room, head_dim]`, until [`put`](Self::put): the first `len` tokens are as they
    /// were, and there is room for `seq` more.
    pub(crate) fn take(
        &mut self,
        [batch, heads, width]: [usize; 3],
        len: usize,
        seq: usize,
        device: &Device<B>,
    ) -> [Tensor<B, 4>; 2] {
        let end = len + seq;
        let zeros = |room: usize| {
            let room = room.next_multiple_of(GRID);
            Tensor::zeros([batch, heads, room, width], device)
        };
        match self.held.take() {
            None => [(); 2].map(|()| zeros(end.max(self.capacity))),
            Some(held) if held[0].dims()[2] >= end => held,
            Some(held) => held.map(|old| {
                let room = old.dims()[2];
                let part = [0..batch, 0..heads, 0..room, 0..width];
                zeros(end.max(2 * room)).slice_assign(part, old)
            }),
        }
    }

    /// Puts keys and values back.
    pub(crate) fn put(&mut self, held: [Tensor<B, 4>; 2]) {
        self.held = Some(held);
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
