//! The scan over time (method 3.1), tile after tile: a tile's loads are issued while the one before
//! is computed.

use super::chunks::follow;
use super::memory::write_kept;
use super::place::{Place, fetch, fetch_grouped, place, read_states, share_grouped, share_keep};
use super::{Regions, ScanConfig, gate, step_size};
use crate::cube::activation::decay;
use cubecl::prelude::*;

/// Runs all chunks at once, each from the state before it; a cube at (channels, batch, chunk).
///
/// - `u`, `dt`, `z`, `y`: `[batch, seq, d_inner]`; `b`, `c`: `[batch, seq, ngroups, d_state]`
/// - `memory`: as [`pack`](super::pack) makes it, and what [`chunk_states`](super::chunk_states) found if there is more
///   than one chunk
/// - `states`: `[batch, slots, d_inner, d_state]`, in `memory` if absent; with `save` slot `k` is the state after tile
///   `k`, else there is one, the state after the last step
#[cube(launch_unchecked, fast_math = FastMath::all())]
pub(in crate::selective_scan) fn scan_forward<F: Float, V: Size, W: Size>(
    u: &Tensor<Vector<F, V>>,
    dt: &Tensor<Vector<F, V>>,
    b: &Tensor<Vector<F, W>>,
    c: &Tensor<Vector<F, W>>,
    z: &Tensor<Vector<F, V>>,
    memory: &mut Tensor<f32>,
    y: &mut Tensor<Vector<F, V>>,
    states: &mut ComptimeOption<Tensor<f32>>,
    regions: Regions,
    #[comptime] cfg: ScanConfig,
    #[define(F)] _dtype: StorageType,
) {
    let channels = comptime!(cfg.channels());
    let steps = cfg.tile;
    let vector = cfg.vector;
    let per_lane = cfg.per_lane;
    let n = cfg.d_state;

    let seq = u.shape(1);
    let d_inner = u.shape(2);
    let ngroups = b.shape(2);
    let place = place(d_inner, ngroups, cfg);
    let batch = CUBE_POS_Y as usize;
    let chunk = CUBE_POS_Z as usize;
    let row = batch * seq;
    let first_tile = chunk * regions.tiles_per_chunk;
    let all_tiles = seq.div_ceil(steps);
    let last_tile = (first_tile + regions.tiles_per_chunk).min(all_tiles);
    let states_row = batch * regions.slots;

    let mut s_dt = SharedMemory::<f32>::new(comptime!(cfg.tile * cfg.channels()));
    let mut s_input = SharedMemory::<f32>::new(comptime!(cfg.tile * cfg.channels()));
    let mut s_b = SharedMemory::<Vector<f32, W>>::new(comptime!(cfg.tile * cfg.bc_width()));
    let mut s_c = SharedMemory::<Vector<f32, W>>::new(comptime!(cfg.tile * cfg.bc_width()));
    let mut s_y = SharedMemory::<f32>::new(comptime!(cfg.tile * cfg.units()));
    let mut s_keep = SharedMemory::<f32>::new(cfg.tile);

    let mut a = Array::<f32>::new(per_lane);
    let mut h = Array::<f32>::new(per_lane);
    read_states(
        memory,
        &mut a,
        &place,
        place.channel * comptime!(cfg.d_state + 2),
        cfg,
    );
    if comptime!(cfg.has_initial_state) {
        let initial = regions.initial + (batch * d_inner + place.channel) * n;
        read_states(memory, &mut h, &place, initial, cfg);
    } else {
        #[unroll]
        for i in 0..per_lane {
            h[i] = 0.0f32;
        }
    }
    follow(memory, &mut h, &place, d_inner, &regions, false, cfg);
    let mut skip = Array::<f32>::new(vector);
    let mut bias = Array::<f32>::new(vector);
    #[unroll]
    for j in 0..vector {
        let at = (place.moved_channel + j) * comptime!(cfg.d_state + 2) + n;
        skip[j] = memory[at];
        bias[j] = memory[at + 1];
    }

    let mut next_u = Array::<Vector<F, V>>::new(comptime!(cfg.loads()));
    let mut next_dt = Array::<Vector<F, V>>::new(comptime!(cfg.loads()));
    let mut next_z = Array::<Vector<F, V>>::new(comptime!(cfg.loads()));
    let mut next_b = Array::<Vector<F, W>>::new(comptime!(cfg.bc_loads()));
    let mut next_c = Array::<Vector<F, W>>::new(comptime!(cfg.bc_loads()));
    let mut now_u = Array::<Vector<F, V>>::new(comptime!(cfg.loads()));
    let mut now_z = Array::<Vector<F, V>>::new(comptime!(cfg.loads()));
    let first = first_tile * steps;
    fetch(u, &mut next_u, &place, batch, first, seq, cfg);
    fetch(dt, &mut next_dt, &place, batch, first, seq, cfg);
    if comptime!(cfg.has_z) {
        fetch(z, &mut next_z, &place, batch, first, seq, cfg);
    }
    fetch_grouped(b, &mut next_b, &place, batch, first, seq, ngroups, cfg);
    fetch_grouped(c, &mut next_c, &place, batch, first, seq, ngroups, cfg);

    for tile in first_tile..last_tile {
        let start = tile * steps;
        #[unroll]
        for e in 0..comptime!(cfg.loads()) {
            let t = place.row + e * comptime!(cfg.rows());
            now_u[e] = next_u[e];
            if comptime!(cfg.has_z) {
                now_z[e] = next_z[e];
            }
            if t < steps {
                let inside = place.moved_valid && start + t < seq;
                #[unroll]
                for j in 0..vector {
                    let size = step_size(f32::cast_from(next_dt[e][j]) + bias[j], cfg.softplus);
                    let size = select(inside, size, 0.0f32);
                    s_dt[t * channels + place.column + j] = size;
                    s_input[t * channels + place.column + j] = size * f32::cast_from(next_u[e][j]);
                }
            }
        }
        share_grouped(&next_b, &mut s_b, &place, cfg);
        share_grouped(&next_c, &mut s_c, &place, cfg);
        if comptime!(cfg.has_reset) {
            share_keep(
                memory,
                &mut s_keep,
                &place,
                regions.resets + row,
                start,
                seq,
                cfg,
            );
        }
        sync_cube();

        // The next tile's loads are under way while this one is computed; behind the end they repeat
        // the last step.
        let ahead = start + steps;
        fetch(u, &mut next_u, &place, batch, ahead, seq, cfg);
        fetch(dt, &mut next_dt, &place, batch, ahead, seq, cfg);
        if comptime!(cfg.has_z) {
            fetch(z, &mut next_z, &place, batch, ahead, seq, cfg);
        }
        fetch_grouped(b, &mut next_b, &place, batch, ahead, seq, ngroups, cfg);
        fetch_grouped(c, &mut next_c, &place, batch, ahead, seq, ngroups, cfg);

        run_tile::<W>(
            &mut h, &a, &s_dt, &s_input, &s_b, &s_c, &s_keep, &mut s_y, &place, cfg,
        );
        sync_cube();

        #[unroll]
        for e in 0..comptime!(cfg.loads()) {
            let t = place.row + e * comptime!(cfg.rows());
            if t < steps && start + t < seq && place.moved_valid {
                let mut out = Vector::<F, V>::empty();
                #[unroll]
                for j in 0..vector {
                    let mut sum = skip[j] * f32::cast_from(now_u[e][j]);
                    #[unroll]
                    for lane in 0..cfg.lanes {
                        sum += s_y[(lane * steps + t) * channels + place.column + j];
                    }
                    if comptime!(cfg.has_z) {
                        sum *= gate(f32::cast_from(now_z[e][j]));
                    }
                    out[j] = F::cast_from(sum);
                }
                y[((row + start + t) * d_inner + place.moved_channel) / vector] = out;
            }
        }
        if comptime!(cfg.save) {
            let at = ((states_row + tile) * d_inner + place.channel) * n;
            write_kept(states, memory, &h, &place, at, &regions, cfg);
        }
    }
    if !cfg.save && last_tile == all_tiles {
        let at = (states_row * d_inner + place.channel) * n;
        write_kept(states, memory, &h, &place, at, &regions, cfg);
    }
}

