//! What chunks of a sequence do before all of them can run at once.

use super::place::{
    Place, fetch, fetch_grouped, place, read_states, share_grouped, share_keep, write_states,
};
use super::{Regions, ScanConfig, gate, step_size};
use crate::cube::activation::decay;
use cubecl::prelude::*;

/// The state after each chunk but the last when it starts from zero, and what the chunk leaves of a
/// state before it. Shapes as in [`scan_forward`](super::scan_forward).
///
/// - `memory`: entry `k` of the links belongs to chunk `k`: its end, then what is left of a state
#[cube(launch_unchecked, fast_math = FastMath::all())]
pub(in crate::selective_scan) fn chunk_states<F: Float, V: Size, W: Size>(
    u: &Tensor<Vector<F, V>>,
    dt: &Tensor<Vector<F, V>>,
    b: &Tensor<Vector<F, W>>,
    memory: &mut Tensor<f32>,
    regions: Regions,
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
    let first_tile = chunk * regions.tiles_per_chunk;
    let bc = (place.slot * cfg.lanes + place.lane) * reads;

    let mut s_dt = SharedMemory::<f32>::new(comptime!(cfg.tile * cfg.channels()));
    let mut s_input = SharedMemory::<f32>::new(comptime!(cfg.tile * cfg.channels()));
    let mut s_b = SharedMemory::<Vector<f32, W>>::new(comptime!(cfg.tile * cfg.bc_width()));
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
    #[unroll]
    for i in 0..per_lane {
        h[i] = 0.0f32;
    }
    let mut bias = Array::<f32>::new(cfg.vector);
    #[unroll]
    for j in 0..cfg.vector {
        bias[j] = memory[(place.moved_channel + j) * comptime!(cfg.d_state + 2) + n + 1];
    }
    let mut time = 0.0f32;
    let mut kept = 1.0f32;

    let mut next_u = Array::<Vector<F, V>>::new(comptime!(cfg.loads()));
    let mut next_dt = Array::<Vector<F, V>>::new(comptime!(cfg.loads()));
    let mut next_b = Array::<Vector<F, W>>::new(comptime!(cfg.bc_loads()));
    let first = first_tile * steps;
    fetch(u, &mut next_u, &place, batch, first, seq, cfg);
    fetch(dt, &mut next_dt, &place, batch, first, seq, cfg);
    fetch_grouped(b, &mut next_b, &place, batch, first, seq, ngroups, cfg);

    for tile in first_tile..first_tile + regions.tiles_per_chunk {
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
        let ahead = start + steps;
        fetch(u, &mut next_u, &place, batch, ahead, seq, cfg);
        fetch(dt, &mut next_dt, &place, batch, ahead, seq, cfg);
        fetch_grouped(b, &mut next_b, &place, batch, ahead, seq, ngroups, cfg);
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
                    let mut decay = decay(size * a[i]);
                    if comptime!(cfg.has_reset) {
                        decay *= s_keep[t];
                    }
                    h[i] = decay * h[i] + input * b[j];
                }
            }
        }
        sync_cube();
    }
    leave(
        memory, &mut h, &a, &place, time, kept, d_inner, chunk, &regions, cfg,
    );
}

