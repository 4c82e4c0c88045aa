//! What chunks of a sequence do before all of them can run at once.

use super::place::{
    fetch, fetch_grouped, place, read_states, share_grouped, share_keep, write_states,
};
use super::{ScanConfig, gate, step_size};
use cubecl::prelude::*;

/// The state after each chunk but the last when it starts from zero, and what the chunk leaves of a
/// state before it. Shapes as in [`scan_forward`](super::scan_forward).
///
/// - `ends`: `[batch, chunks, d_inner, d_state]`; entry `k` belongs to chunk `k`
/// - `decays`: the same, what is left of a state
#[cube(launch_unchecked, fast_math = FastMath::all())]
pub(in crate::selective_scan) fn chunk_states<F: Float, V: Size, W: Size>(
    u: &Tensor<Vector<F, V>>,
    dt: &Tensor<Vector<F, V>>,
    b: &Tensor<Vector<F, W>>,
    params: &Tensor<f32>,
    ends: &mut Tensor<f32>,
    decays: &mut Tensor<f32>,
    tiles_per_chunk: usize,
    #[comptime] cfg: ScanConfig,
    #[define(F)] _dtype: StorageType,
) {
    let channels = comptime!(cfg.channels());
    let steps = cfg.tile;
    let per_lane = cfg.per_lane;
    let n = cfg.d_state;
    let width = comptime!(cfg.bc_width());
    let reads = comptime!(cfg.per_lane / cfg.state_vector);

    let seq = u.shape(1);
    let d_inner = u.shape(2);
    let ngroups = b.shape(2);
    let place = place(d_inner, ngroups, cfg);
    let batch = CUBE_POS_Y as usize;
    let chunk = CUBE_POS_Z as usize;
    let row = batch * seq;
    let resets = d_inner * comptime!(cfg.d_state + 2);
    let first_tile = chunk * tiles_per_chunk;
    let bc = (place.slot * cfg.lanes + place.lane) * reads;

    let mut s_dt = SharedMemory::<f32>::new(comptime!(cfg.tile * cfg.channels()));
    let mut s_input = SharedMemory::<f32>::new(comptime!(cfg.tile * cfg.channels()));
    let mut s_b = SharedMemory::<Vector<f32, W>>::new(comptime!(cfg.tile * cfg.bc_width()));
    let mut s_keep = SharedMemory::<f32>::new(cfg.tile);

    let mut a = Array::<f32>::new(per_lane);
    let mut h = Array::<f32>::new(per_lane);
    read_states(
        params,
        &mut a,
        &place,
        place.channel * comptime!(cfg.d_state + 2),
        cfg,
    );
    #[unroll]
    for i in 0..per_lane {
        h[i] = 0.0f32;
    }
    let mut bias = Array::<f32>::new(cfg.vector);
    #[unroll]
    for j in 0..cfg.vector {
        bias[j] = params[(place.moved_channel + j) * comptime!(cfg.d_state + 2) + n + 1];
    }
    let mut time = 0.0f32;
    let mut kept = 1.0f32;

    let mut next_u = Array::<Vector<F, V>>::new(comptime!(cfg.loads()));
    let mut next_dt = Array::<Vector<F, V>>::new(comptime!(cfg.loads()));
    let mut next_b = Array::<Vector<F, W>>::new(comptime!(cfg.bc_loads()));
    let first = first_tile * steps;
    fetch(u, &mut next_u, &place, row, first, seq, d_inner, cfg);
    fetch(dt, &mut next_dt, &place, row, first, seq, d_inner, cfg);
    fetch_grouped(b, &mut next_b, &place, row, first, seq, ngroups, cfg);

    for tile in first_tile..first_tile + tiles_per_chunk {
        let start = tile * steps;
        #[unroll]
        for e in 0..comptime!(cfg.loads()) {
            let t = place.row + e * comptime!(cfg.rows());
            if t < steps {
                let inside = place.moved_valid && start + t < seq;
                #[unroll]
                for j in 0..cfg.vector {
                    let size = step_size(f32::cast_from(next_dt[e][j]) + bias[j], cfg.softplus);
                    let size = select(inside, size, 0.0f32);
                    s_dt[t * channels + place.column + j] = size;
                    s_input[t * channels + place.column + j] = size * f32::cast_from(next_u[e][j]);
                }
            }
        }
        share_grouped(&next_b, &mut s_b, &place, cfg);
        if comptime!(cfg.has_reset) {
            share_keep(params, &mut s_keep, &place, resets + row, start, seq, cfg);
        }
        sync_cube();
        let ahead = start + steps;
        fetch(u, &mut next_u, &place, row, ahead, seq, d_inner, cfg);
        fetch(dt, &mut next_dt, &place, row, ahead, seq, d_inner, cfg);
        fetch_grouped(b, &mut next_b, &place, row, ahead, seq, ngroups, cfg);
        #[unroll(cfg.unroll)]
        for t in 0..steps {
            let size = s_dt[t * channels + place.local];
            let input = s_input[t * channels + place.local];
            time += size;
            if comptime!(cfg.has_reset) {
                kept *= s_keep[t];
            }
            #[unroll]
            for r in 0..reads {
                let b = s_b[t * width + bc + r];
                #[unroll]
                for j in 0..cfg.state_vector {
                    let i = comptime!(r * cfg.state_vector + j);
                    let mut decay = (size * a[i]).exp();
                    if comptime!(cfg.has_reset) {
                        decay *= s_keep[t];
                    }
                    h[i] = decay * h[i] + input * b[j];
                }
            }
        }
        sync_cube();
    }
    let at = ((batch * ends.shape(1) + chunk) * d_inner + place.channel) * n;
    write_states(ends, &h, &place, at, cfg);
    #[unroll]
    for i in 0..per_lane {
        h[i] = (time * a[i]).exp() * kept;
    }
    write_states(decays, &h, &place, at, cfg);
}

