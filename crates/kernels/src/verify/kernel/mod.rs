//! Replay and new tokens on a GPU: one launch for what tokens bring to the states, one for the
//! states, which stay in registers from the first replayed token to the last new one.

mod prepare;
mod states;

pub(super) use prepare::verify_prepare;
pub(super) use states::verify_states;

use crate::decode_step::kernel::Layout;

/// The layout of the decode step, and what follows from it for many tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Tile {
    pub(super) layout: Layout,
    /// States in a vector.
    pub(super) wide: usize,
    /// Groups of heads, each with its own b and c, times states.
    pub(super) c_width: usize,
}

impl Tile {
    /// Channels of a sequence.
    pub(super) fn d_inner(&self) -> usize {
        self.layout.nheads * self.layout.headdim
    }

    /// First elements of x, b, c and dt of a token in the cache, then that of the next token.
    pub(super) fn entry(&self) -> [usize; 5] {
        let b = self.d_inner();
        let dt = b + 2 * self.c_width;
        [0, b, b + self.c_width, dt, dt + self.layout.nheads]
    }

    /// Channels that the units of a cube hold at once.
    pub(super) fn slots(&self) -> usize {
        self.layout.units / self.layout.sharers
    }

    /// Channels that each unit holds, one after the other.
    pub(super) fn rounds(&self) -> usize {
        self.layout.channels().div_ceil(self.slots())
    }

    /// States that a unit holds.
    pub(super) fn states(&self) -> usize {
        self.rounds() * self.layout.held * self.wide
    }

    /// Items of a token beside dt: x, b, c and raw inputs of the convolution.
    pub(super) fn items(&self) -> usize {
        self.entry()[3] + self.layout.conv_channels
    }
}
