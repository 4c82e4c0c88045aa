//! The selective scan in CubeCL: kernel code only; sizes, memory and launches are in `launch`.
//!
//! A cube runs one sequence, or one chunk of it, for the channels of one group (or a part of a large
//! one, or several small ones), `lanes` units a channel with `per_lane` states each. A tile of steps
//! is loaded into registers before any of it is used, and shared with the cube; the steps of a tile
//! are unrolled. Where there are too few channels to fill a device, a sequence is cut into chunks:
//! each first finds what it adds to the state (or, backwards, to its gradient) alone, then all chunks
//! run at once, each following the ends of those before it.

mod backward;
mod chunks;
mod forward;
mod gather;
mod memory;
mod place;
mod sweep;

pub(super) use backward::scan_backward;
pub(super) use chunks::{chunk_adjoints, chunk_states};
pub(super) use forward::scan_forward;
pub(super) use gather::{pack, sum_parameters, sum_parts};
pub(super) use memory::Regions;

use crate::cube::activation::softplus;
use cubecl::prelude::*;

/// What a kernel is compiled for; lengths and widths are read at run time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ScanConfig {
    /// States of a channel.
    pub d_state: usize,
    /// Units that share a channel's states.
    pub lanes: usize,
    /// States of a unit; `lanes * per_lane` is at least `d_state`, those above it stay zero.
    pub per_lane: usize,
    /// Channels of one group in a cube.
    pub per_group: usize,
    /// Groups in a cube; more than one only if all channels of a group are in it.
    pub groups: usize,
    /// Channels read at once; divides `per_group`.
    pub vector: usize,
    /// States read at once; divides `per_lane` and `d_state`.
    pub state_vector: usize,
    /// Steps loaded at once, and between saved states.
    pub tile: usize,
    /// Steps between two sums over channels in the backward pass; divides `tile`.
    pub sub_tile: usize,
    /// Whether the steps of a tile are written out, which GPUs need to keep states in registers; CPU
    /// drivers take minutes to compile that.
    pub unroll: bool,
    /// Whether there is a gate.
    pub has_z: bool,
    /// Whether documents start inside a sequence.
    pub has_reset: bool,
    /// Whether the state starts from a given one.
    pub has_initial_state: bool,
    /// Whether step sizes pass softplus.
    pub softplus: bool,
    /// Whether the states after every tile are kept, else only those after every chunk.
    pub save: bool,
}

impl ScanConfig {
    /// Channels of a cube.
    pub(super) fn channels(&self) -> usize {
        self.per_group * self.groups
    }

    /// Units of a cube.
    pub(super) fn units(&self) -> usize {
        self.channels() * self.lanes
    }

    /// States of a channel with those that stay zero.
    pub(super) fn padded(&self) -> usize {
        self.lanes * self.per_lane
    }

    /// Steps that the units of a cube read at once.
    pub(super) fn rows(&self) -> usize {
        self.lanes * self.vector
    }

    /// Reads of a unit for a tile of a channel tensor.
    pub(super) fn loads(&self) -> usize {
        self.tile.div_ceil(self.rows())
    }

    /// Vectors of a step of `b` or `c`.
    pub(super) fn bc_width(&self) -> usize {
        self.groups * self.padded() / self.state_vector
    }

    /// Reads of a unit for a tile of `b` or `c`.
    pub(super) fn bc_loads(&self) -> usize {
        (self.tile * self.bc_width()).div_ceil(self.units())
    }

    /// Values in shared memory of sums over the lanes of a channel.
    pub(super) fn lane_sums(&self) -> usize {
        self.units() * self.tile.max(self.vector)
    }

    /// Values in shared memory of sums over the channels of a group.
    pub(super) fn channel_sums(&self) -> usize {
        self.sub_tile * self.padded() * self.pitch()
    }

    /// Bytes of shared memory of the backward pass, which needs the most.
    pub(super) fn shared_bytes(&self) -> usize {
        let moved = 3 * self.tile * self.channels() + self.tile;
        let grouped = 2 * self.tile * self.groups * self.padded();
        4 * (moved + grouped + 2 * self.lane_sums() + 2 * self.channel_sums())
    }

    /// Distance in shared memory between neighbouring states of one step of the sums over channels:
    /// a multiple of four, so that four channels are read at once, and of no higher power of two.
    pub(super) fn pitch(&self) -> usize {
        self.channels().next_multiple_of(8) + 4
    }
}

/// `1 / (1 + exp(-x))`, without an overflow on the way.
#[cube]
pub(super) fn sigmoid(x: f32) -> f32 {
    1.0f32 / (1.0f32 + (-x).min(80.0f32).exp())
}

/// `silu(z)`.
#[cube]
pub(super) fn gate(z: f32) -> f32 {
    z * sigmoid(z)
}

/// Derivative of `silu(z)`.
#[cube]
pub(super) fn gate_slope(z: f32) -> f32 {
    let s = sigmoid(z);
    s * (1.0f32 + z * (1.0f32 - s))
}

/// Step size from its raw value with the bias added.
#[cube]
pub(super) fn step_size(raw: f32, #[comptime] is_softplus: bool) -> f32 {
    if is_softplus { softplus(raw) } else { raw }
}

/// Derivative of [`step_size`].
#[cube]
pub(super) fn step_slope(raw: f32, #[comptime] is_softplus: bool) -> f32 {
    if is_softplus {
        select(raw > 20.0f32, 1.0f32, sigmoid(raw))
    } else {
        1.0f32.runtime()
    }
}
