//! Where a unit works: its channel and states, and the vectors it moves for the cube.

use super::ScanConfig;
use cubecl::prelude::*;

/// A unit's part of a cube at `CUBE_POS_X`.
#[derive(CubeType, Clone, Copy)]
pub(super) struct Place {
    /// Position among the cube's units.
    pub unit: usize,
    /// Channel within the cube, for the recurrence.
    pub local: usize,
    /// Which states of the channel.
    pub lane: usize,
    /// Group within the cube of `local`.
    pub slot: usize,
    /// The channel of `local`; zero if it does not exist.
    pub channel: usize,
    /// Whether the channel of `local` exists.
    pub valid: bool,
    /// First step that the unit moves for the cube.
    pub row: usize,
    /// First of the channels within the cube that the unit moves.
    pub column: usize,
    /// The channel of `column`; zero if it does not exist.
    pub moved_channel: usize,
    /// Whether the channel of `column` exists.
    pub moved_valid: bool,
    /// First group of the cube.
    pub first_group: usize,
    /// Which part of its group the cube has.
    pub part: usize,
    /// Parts of a group.
    pub parts: usize,
}

/// Finds the unit's place among `ngroups` groups of `d_inner` channels.
#[cube]
pub(super) fn place(d_inner: usize, ngroups: usize, #[comptime] cfg: ScanConfig) -> Place {
    let channels = comptime!(cfg.channels());
    let vectors = comptime!(cfg.channels() / cfg.vector);
    let group_size = d_inner / ngroups;
    let parts = group_size.div_ceil(cfg.per_group);
    let cube = CUBE_POS_X as usize;
    let first_group = cube / parts * cfg.groups;
    let part = cube % parts;
    let unit = UNIT_POS_X as usize;

    let local = unit % channels;
    let slot = local / cfg.per_group;
    let inside = part * cfg.per_group + local % cfg.per_group;
    let valid = first_group + slot < ngroups && inside < group_size;
    let channel = select(valid, (first_group + slot) * group_size + inside, 0);

    let column = unit % vectors * cfg.vector;
    let moved_slot = column / cfg.per_group;
    let moved_inside = part * cfg.per_group + column % cfg.per_group;
    let moved_valid = first_group + moved_slot < ngroups && moved_inside < group_size;
    let moved_channel = select(
        moved_valid,
        (first_group + moved_slot) * group_size + moved_inside,
        0,
    );
    Place {
        unit,
        local,
        lane: unit / channels,
        slot,
        channel,
        valid,
        row: unit / vectors,
        column,
        moved_channel,
        moved_valid,
        first_group,
        part,
        parts,
    }
}

/// Reads the unit's vectors of a tile of `[batch, seq, d_inner]`, the tile starting at step `start` of
/// sequence `batch`; steps lie apart by their stride. Steps behind the end repeat the last one.
#[cube]
pub(super) fn fetch<F: Float, V: Size>(
    tensor: &Tensor<Vector<F, V>>,
    registers: &mut Array<Vector<F, V>>,
    place: &Place,
    batch: usize,
    start: usize,
    seq: usize,
    #[comptime] cfg: ScanConfig,
) {
    let first = batch * tensor.stride(0) + place.moved_channel;
    let step = tensor.stride(1);
    #[unroll]
    for e in 0..comptime!(cfg.loads()) {
        let t = start + place.row + e * comptime!(cfg.rows());
        let t = select(t < seq, t, seq - 1);
        registers[e] = tensor[(first + t * step) / cfg.vector];
    }
}

