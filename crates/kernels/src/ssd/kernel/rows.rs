//! What decides the decays of a tile of steps.

use super::{Mix, TILE};
use cubecl::prelude::*;

/// Lines of step sizes and sums of one head.
#[derive(CubeType, Clone, Copy)]
pub(super) struct Lines {
    pub(super) dt: usize,
    pub(super) cum: usize,
    pub(super) rest: usize,
    pub(super) first: usize,
}

/// What decides the decays of the 64 own steps.
#[derive(CubeType)]
pub(super) struct Rows {
    pub(super) dt: SharedMemory<f32>,
    pub(super) cum: SharedMemory<f32>,
    pub(super) rest: SharedMemory<f32>,
    pub(super) first: SharedMemory<f32>,
    /// Decay between the boundary and each step.
    pub(super) decay: SharedMemory<f32>,
}

/// Room for the entries of a tile.
#[cube]
pub(super) fn room_for_rows() -> Rows {
    Rows {
        dt: SharedMemory::<f32>::new(TILE),
        cum: SharedMemory::<f32>::new(TILE),
        rest: SharedMemory::<f32>::new(TILE),
        first: SharedMemory::<f32>::new(TILE),
        decay: SharedMemory::<f32>::new(TILE),
    }
}

/// Reads the own steps' entries; every unit takes part. `chunk_end` ends the chunk.
#[cube]
pub(super) fn read_rows(
    rows: &mut Rows,
    scratch: &Tensor<f32>,
    lines: Lines,
    start: usize,
    chunk_start: usize,
    chunk_end: usize,
    held: usize,
    #[comptime] mix: Mix,
) {
    let unit = UNIT_POS as usize;
    sync_cube();
    if unit < comptime!(TILE) {
        let step = start + clamp_max(unit, held - 1);
        let dt = scratch[lines.dt + step];
        let cum = scratch[lines.cum + step];
        let rest = scratch[lines.rest + step];
        let first = scratch[lines.first + step];
        let mut decay = 0.0f32;
        if comptime!(mix.reverse) {
            let last = chunk_end - 1;
            if f32::cast_from(step - chunk_start) >= scratch[lines.first + last] {
                let sums = scratch[lines.cum + last] - cum;
                decay = (sums + (scratch[lines.rest + last] - rest)).exp();
            }
            if comptime!(!mix.into_heads) {
                decay *= dt;
            }
        } else {
            if first < 0.0f32 {
                decay = (cum + rest).exp();
            }
        }
        rows.dt[unit] = dt;
        rows.cum[unit] = cum;
        rows.rest[unit] = rest;
        rows.first[unit] = first;
        rows.decay[unit] = decay;
    }
    sync_cube();
}
