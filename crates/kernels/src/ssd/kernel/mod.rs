//! State-space duality in chunks (method 3.2), every sum in f32 and in a fixed order.
//!
//! `steps` finds step sizes and their sums, `states` what each chunk adds to the state and the states
//! at the boundaries, `mix` the products of steps with steps and with states. The way back uses the
//! same kernels with the operands' roles exchanged and time reversed; `finish` ends it.

mod cooperative;
mod finish;
mod gate;
mod mix;
mod mix_cooperative;
mod rows;
mod slices;
mod states;
mod states_cooperative;
mod steps;

pub(super) use cooperative::{LANES, cooperative_bytes};
pub(super) use finish::{ssd_finish, ssd_state_products};
pub(super) use gate::{ssd_gate, ssd_gate_backward};
pub(super) use mix::{Mix, ssd_mix};
pub(super) use mix_cooperative::{CooperativeMix, ssd_mix_cooperative};
pub(super) use states::{ssd_chunk_states, ssd_pass_states};
pub(super) use states_cooperative::ssd_chunk_states_cooperative;
pub(super) use steps::{Steps, ssd_steps};

use cubecl::prelude::*;

/// Rows and columns of a product that a cube computes.
pub(super) const TILE: usize = 64;
/// Units of such a cube: each has 4 by 4 elements.
pub(super) const UNITS: usize = 256;

/// Sizes of a call, as the kernels see them.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) batch: usize,
    pub(super) seq: usize,
    pub(super) nheads: usize,
    pub(super) ngroups: usize,
    pub(super) headdim: usize,
    pub(super) d_state: usize,
    /// Steps of a chunk.
    pub(super) chunk: usize,
    pub(super) chunks: usize,
}

/// Planes of the scratch tensor, `[planes, batch, nheads, seq]` in f32, and then one skip weight a
/// head.
pub(super) mod plane {
    /// Step sizes.
    pub(in crate::ssd) const DT: usize = 0;
    /// Sums of `dt * a` within a chunk, up to each step: a whole number, exact, and the rest.
    /// Decays are exponentials of differences, which one rounded sum would spoil.
    pub(in crate::ssd) const CUM: usize = 1;
    /// The rest, at most a half.
    pub(in crate::ssd) const REST: usize = 2;
    /// Derivative of the step size with respect to its input.
    pub(in crate::ssd) const SLOPE: usize = 3;
    /// Step of the chunk at which the document of each step starts, -1 if before the chunk.
    pub(in crate::ssd) const FIRST: usize = 4;
    /// From here on, products of rows that the way back leaves for its end.
    pub(in crate::ssd) const DOTS: usize = 5;
}

/// Place of a plane's line of steps in the scratch tensor.
#[cube]
fn line(sizes: &Sizes, plane: usize, batch: usize, head: usize) -> usize {
    ((plane * sizes.batch + batch) * sizes.nheads + head) * sizes.seq
}
