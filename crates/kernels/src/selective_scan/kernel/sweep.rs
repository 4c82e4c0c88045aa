//! The steps of one tile in the backward pass: forward again, back, and the sums over channels.

use super::memory::write_one;
use super::place::Place;
use super::{Regions, ScanConfig};
use crate::cube::activation::{PER_NATURAL, decay};
use cubecl::prelude::*;

/// What a rate in the units of [`decay`] is in `a`.
const RATE: f32 = -1.0 / PER_NATURAL;

/// Runs the steps of a tile again: `history` gets the state before each, `s_1` the unit's part of `c . h`.
#[cube]
pub(super) fn recompute<W: Size>(
    h: &mut Array<f32>,
    history: &mut Array<f32>,
    a: &Array<f32>,
    s_dt: &SharedMemory<f32>,
    s_u: &SharedMemory<f32>,
    s_b: &SharedMemory<Vector<f32, W>>,
    s_c: &SharedMemory<Vector<f32, W>>,
    s_keep: &SharedMemory<f32>,
    s_1: &mut SharedMemory<f32>,
    place: &Place,
    #[comptime] cfg: ScanConfig,
) {
    let channels = comptime!(cfg.channels());
    let width = comptime!(cfg.bc_width());
    let reads = comptime!(cfg.per_lane / cfg.state_vector);
    let bc = (place.slot * cfg.lanes + place.lane) * reads;
    // Written once all is read, as in the forward pass.
    let mut sums = Array::<f32>::new(cfg.tile);
    #[unroll(cfg.unroll)]
    for t in 0..cfg.tile {
        let size = s_dt[t * channels + place.local];
        let input = size * s_u[t * channels + place.local];
        let mut sum = 0.0f32;
        #[unroll]
        for r in 0..reads {
            let b = s_b[t * width + bc + r];
            let c = s_c[t * width + bc + r];
            #[unroll]
            for j in 0..cfg.state_vector {
                let i = comptime!(r * cfg.state_vector + j);
                let mut decay = decay(size * a[i]);
                if comptime!(cfg.has_reset) {
                    decay *= s_keep[t];
                }
                history[t * cfg.per_lane + i] = h[i];
                h[i] = decay * h[i] + input * b[j];
                sum += h[i] * c[j];
            }
        }
        sums[t] = sum;
    }
    if comptime!(cfg.has_z) {
        #[unroll(cfg.unroll)]
        for t in 0..cfg.tile {
            s_1[(place.lane * cfg.tile + t) * channels + place.local] = sums[t];
        }
    }
}