/// The gradient of the state before each chunk but the first when none comes from the chunk behind it.
/// Shapes as in [`scan_backward`](super::scan_backward); outputs as in [`chunk_states`].
#[cube(launch_unchecked, fast_math = FastMath::all())]
pub(in crate::selective_scan) fn chunk_adjoints<F: Float, V: Size, W: Size>(
    dt: &Tensor<Vector<F, V>>,
    c: &Tensor<Vector<F, W>>,
    z: &Tensor<Vector<F, V>>,
    gy: &Tensor<Vector<F, V>>,
    params: &Tensor<f32>,
    ends: &mut Tensor<f32>,
    decays: &mut Tensor<f32>,
    tiles_per_chunk: usize,
    #[comptime] cfg: ScanConfig,
    #[define(F)] _dtype: StorageType,
) {
    let channels = comptime!(cfg.channels());
    let steps = cfg.tile;
    let per_lane = cfg.per_lane;
    let n = cfg.d_state;
    let width = comptime!(cfg.bc_width());
    let reads = comptime!(cfg.per_lane / cfg.state_vector);

    let seq = dt.shape(1);
    let d_inner = dt.shape(2);
    let ngroups = c.shape(2);
    let place = place(d_inner, ngroups, cfg);
    let batch = CUBE_POS_Y as usize;
    // The first chunk needs none.
    let chunk = CUBE_POS_Z as usize + 1;
    let row = batch * seq;
    let resets = d_inner * comptime!(cfg.d_state + 2);
    let first_tile = chunk * tiles_per_chunk;
    let last_tile = (first_tile + tiles_per_chunk).min(seq.div_ceil(steps));
    let bc = (place.slot * cfg.lanes + place.lane) * reads;

    let mut s_dt = SharedMemory::<f32>::new(comptime!(cfg.tile * cfg.channels()));
    let mut s_gy = SharedMemory::<f32>::new(comptime!(cfg.tile * cfg.channels()));
    let mut s_c = SharedMemory::<Vector<f32, W>>::new(comptime!(cfg.tile * cfg.bc_width()));
    let mut s_keep = SharedMemory::<f32>::new(cfg.tile);

    let mut a = Array::<f32>::new(per_lane);
    let mut carry = Array::<f32>::new(per_lane);
    read_states(
        params,
        &mut a,
        &place,
        place.channel * comptime!(cfg.d_state + 2),
        cfg,
    );
    #[unroll]
    for i in 0..per_lane {
        carry[i] = 0.0f32;
    }
    let mut bias = Array::<f32>::new(cfg.vector);
    #[unroll]
    for j in 0..cfg.vector {
        bias[j] = params[(place.moved_channel + j) * comptime!(cfg.d_state + 2) + n + 1];
    }
    let mut time = 0.0f32;
    let mut kept = 1.0f32;

    let mut next_dt = Array::<Vector<F, V>>::new(comptime!(cfg.loads()));
    let mut next_z = Array::<Vector<F, V>>::new(comptime!(cfg.loads()));
    let mut next_gy = Array::<Vector<F, V>>::new(comptime!(cfg.loads()));
    let mut next_c = Array::<Vector<F, W>>::new(comptime!(cfg.bc_loads()));
    let first = (last_tile - 1) * steps;
    fetch(dt, &mut next_dt, &place, row, first, seq, d_inner, cfg);
    fetch(gy, &mut next_gy, &place, row, first, seq, d_inner, cfg);
    if comptime!(cfg.has_z) {
        fetch(z, &mut next_z, &place, row, first, seq, d_inner, cfg);
    }
    fetch_grouped(c, &mut next_c, &place, row, first, seq, ngroups, cfg);

    for reverse in 0..last_tile - first_tile {
        let start = (last_tile - 1 - reverse) * steps;
        #[unroll]
        for e in 0..comptime!(cfg.loads()) {
            let t = place.row + e * comptime!(cfg.rows());
            if t < steps {
                let inside = place.moved_valid && start + t < seq;
                #[unroll]
                for j in 0..cfg.vector {
                    let size = step_size(f32::cast_from(next_dt[e][j]) + bias[j], cfg.softplus);
                    let mut g = f32::cast_from(next_gy[e][j]);
                    if comptime!(cfg.has_z) {
                        g *= gate(f32::cast_from(next_z[e][j]));
                    }
                    s_dt[t * channels + place.column + j] = select(inside, size, 0.0f32);
                    s_gy[t * channels + place.column + j] = select(inside, g, 0.0f32);
                }
            }
        }
        share_grouped(&next_c, &mut s_c, &place, cfg);
        if comptime!(cfg.has_reset) {
            share_keep(params, &mut s_keep, &place, resets + row, start, seq, cfg);
        }
        sync_cube();
        let ahead = select(start >= steps, start - steps, 0);
        fetch(dt, &mut next_dt, &place, row, ahead, seq, d_inner, cfg);
        fetch(gy, &mut next_gy, &place, row, ahead, seq, d_inner, cfg);
        if comptime!(cfg.has_z) {
            fetch(z, &mut next_z, &place, row, ahead, seq, d_inner, cfg);
        }
        fetch_grouped(c, &mut next_c, &place, row, ahead, seq, ngroups, cfg);
        #[unroll(cfg.unroll)]
        for k in 0..steps {
            let t = comptime!(cfg.tile - 1) - k;
            let size = s_dt[t * channels + place.local];
            let g = s_gy[t * channels + place.local];
            time += size;
            if comptime!(cfg.has_reset) {
                kept *= s_keep[t];
            }
            #[unroll]
            for r in 0..reads {
                let c = s_c[t * width + bc + r];
                #[unroll]
                for j in 0..cfg.state_vector {
                    let i = comptime!(r * cfg.state_vector + j);
                    let mut decay = (size * a[i]).exp();
                    if comptime!(cfg.has_reset) {
                        decay *= s_keep[t];
                    }
                    carry[i] = decay * (carry[i] + g * c[j]);
                }
            }
        }
        sync_cube();
    }
    let at = ((batch * ends.shape(1) + chunk) * d_inner + place.channel) * n;
    write_states(ends, &carry, &place, at, cfg);
    #[unroll]
    for i in 0..per_lane {
        carry[i] = (time * a[i]).exp() * kept;
    }
    write_states(decays, &carry, &place, at, cfg);
}

