//! The selective scan on the CPU (method 3.1): sixteen channels of one group side by side, one task
//! for each row and block of channels. The state is kept at chunk boundaries and recomputed inside a
//! chunk on the way back. All sums run in a fixed order.

mod backward;
mod forward;

pub(crate) use backward::backward;
pub(crate) use forward::forward;

use super::SelectiveScanProblem;
use crate::host::lanes::{LANES, Lanes};

/// Steps between saved states.
const CHUNK: usize = 32;

/// Operands on the host; absent ones are not read.
#[derive(Clone, Copy)]
pub(crate) struct Operands<'a> {
    pub(crate) u: &'a [f32],
    pub(crate) dt: &'a [f32],
    pub(crate) a: &'a [f32],
    pub(crate) b: &'a [f32],
    pub(crate) c: &'a [f32],
    pub(crate) d: &'a [f32],
    pub(crate) z: &'a [f32],
    pub(crate) dt_bias: &'a [f32],
    pub(crate) initial_state: &'a [f32],
    pub(crate) reset: Option<&'a [f32]>,
}

/// How channels are cut into blocks; a block never crosses a group.
#[derive(Clone, Copy)]
struct Blocks {
    per_group: usize,
    count: usize,
    channels_per_group: usize,
}

impl Blocks {
    fn new(p: &SelectiveScanProblem) -> Self {
        let channels_per_group = p.d_inner / p.ngroups;
        let per_group = channels_per_group.div_ceil(LANES);
        Self {
            per_group,
            count: per_group * p.ngroups,
            channels_per_group,
        }
    }

    fn get(&self, index: usize) -> Block {
        let (group, part) = (index / self.per_group, index % self.per_group);
        Block {
            group,
            part,
            first: group * self.channels_per_group + part * LANES,
            width: LANES.min(self.channels_per_group - part * LANES),
        }
    }
}

/// Channels `first..first + width` of `group`; `part` counts the blocks of the group.
#[derive(Clone, Copy)]
struct Block {
    group: usize,
    part: usize,
    first: usize,
    width: usize,
}

impl Block {
    /// The block's part of a `[.., d_inner]` row that starts at `row`.
    #[inline(always)]
    fn load(&self, values: &[f32], row: usize) -> Lanes {
        let first = row + self.first;
        Lanes::load(&values[first..first + self.width])
    }

    /// Transposes the block's part of `[d_inner, d_state]`, which starts at `start`.
    fn load_states(&self, values: &[f32], start: usize, d_state: usize, states: &mut [Lanes]) {
        for (n, state) in states.iter_mut().enumerate() {
            *state = Lanes::ZERO;
            for lane in 0..self.width {
                state.0[lane] = values[start + (self.first + lane) * d_state + n];
            }
        }
    }
}

/// Saved states are `[batch, blocks, chunks, d_state, LANES]`.
pub(crate) fn saved_length(p: &SelectiveScanProblem) -> usize {
    p.batch * Blocks::new(p).count * p.seq.div_ceil(CHUNK) * p.d_state * LANES
}