/// Runs the steps of a tile; each unit leaves its part of `c . h` in `s_y`, `[lanes, tile, channels]`.
#[cube]
fn run_tile<W: Size>(
    h: &mut Array<f32>,
    a: &Array<f32>,
    s_dt: &SharedMemory<f32>,
    s_input: &SharedMemory<f32>,
    s_b: &SharedMemory<Vector<f32, W>>,
    s_c: &SharedMemory<Vector<f32, W>>,
    s_keep: &SharedMemory<f32>,
    s_y: &mut SharedMemory<f32>,
    place: &Place,
    #[comptime] cfg: ScanConfig,
) {
    let channels = comptime!(cfg.channels());
    let width = comptime!(cfg.bc_width());
    let reads = comptime!(cfg.per_lane / cfg.state_vector);
    let bc = (place.slot * cfg.lanes + place.lane) * reads;
    // Written once all is read: a store between the steps would keep a device from reading ahead.
    let mut sums = Array::<f32>::new(cfg.tile);
    #[unroll(cfg.unroll)]
    for t in 0..cfg.tile {
        let size = s_dt[t * channels + place.local];
        let input = s_input[t * channels + place.local];
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
                h[i] = decay * h[i] + input * b[j];
                sum += h[i] * c[j];
            }
        }
        sums[t] = sum;
    }
    #[unroll(cfg.unroll)]
    for t in 0..cfg.tile {
        s_y[(place.lane * cfg.tile + t) * channels + place.local] = sums[t];
    }
}
