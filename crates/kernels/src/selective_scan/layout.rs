//! How a scan is spread over a device.

use super::SelectiveScanProblem;
use super::kernel::{Regions, ScanConfig};

/// What matters of a device.
#[derive(Clone, Copy, Debug)]
pub(super) struct Device {
    /// Bytes of shared memory of a cube.
    pub shared_bytes: usize,
    /// Units of a cube.
    pub units: usize,
    /// Units at once, about.
    pub units_at_once: usize,
    /// Whether it is a CPU: steps are not unrolled there, and cubes are of a power of two units. After a loop with
    /// barriers llvmpipe (Mesa 22.3) loses what the units of an incomplete last vector of eight write, seen with cubes
    /// of 10, 12, 20 and 60.
    pub is_cpu: bool,
}

impl Device {
    /// The most of up to `count` things side by side.
    fn at_most(&self, count: usize) -> usize {
        match self.is_cpu {
            true if count > 0 => 1 << count.ilog2(),
            _ => count,
        }
    }
}

/// Steps between saved states.
const TILE: usize = 16;
/// Channels of a cube.
const CHANNELS: usize = 16;
/// Chunks of a sequence, at least: fewer are not worth their first pass.
const LEAST_CHUNKS: usize = 3;
/// Tiles of a chunk, at least: less is not worth the chunk's first pass.
const LEAST_TILES: usize = 4;

/// What to compile, or `None` if no choice fits the device: a `d_state` of many hundreds.
pub(super) fn config(
    p: &SelectiveScanProblem,
    has_reset: bool,
    device: Device,
) -> Option<ScanConfig> {
    let group_size = p.d_inner / p.ngroups;
    let per_lane = per_lane(p);
    let lanes = match (p.d_state.div_ceil(per_lane), device.is_cpu) {
        (lanes, true) => lanes.next_power_of_two(),
        (lanes, false) => lanes,
    };
    let vector = |a: usize, b: usize| {
        [4, 2]
            .into_iter()
            .find(|&size| a.is_multiple_of(size) && b.is_multiple_of(size))
            .unwrap_or(1)
    };
    let mut channels = CHANNELS;
    while channels > 0 {
        let per_group = device.at_most(group_size.min(channels));
        let groups = match per_group == group_size {
            true => device.at_most((channels / per_group).min(p.ngroups)),
            false => 1,
        };
        for (tile, sub_tile) in [(TILE, 8), (TILE, 4), (TILE, 2), (TILE, 1), (TILE / 2, 1)] {
            let config = ScanConfig {
                d_state: p.d_state,
                lanes,
                per_lane,
                per_group,
                groups,
                vector: vector(per_group, group_size),
                state_vector: vector(per_lane, p.d_state),
                tile,
                sub_tile,
                unroll: !device.is_cpu,
                has_z: p.has_z,
                has_reset,
                has_initial_state: p.has_initial_state,
                softplus: p.dt_softplus,
                save: false,
            };
            if config.shared_bytes() <= device.shared_bytes && config.units() <= device.units {
                return Some(config);
            }
        }
        channels /= 2;
    }
    None
}

/// States of a unit. Fewer of them are more work in all, and were slower even where channels and batch alone leave
/// a device idle.
fn per_lane(p: &SelectiveScanProblem) -> usize {
    match p.d_state {
        0..=4 => p.d_state,
        5..=32 => 4,
        _ => 8,
    }
}

/// Cubes side by side for the channels of one sequence.
pub(super) fn cubes(p: &SelectiveScanProblem, config: &ScanConfig) -> usize {
    p.ngroups.div_ceil(config.groups) * parts(p, config)
}

/// A sequence cut for the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chunks {
    /// Tiles of a sequence.
    pub tiles: usize,
    /// Tiles of a chunk; the last may have fewer.
    pub per_chunk: usize,
    /// Chunks of a sequence.
    pub count: usize,
}

/// Tiles of a sequence.
pub(super) fn tiles(p: &SelectiveScanProblem, config: &ScanConfig) -> usize {
    p.seq.div_ceil(config.tile)
}

/// Cuts sequences if channels and batch alone leave the device idle.
pub(super) fn chunks(p: &SelectiveScanProblem, config: &ScanConfig, device: Device) -> Chunks {
    let tiles = tiles(p, config);
    let units = cubes(p, config) * p.batch * config.units();
    let wanted = device.units_at_once / units;
    // Two do half as much work again, and gain no more.
    let wanted = match wanted >= LEAST_CHUNKS {
        true => wanted.min(tiles / LEAST_TILES).max(1),
        false => 1,
    };
    let per_chunk = tiles.div_ceil(wanted);
    Chunks {
        tiles,
        per_chunk,
        count: tiles.div_ceil(per_chunk),
    }
}

/// Whether the states after all tiles (the last is an output anyway) fit into twice the bytes of `u`;
/// else the backward pass finds them again.
pub(super) fn saves(p: &SelectiveScanProblem, config: &ScanConfig, element_bytes: usize) -> bool {
    (tiles(p, config) - 1) * p.d_state * size_of::<f32>() <= 2 * p.seq * element_bytes
}

/// What a call keeps in the memory that its kernels share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Contents {
    pub has_reset: bool,
    /// Whether the last state has a gradient.
    pub has_last: bool,
    /// Whether the gradients of the parameters and of the first state come out.
    pub is_backward: bool,
    /// States of a sequence that are kept.
    pub slots: usize,
    /// Whether states and row gradients have no tensors of their own.
    pub holds_all: bool,
    /// Regions start at multiples of so many elements.
    pub alignment: usize,
}

/// Parts of a group, each in a cube of its own.
pub(super) fn parts(p: &SelectiveScanProblem, config: &ScanConfig) -> usize {
    (p.d_inner / p.ngroups).div_ceil(config.per_group)
}

/// Where everything is, and the length of the memory.
pub(super) fn regions(
    p: &SelectiveScanProblem,
    config: &ScanConfig,
    chunks: Chunks,
    contents: Contents,
) -> (Regions, usize) {
    let has = |has: bool, length: usize| if has { length } else { 0 };
    let state = p.batch * p.d_inner * p.d_state;
    let row = p.d_inner * (p.d_state + 2);
    // What is packed lies without gaps.
    let resets = row;
    let initial = resets + has(contents.has_reset, p.batch * p.seq);
    let last = initial + has(p.has_initial_state, state);
    let mut end = last + has(contents.has_last, state);
    let mut region = |has: bool, length: usize| {
        let first = end.next_multiple_of(contents.alignment);
        if has {
            end = first + length;
        }
        first
    };
    let rows = p.batch * p.seq * p.d_inner;
    let grouped = p.batch * p.seq * p.ngroups * parts(p, config) * p.d_state;
    let (is_backward, holds_all) = (contents.is_backward, contents.holds_all);
    let holds_rows = is_backward && holds_all;
    let regions = Regions {
        resets,
        initial,
        last,
        links: region(chunks.count > 1, 2 * chunks.count * state),
        states: region(holds_all, contents.slots * state),
        g_params: region(is_backward, p.batch * chunks.count * row),
        g_initial: region(is_backward, state),
        gu: region(holds_rows, rows),
        gdt: region(holds_rows, rows),
        gz: region(holds_rows && p.has_z, rows),
        gb: region(holds_rows, grouped),
        gc: region(holds_rows, grouped),
        slots: contents.slots,
        chunks: chunks.count,
        tiles_per_chunk: chunks.per_chunk,
    };
    (regions, end)
}
