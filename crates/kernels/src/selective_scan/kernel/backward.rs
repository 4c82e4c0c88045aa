//! Gradients of the scan (method 3.1), tile after tile from the end.
//!
//! A tile's states are recomputed from the one saved before it and kept in registers. The sums over
//! channels that `b` and `c` need are made in shared memory in a fixed order, so that results repeat
//! bit for bit.

use super::chunks::follow;
use super::memory::{read_kept, write_row};
use super::place::{
    fetch, fetch_grouped, place, read_states, share_grouped, share_keep, write_states,
};
use super::sweep::{recompute, sum_channels, sweep};
use super::{Regions, ScanConfig, gate, gate_slope, step_size, step_slope};
use cubecl::prelude::*;

/// Runs all chunks at once; a cube at (channels, batch, chunk). Inputs as in the forward pass, and:
///
/// - `gy`: `[batch, seq, d_inner]`
/// - `memory`: the links are what [`chunk_adjoints`](super::chunk_adjoints) found; `has_last` tells whether the last state
///   has a gradient. It gets the gradients of the parameters, one share for each sequence and chunk, and of the first
///   state
/// - `states`: as the forward pass leaves it with `save`
/// - `gu`, `gdt`, `gz`: `[batch, seq, d_inner]`; `gb`, `gc`: `[batch, seq, ngroups * parts, d_state]`, sums over
///   the channels of a cube within one group; in `memory` if absent
#[cube(launch_unchecked, fast_math = FastMath::all())]
pub(in crate::selective_scan) fn scan_backward<F: Float, P: Float, V: Size, W: Size>(
    u: &Tensor<Vector<F, V>>,
    dt: &Tensor<Vector<F, V>>,
    b: &Tensor<Vector<F, W>>,
    c: &Tensor<Vector<F, W>>,
    z: &Tensor<Vector<F, V>>,
    gy: &Tensor<Vector<F, V>>,
    memory: &mut Tensor<f32>,
    states: &ComptimeOption<Tensor<f32>>,
    gu: &mut ComptimeOption<Tensor<Vector<F, V>>>,
    gdt: &mut ComptimeOption<Tensor<Vector<F, V>>>,
    gz: &mut ComptimeOption<Tensor<Vector<F, V>>>,
    gb: &mut ComptimeOption<Tensor<P>>,
    gc: &mut ComptimeOption<Tensor<P>>,
    regions: Regions,
    #[comptime] has_last: bool,
    #[comptime] cfg: ScanConfig,
    #[define(F, P)] _dtypes: [StorageType; 2],
) {
    let channels = comptime!(cfg.channels());
    let steps = cfg.tile;
    let vector = cfg.vector;
    let per_lane = cfg.per_lane;
    let n = cfg.d_state;
    let stride = comptime!(cfg.d_state + 2);

    let seq = u.shape(1);
    let d_inner = u.shape(2);
    let ngroups = b.shape(2);
    let place = place(d_inner, ngroups, cfg);
    let batch = CUBE_POS_Y as usize;
    let chunk = CUBE_POS_Z as usize;
    let row = batch * seq;
    let first_tile = chunk * regions.tiles_per_chunk;
    let last_tile = (first_tile + regions.tiles_per_chunk).min(seq.div_ceil(steps));
    // Where the states of this sequence and channel are in those of all.
    let own = (batch * d_inner + place.channel) * n;

    let mut s_dt = SharedMemory::<f32>::new(comptime!(cfg.tile * cfg.channels()));
    let mut s_u = SharedMemory::<f32>::new(comptime!(cfg.tile * cfg.channels()));
    let mut s_gy = SharedMemory::<f32>::new(comptime!(cfg.tile * cfg.channels()));
    let mut s_b = SharedMemory::<Vector<f32, W>>::new(comptime!(cfg.tile * cfg.bc_width()));
    let mut s_c = SharedMemory::<Vector<f32, W>>::new(comptime!(cfg.tile * cfg.bc_width()));
    let mut s_1 = SharedMemory::<f32>::new(comptime!(cfg.lane_sums()));
    let mut s_2 = SharedMemory::<f32>::new(comptime!(cfg.lane_sums()));
    let mut s_gb = SharedMemory::<f32>::new(comptime!(cfg.channel_sums()));
    let mut s_gc = SharedMemory::<f32>::new(comptime!(cfg.channel_sums()));
    let mut s_keep = SharedMemory::<f32>::new(cfg.tile);

    let mut a = Array::<f32>::new(per_lane);
    let mut carry = Array::<f32>::new(per_lane);
    let mut ga = Array::<f32>::new(per_lane);
    let mut h = Array::<f32>::new(per_lane);
    read_states(memory, &mut a, &place, place.channel * stride, cfg);
    if comptime!(has_last) {
        read_states(memory, &mut carry, &place, regions.last + own, cfg);
    } else {
        #[unroll]
        for i in 0..per_lane {
            carry[i] = 0.0f32;
        }
    }
    follow(memory, &mut carry, &place, d_inner, &regions, true, cfg);
    #[unroll]
    for i in 0..per_lane {
        ga[i] = 0.0f32;
    }
    let mut skip = Array::<f32>::new(vector);
    let mut bias = Array::<f32>::new(vector);
    let mut g_skip = Array::<f32>::new(vector);
    let mut g_bias = Array::<f32>::new(vector);
    #[unroll]
    for j in 0..vector {
        let at = (place.moved_channel + j) * stride + n;
        skip[j] = memory[at];
        bias[j] = memory[at + 1];
        g_skip[j] = 0.0f32;
        g_bias[j] = 0.0f32;
    }

    let mut history = Array::<f32>::new(comptime!(cfg.tile * cfg.per_lane));
    let mut r_u = Array::<Vector<F, V>>::new(comptime!(cfg.loads()));
    let mut r_dt = Array::<Vector<F, V>>::new(comptime!(cfg.loads()));
    let mut r_z = Array::<Vector<F, V>>::new(comptime!(cfg.loads()));
    let mut r_gy = Array::<Vector<F, V>>::new(comptime!(cfg.loads()));
    let mut r_b = Array::<Vector<F, W>>::new(comptime!(cfg.bc_loads()));
    let mut r_c = Array::<Vector<F, W>>::new(comptime!(cfg.bc_loads()));

    for reverse in 0..last_tile - first_tile {
        let tile = last_tile - 1 - reverse;
        let start = tile * steps;
        fetch(u, &mut r_u, &place, batch, start, seq, cfg);
        fetch(dt, &mut r_dt, &place, batch, start, seq, cfg);
        fetch(gy, &mut r_gy, &place, batch, start, seq, cfg);
        if comptime!(cfg.has_z) {
            fetch(z, &mut r_z, &place, batch, start, seq, cfg);
        }
        fetch_grouped(b, &mut r_b, &place, batch, start, seq, ngroups, cfg);
        fetch_grouped(c, &mut r_c, &place, batch, start, seq, ngroups, cfg);
        if tile > 0 {
            let at = ((batch * regions.slots + tile - 1) * d_inner + place.channel) * n;
            read_kept(states, memory, &mut h, &place, at, &regions, cfg);
        } else if comptime!(cfg.has_initial_state) {
            read_states(memory, &mut h, &place, regions.initial + own, cfg);
        } else {
            #[unroll]
            for i in 0..per_lane {
                h[i] = 0.0f32;
            }
        }
        #[unroll]
        for e in 0..comptime!(cfg.loads()) {
            let t = place.row + e * comptime!(cfg.rows());
            if t < steps {
                let inside = place.moved_valid && start + t < seq;
                #[unroll]
                for j in 0..vector {
                    let size = step_size(f32::cast_from(r_dt[e][j]) + bias[j], cfg.softplus);
                    let mut g = f32::cast_from(r_gy[e][j]);
                    if comptime!(cfg.has_z) {
                        g *= gate(f32::cast_from(r_z[e][j]));
                    }
                    let at = t * channels + place.column + j;
                    s_dt[at] = select(inside, size, 0.0f32);
                    s_u[at] = f32::cast_from(r_u[e][j]);
                    s_gy[at] = select(inside, g, 0.0f32);
                }
            }
        }
        share_grouped(&r_b, &mut s_b, &place, cfg);
        share_grouped(&r_c, &mut s_c, &place, cfg);
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

        recompute::<W>(
            &mut h,
            &mut history,
            &a,
            &s_dt,
            &s_u,
            &s_b,
            &s_c,
            &s_keep,
            &mut s_1,
            &place,
            cfg,
        );
        if comptime!(cfg.has_z) {
            sync_cube();
            #[unroll]
            for e in 0..comptime!(cfg.loads()) {
                let t = place.row + e * comptime!(cfg.rows());
                if t < steps && start + t < seq && place.moved_valid {
                    let mut out = Vector::<f32, V>::empty();
                    #[unroll]
                    for j in 0..vector {
                        let mut sum = skip[j] * f32::cast_from(r_u[e][j]);
                        #[unroll]
                        for lane in 0..cfg.lanes {
                            sum += s_1[(lane * steps + t) * channels + place.column + j];
                        }
                        let slope = gate_slope(f32::cast_from(r_z[e][j]));
                        out[j] = f32::cast_from(r_gy[e][j]) * sum * slope;
                    }
                    let at = (row + start + t) * d_inner + place.moved_channel;
                    write_row(gz, memory, regions.gz, at, out);
                }
            }
            sync_cube();
        }

        #[unroll(cfg.unroll)]
        for part in 0..comptime!(cfg.tile / cfg.sub_tile) {
            sweep::<W>(
                &mut carry, &mut ga, &history, &a, &s_dt, &s_u, &s_gy, &s_b, &s_c, &s_keep,
                &mut s_1, &mut s_2, &mut s_gb, &mut s_gc, &place, part, cfg,
            );
            sync_cube();
            sum_channels::<P>(
                gb, gc, memory, &s_gb, &s_gc, &place, row, start, seq, ngroups, part, &regions, cfg,
            );
            sync_cube();
        }

        #[unroll]
        for e in 0..comptime!(cfg.loads()) {
            let t = place.row + e * comptime!(cfg.rows());
            if t < steps && start + t < seq && place.moved_valid {
                let mut out_u = Vector::<f32, V>::empty();
                let mut out_dt = Vector::<f32, V>::empty();
                #[unroll]
                for j in 0..vector {
                    let at = t * channels + place.column + j;
                    let uv = f32::cast_from(r_u[e][j]);
                    let mut sum_u = 0.0f32;
                    let mut sum_dt = 0.0f32;
                    #[unroll]
                    for lane in 0..cfg.lanes {
                        sum_u += s_1[lane * comptime!(cfg.tile * cfg.channels()) + at];
                        sum_dt += s_2[lane * comptime!(cfg.tile * cfg.channels()) + at];
                    }
                    let slope = step_slope(f32::cast_from(r_dt[e][j]) + bias[j], cfg.softplus);
                    let g = (sum_dt + sum_u * uv) * slope;
                    g_bias[j] += g;
                    g_skip[j] += s_gy[at] * uv;
                    out_dt[j] = g;
                    out_u[j] = skip[j] * s_gy[at] + sum_u * s_dt[at];
                }
                let at = (row + start + t) * d_inner + place.moved_channel;
                write_row(gdt, memory, regions.gdt, at, out_dt);
                write_row(gu, memory, regions.gu, at, out_u);
            }
        }
        sync_cube();
    }

    // The units that moved a channel each summed a part of its steps.
    #[unroll]
    for j in 0..vector {
        s_1[place.row * channels + place.column + j] = g_skip[j];
        s_2[place.row * channels + place.column + j] = g_bias[j];
    }
    sync_cube();
    let out = ((batch * regions.chunks + chunk) * d_inner + place.channel) * stride;
    let out = regions.g_params + out;
    write_states(memory, &ga, &place, out, cfg);
    if chunk == 0 {
        write_states(memory, &carry, &place, regions.g_initial + own, cfg);
    }
    if place.lane == 0 && place.valid {
        let mut sum_skip = 0.0f32;
        let mut sum_bias = 0.0f32;
        #[unroll]
        for r in 0..comptime!(cfg.rows()) {
            sum_skip += s_1[r * channels + place.local];
            sum_bias += s_2[r * channels + place.local];
        }
        memory[out + n] = sum_skip;
        memory[out + n + 1] = sum_bias;
    }
}
