//! Keys and values of the tokens seen.

use burn::tensor::{Device, Int, Tensor, backend::Backend};

use super::window::Shift;

/// Room is made for a multiple of so many tokens, of which matrix products may look at more than were seen.
pub(super) const GRID: usize = 16;

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

    /// Tokens that there is room for; none before the first.
    pub(crate) fn room(&self) -> Option<usize> {
        self.held.as_ref().map(|held| held[0].dims()[2])
    }

    /// Moves what stays of each sequence to the front of new room.
    pub(super) fn shift(&mut self, shift: &Shift) {
        self.held = self
            .held
            .take()
            .map(|held| held.map(|old| shifted(old, shift)));
    }

    /// Puts keys and values back.
    pub(crate) fn put(&mut self, held: [Tensor<B, 4>; 2]) {
        self.held = Some(held);
    }

    /// Appends the sequences of `others`, in the room of the longest.
    pub(super) fn append(&mut self, others: Vec<Self>) {
        let all = std::iter::once(self.held.take()).chain(others.into_iter().map(|o| o.held));
        let all: Vec<[Tensor<B, 4>; 2]> = all.flatten().collect();
        let room = all.iter().map(|held| held[0].dims()[2]).max();
        let Some(room) = room else { return };
        let (keys, values) = all
            .into_iter()
            .map(|[keys, values]| (with_room(keys, room), with_room(values, room)))
            .unzip();
        self.held = Some([Tensor::cat(keys, 0), Tensor::cat(values, 0)]);
    }

    /// Keeps the sequences at `indices`, of up to `longest` tokens, and lets go of room that is far more than these need.
    pub(super) fn select(&mut self, indices: &Tensor<B, 1, Int>, longest: usize) {
        self.held = self.held.take().map(|held| {
            held.map(|old| {
                let needed = (2 * longest).next_multiple_of(GRID);
                let room = old.dims()[2].min(needed);
                old.narrow(2, 0, room).select(0, indices.clone())
            })
        });
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

/// Keys or values, `[batch, n_kv_heads, room, head_dim]`, as `shift` says.
fn shifted<B: Backend>(old: Tensor<B, 4>, shift: &Shift) -> Tensor<B, 4> {
    let [batch, heads, room, width] = old.dims();
    let Shift { dropped, kept, .. } = shift;
    if *kept == 0 {
        return Tensor::zeros([batch, heads, shift.room, width], &old.device());
    }
    let is_one = dropped.windows(2).all(|pair| pair[0] == pair[1]);
    let held = match is_one {
        true => old.narrow(2, dropped[0], *kept),
        false => {
            let row = |(row, first): (usize, &usize)| {
                let count = (*kept).min(room - first);
                with_room(
                    old.clone().narrow(0, row, 1).narrow(2, *first, count),
                    *kept,
                )
            };
            Tensor::cat(dropped.iter().enumerate().map(row).collect(), 0)
        }
    };
    with_room(held, shift.room)
}

/// The same keys or values in `room` tokens, which are not fewer.
fn with_room<B: Backend>(held: Tensor<B, 4>, room: usize) -> Tensor<B, 4> {
    let [batch, heads, less, width] = held.dims();
    if less == room {
        return held;
    }
    let more = Tensor::zeros([batch, heads, room - less, width], &held.device());
    Tensor::cat(vec![held, more], 2)
}
