//! Gated norm: a few units share a group of one row, and several groups share a cube.

mod backward;
mod forward;

pub(super) use backward::gated_rms_norm_backward;
pub(super) use forward::gated_rms_norm_forward;

use cubecl::prelude::*;

/// How groups are laid over the units of a cube.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Layout {
    /// Vectors in a group.
    pub(super) vectors: usize,
    /// Units that share a group, a power of two.
    pub(super) sharers: usize,
    /// Vectors of each unit.
    pub(super) held: usize,
    /// Groups in a cube.
    pub(super) slots: usize,
}

/// Sums `count` arrays of `slots * sharers` values in shared memory over the sharers of each slot.
/// The sums are at the slots' first places.
#[cube]
fn sum_sharers(
    shared: &mut SharedMemory<f32>,
    #[comptime] count: usize,
    #[comptime] layout: Layout,
) {
    let units = comptime!(layout.slots * layout.sharers);
    let at = UNIT_POS as usize;
    let sharer = at % layout.sharers;
    sync_cube();
    #[unroll]
    for round in 0..comptime!(layout.sharers.trailing_zeros()) {
        let stride = comptime!(layout.sharers >> (round + 1));
        if sharer < stride {
            #[unroll]
            for array in 0..count {
                let other = shared[array * units + at + stride];
                shared[array * units + at] += other;
            }
        }
        sync_cube();
    }
}