/// The gradient of the state before each chunk but the first when none comes from the chunk behind it.
/// Shapes as in [`scan_backward`](super::scan_backward); outputs as in [`chunk_states`].
#[cube(launch_unchecked, fast_math = FastMath::all())]
pub(in crate::selective_scan) fn chunk_adjoints<F: Float, V: Size, W: Size>(
    dt: &Tensor<Vector<F, V>>,
    c: &Tensor<Vector<F, W>>,
    z: &Tensor<Vector<F, V>>,
    gy: &Tensor<Vector<F, V>>,
    memory: &mut Tensor<f32>,
    regions: Regions,
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
    let first_tile = chunk * regions.tiles_per_chunk;
    let last_tile = (first_tile + regions.tiles_per_chunk).min(seq.div_ceil(steps));
    let bc = (place.slot * cfg.lanes + place.lane) * reads;

    let mut s_dt = SharedMemory::<f32>::new(comptime!(cfg.tile * cfg.channels()));
    let mut s_gy = SharedMemory::<f32>::new(comptime!(cfg.tile * cfg.channels()));
    let mut s_c = SharedMemory::<Vector<f32, W>>::new(comptime!(cfg.tile * cfg.bc_width()));
    let mut s_keep = SharedMemory::<f32>::new(cfg.tile);

    let mut a = Array::<f32>::new(per_lane);
    let mut carry = Array::<f32>::new(per_lane);
    read_states(
        memory,
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
        bias[j] = memory[(place.moved_channel + j) * comptime!(cfg.d_state + 2) + n + 1];
    }
    let mut time = 0.0f32;
    let mut kept = 1.0f32;

    let mut next_dt = Array::<Vector<F, V>>::new(comptime!(cfg.loads()));
    let mut next_z = Array::<Vector<F, V>>::new(comptime!(cfg.loads()));
    let mut next_gy = Array::<Vector<F, V>>::new(comptime!(cfg.loads()));
    let mut next_c = Array::<Vector<F, W>>::new(comptime!(cfg.bc_loads()));
    let first = (last_tile - 1) * steps;
    fetch(dt, &mut next_dt, &place, batch, first, seq, cfg);
    fetch(gy, &mut next_gy, &place, batch, first, seq, cfg);
    if comptime!(cfg.has_z) {
        fetch(z, &mut next_z, &place, batch, first, seq, cfg);
    }
    fetch_grouped(c, &mut next_c, &place, batch, first, seq, ngroups, cfg);

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
        let ahead = select(start >= steps, start - steps, 0);
        fetch(dt, &mut next_dt, &place, batch, ahead, seq, cfg);
        fetch(gy, &mut next_gy, &place, batch, ahead, seq, cfg);
        if comptime!(cfg.has_z) {
            fetch(z, &mut next_z, &place, batch, ahead, seq, cfg);
        }
        fetch_grouped(c, &mut next_c, &place, batch, ahead, seq, ngroups, cfg);
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
                    let mut decay = decay(size * a[i]);
                    if comptime!(cfg.has_reset) {
                        decay *= s_keep[t];
                    }
                    carry[i] = decay * (carry[i] + g * c[j]);
                }
            }
        }
        sync_cube();
    }
    leave(
        memory, &mut carry, &a, &place, time, kept, d_inner, chunk, &regions, cfg,
    );
}

/// Writes a chunk's end, `state`, and what is left of a state after its steps, `time` long; `kept` is 0 if a
/// document starts among them, else 1.
#[cube]
fn leave(
    memory: &mut Tensor<f32>,
    state: &mut Array<f32>,
    a: &Array<f32>,
    place: &Place,
    time: f32,
    kept: f32,
    d_inner: usize,
    chunk: usize,
    regions: &Regions,
    #[comptime] cfg: ScanConfig,
) {
    let at = link(place, d_inner, chunk, regions, cfg);
    write_states(memory, state, place, at, cfg);
    #[unroll]
    for i in 0..cfg.per_lane {
        state[i] = decay(time * a[i]) * kept;
    }
    let decays = CUBE_COUNT_Y as usize * regions.chunks * d_inner * cfg.d_state;
    write_states(memory, state, place, at + decays, cfg);
}

/// Where a chunk's end is.
#[cube]
fn link(
    place: &Place,
    d_inner: usize,
    chunk: usize,
    regions: &Regions,
    #[comptime] cfg: ScanConfig,
) -> usize {
    let batch = CUBE_POS_Y as usize;
    regions.links + ((batch * regions.chunks + chunk) * d_inner + place.channel) * cfg.d_state
}

/// What a chunk starts from: `state` is chained through the links of the chunks before it, or behind
/// it if `backward`.
#[cube]
pub(super) fn follow(
    memory: &Tensor<f32>,
    state: &mut Array<f32>,
    place: &Place,
    d_inner: usize,
    regions: &Regions,
    #[comptime] backward: bool,
    #[comptime] cfg: ScanConfig,
) {
    let chunk = CUBE_POS_Z as usize;
    let decays = CUBE_COUNT_Y as usize * regions.chunks * d_inner * cfg.d_state;
    let mut end = Array::<f32>::new(cfg.per_lane);
    let mut left = Array::<f32>::new(cfg.per_lane);
    let mut count = chunk;
    if comptime!(backward) {
        count = regions.chunks - 1 - chunk;
    }
    for k in 0..count {
        let mut other = k;
        if comptime!(backward) {
            other = regions.chunks - 1 - k;
        }
        let at = link(place, d_inner, other, regions, cfg);
        read_states(memory, &mut end, place, at, cfg);
        read_states(memory, &mut left, place, at + decays, cfg);
        #[unroll]
        for i in 0..cfg.per_lane {
            state[i] = left[i] * state[i] + end[i];
        }
    }
}