/// Chains the ends of chunks: `out[slot of k] = decays[k] * out[slot before] + ends[k]`, one unit for each
/// channel and state. With `backward` from the last chunk to the first.
///
/// - `ends`, `decays`: `[batch, chunks, width]`
/// - `start`: `[.., batch, width]` from `start_at` on, what the chain starts from, if `has_start`
/// - `out`: `[batch, slots, width]`; forward, chunk `k` writes slot `(k + 1) * stride - 1` for all but the last;
///   backward, chunk `k` writes slot `k - 1` for all but the first, and the start goes to the last
#[cube(launch_unchecked)]
pub(in crate::selective_scan) fn chain(
    ends: &Tensor<f32>,
    decays: &Tensor<f32>,
    start: &Tensor<f32>,
    out: &mut Tensor<f32>,
    start_at: usize,
    stride: usize,
    #[comptime] has_start: bool,
    #[comptime] backward: bool,
) {
    let chunks = ends.shape(1);
    let width = ends.shape(2);
    let slots = out.shape(1);
    let column = ABSOLUTE_POS_X as usize;
    let batch = CUBE_POS_Y as usize;
    if column < width {
        let state = RuntimeCell::<f32>::new(0.0f32);
        if comptime!(has_start) {
            state.store(start[start_at + batch * width + column]);
        }
        if comptime!(backward) {
            out[(batch * slots + slots - 1) * width + column] = state.read();
        }
        for k in 1..chunks {
            let chunk = if comptime!(backward) {
                chunks - k
            } else {
                k - 1
            };
            let at = (batch * chunks + chunk) * width + column;
            state.store(decays[at] * state.read() + ends[at]);
            let slot = if comptime!(backward) {
                chunk - 1
            } else {
                (chunk + 1) * stride - 1
            };
            out[(batch * slots + slot) * width + column] = state.read();
        }
    }
}