/// Reads the unit's vectors of a tile of `b` or `c`, as [`fetch`].
#[cube]
pub(super) fn fetch_grouped<F: Float, W: Size>(
    tensor: &Tensor<Vector<F, W>>,
    registers: &mut Array<Vector<F, W>>,
    place: &Place,
    batch: usize,
    start: usize,
    seq: usize,
    ngroups: usize,
    #[comptime] cfg: ScanConfig,
) {
    let width = comptime!(cfg.bc_width());
    let per_group = comptime!(cfg.padded() / cfg.state_vector);
    let vectors = comptime!(cfg.d_state / cfg.state_vector);
    let first = batch * tensor.stride(0);
    let step = tensor.stride(1);
    #[unroll]
    for e in 0..comptime!(cfg.bc_loads()) {
        let index = place.unit + e * comptime!(cfg.units());
        let t = start + index / width;
        let t = select(t < seq, t, seq - 1);
        let group = place.first_group + index % width / per_group;
        let group = select(group < ngroups, group, 0);
        let n = index % per_group;
        if comptime!(cfg.padded() != cfg.d_state) {
            let inside = n < vectors;
            let at = (first + t * step) / cfg.state_vector + group * vectors + select(inside, n, 0);
            registers[e] = select(inside, tensor[at], Vector::new(F::new(0.0)));
        } else {
            registers[e] = tensor[(first + t * step) / cfg.state_vector + group * vectors + n];
        }
    }
}

/// Puts what [`fetch_grouped`] read into shared memory.
#[cube]
pub(super) fn share_grouped<F: Float, W: Size>(
    registers: &Array<Vector<F, W>>,
    shared: &mut SharedMemory<Vector<f32, W>>,
    place: &Place,
    #[comptime] cfg: ScanConfig,
) {
    let total = comptime!(cfg.tile * cfg.bc_width());
    let all = comptime!((cfg.tile * cfg.bc_width()).is_multiple_of(cfg.units()));
    #[unroll]
    for e in 0..comptime!(cfg.bc_loads()) {
        let index = place.unit + e * comptime!(cfg.units());
        if all || index < total {
            shared[index] = Vector::cast_from(registers[e]);
        }
    }
}

/// Puts 0 for a step where a document starts, else 1, into shared memory; `params` holds the resets
/// from `offset` on.
#[cube]
pub(super) fn share_keep(
    params: &Tensor<f32>,
    shared: &mut SharedMemory<f32>,
    place: &Place,
    offset: usize,
    start: usize,
    seq: usize,
    #[comptime] cfg: ScanConfig,
) {
    #[unroll]
    for e in 0..comptime!(cfg.tile.div_ceil(cfg.units())) {
        let t = place.unit + e * comptime!(cfg.units());
        if t < cfg.tile {
            let inside = start + t < seq;
            let reset = params[offset + select(inside, start + t, 0)];
            shared[t] = select(inside, 1.0f32 - reset, 1.0f32);
        }
    }
}

/// Reads the unit's states, zero for those above `d_state`; `at` is where the channel's states start.
#[cube]
pub(super) fn read_states(
    tensor: &Tensor<f32>,
    states: &mut Array<f32>,
    place: &Place,
    at: usize,
    #[comptime] cfg: ScanConfig,
) {
    #[unroll]
    for i in 0..cfg.per_lane {
        let n = place.lane * cfg.per_lane + i;
        if comptime!(cfg.padded() != cfg.d_state) {
            states[i] = select(
                n < cfg.d_state,
                tensor[at + select(n < cfg.d_state, n, 0)],
                0.0f32,
            );
        } else {
            states[i] = tensor[at + n];
        }
    }
}

/// Writes the unit's states; `at` is where the channel's states start.
#[cube]
pub(super) fn write_states(
    tensor: &mut Tensor<f32>,
    states: &Array<f32>,
    place: &Place,
    at: usize,
    #[comptime] cfg: ScanConfig,
) {
    if place.valid {
        #[unroll]
        for i in 0..cfg.per_lane {
            let n = place.lane * cfg.per_lane + i;
            if comptime!(cfg.padded() != cfg.d_state) {
                if n < cfg.d_state {
                    tensor[at + n] = states[i];
                }
            } else {
                tensor[at + n] = states[i];
            }
        }
    }
}