/// Carries the gradient of the state over a sub-tile, from its last step to its first.
#[cube]
pub(super) fn sweep<W: Size>(
    carry: &mut Array<f32>,
    ga: &mut Array<f32>,
    history: &Array<f32>,
    a: &Array<f32>,
    s_dt: &SharedMemory<f32>,
    s_u: &SharedMemory<f32>,
    s_gy: &SharedMemory<f32>,
    s_b: &SharedMemory<Vector<f32, W>>,
    s_c: &SharedMemory<Vector<f32, W>>,
    s_keep: &SharedMemory<f32>,
    s_1: &mut SharedMemory<f32>,
    s_2: &mut SharedMemory<f32>,
    s_gb: &mut SharedMemory<f32>,
    s_gc: &mut SharedMemory<f32>,
    place: &Place,
    part: usize,
    #[comptime] cfg: ScanConfig,
) {
    let channels = comptime!(cfg.channels());
    let width = comptime!(cfg.bc_width());
    let pitch = comptime!(cfg.pitch());
    let padded = comptime!(cfg.padded());
    let reads = comptime!(cfg.per_lane / cfg.state_vector);
    let bc = (place.slot * cfg.lanes + place.lane) * reads;
    // A step is read before the one in front of it is written, which a device would not do by itself.
    let mut next_b = Array::<Vector<f32, W>>::new(reads);
    let mut next_c = Array::<Vector<f32, W>>::new(reads);
    let mut b_now = Array::<Vector<f32, W>>::new(reads);
    let mut c_now = Array::<Vector<f32, W>>::new(reads);
    let last = comptime!(cfg.tile - 1) - part * cfg.sub_tile;
    let mut next_size = s_dt[last * channels + place.local];
    let mut next_u = s_u[last * channels + place.local];
    let mut next_g = s_gy[last * channels + place.local];
    #[unroll]
    for r in 0..reads {
        next_b[r] = s_b[last * width + bc + r];
        next_c[r] = s_c[last * width + bc + r];
    }
    #[unroll(cfg.unroll)]
    for k in 0..cfg.sub_tile {
        let t = last - k;
        let size = next_size;
        let uv = next_u;
        let g = next_g;
        let ahead = last - (k + 1).min(comptime!(cfg.sub_tile - 1));
        next_size = s_dt[ahead * channels + place.local];
        next_u = s_u[ahead * channels + place.local];
        next_g = s_gy[ahead * channels + place.local];
        #[unroll]
        for r in 0..reads {
            b_now[r] = next_b[r];
            c_now[r] = next_c[r];
            next_b[r] = s_b[ahead * width + bc + r];
            next_c[r] = s_c[ahead * width + bc + r];
        }
        let input = size * uv;
        let mut sum_u = 0.0f32;
        let mut sum_dt = 0.0f32;
        #[unroll]
        for r in 0..reads {
            let b = b_now[r];
            let c = c_now[r];
            #[unroll]
            for j in 0..cfg.state_vector {
                let i = comptime!(r * cfg.state_vector + j);
                let mut decay = decay(size * a[i]);
                if comptime!(cfg.has_reset) {
                    decay *= s_keep[t];
                }
                let decayed = decay * history[t * cfg.per_lane + i];
                let adjoint = carry[i] + g * c[j];
                let through_decay = adjoint * decayed;
                let at = (k * padded + place.lane * cfg.per_lane + i) * pitch + place.local;
                s_gb[at] = adjoint * input;
                s_gc[at] = g * (decayed + input * b[j]);
                sum_u += adjoint * b[j];
                sum_dt += a[i] * through_decay;
                ga[i] += size * through_decay;
                carry[i] = decay * adjoint;
            }
        }
        s_1[(place.lane * cfg.tile + t) * channels + place.local] = sum_u;
        s_2[(place.lane * cfg.tile + t) * channels + place.local] = sum_dt * RATE;
    }
}

/// Sums what [`sweep`] left over the channels of each group.
#[cube]
pub(super) fn sum_channels<P: Float>(
    gb: &mut ComptimeOption<Tensor<P>>,
    gc: &mut ComptimeOption<Tensor<P>>,
    memory: &mut Tensor<f32>,
    s_gb: &SharedMemory<f32>,
    s_gc: &SharedMemory<f32>,
    place: &Place,
    row: usize,
    start: usize,
    seq: usize,
    ngroups: usize,
    part: usize,
    regions: &Regions,
    #[comptime] cfg: ScanConfig,
) {
    let padded = comptime!(cfg.padded());
    let width = comptime!(cfg.groups * cfg.padded());
    let pitch = comptime!(cfg.pitch());
    let total = comptime!(cfg.sub_tile * cfg.groups * cfg.padded());
    #[unroll]
    for e in 0..comptime!((cfg.sub_tile * cfg.groups * cfg.padded()).div_ceil(cfg.units())) {
        let index = place.unit + e * comptime!(cfg.units());
        let k = index / width;
        let slot = index % width / padded;
        let state = index % padded;
        let t = start + comptime!(cfg.tile - 1) - part * cfg.sub_tile - k;
        let group = place.first_group + slot;
        if index < total && t < seq && group < ngroups && state < cfg.d_state {
            let at = (k * padded + state) * pitch + slot * cfg.per_group;
            let mut sum_b = 0.0f32;
            let mut sum_c = 0.0f32;
            #[unroll]
            for other in 0..cfg.per_group {
                sum_b += s_gb[at + other];
                sum_c += s_gc[at + other];
            }
            let group = ((row + t) * ngroups + group) * place.parts + place.part;
            let at = group * cfg.d_state + state;
            write_one(gb, memory, regions.gb, at, sum_b);
            write_one(gc, memory, regions.gc, at, sum_c);
        }
    }
}
