use super::Tile;
use crate::decode_step::kernel::{normalize, silu};
use cubecl::prelude::*;

/// Cube `(i, sequence)` takes the `i`-th `heads` heads of a sequence through all its tokens. Without a tensor of their own
/// the counts of kept tokens are behind the `weights` elements of `packed`.
#[cube(launch_unchecked)]
pub(in crate::verify) fn verify_states<F: Float, S: Float, N: Size>(
    rows: &Array<F>,
    states: &Array<Vector<S, N>>,
    cache: &Array<f32>,
    next_cache: &Array<f32>,
    kept: &ComptimeOption<Array<f32>>,
    packed: &Array<f32>,
    y: &mut Array<F>,
    next_states: &mut Array<Vector<S, N>>,
    tokens: usize,
    cached: usize,
    weights: usize,
    eps: f32,
    #[comptime] tile: Tile,
    #[define(F, S)] _dtypes: [StorageType; 2],
) {
    let layout = comptime!(tile.layout);
    let width = comptime!(tile.entry()[4]);
    let channels = comptime!(layout.channels());
    let d_inner = comptime!(tile.d_inner());
    let (units, sharers) = comptime!((layout.units, layout.sharers));
    let unit = UNIT_POS_X as usize;
    let sequence = CUBE_POS_Y as usize;
    let batch = CUBE_COUNT_Y as usize;
    let first_head = CUBE_POS_X as usize * layout.heads;
    let first = first_head * layout.headdim;

    let mut partial = SharedMemory::<f32>::new(comptime!(channels * sharers));
    let mut sums = SharedMemory::<f32>::new(units);
    let mut ys = SharedMemory::<f32>::new(channels);
    let mut state = Array::<f32>::new(comptime!(tile.states()));

    #[comptime]
    let kept = match &kept {
        ComptimeOption::Some(kept) => kept[sequence],
        ComptimeOption::None => packed[weights + sequence],
    };
    let count = usize::cast_from(kept);
    // Keeping all needs no replay: the states after them are there.
    let mut start = sequence;
    let mut replayed = count;
    if count == cached {
        start = batch + sequence;
        replayed = 0usize;
    }
    load::<S, N>(states, &mut state, start * d_inner + first, first, tile);
    for token in 0..replayed {
        let entry = (sequence * cached + token) * width;
        advance(
            cache,
            packed,
            &mut state,
            &mut partial,
            entry,
            first_head,
            false,
            tile,
        );
    }
    let at = sequence * d_inner + first;
    store::<S, N>(next_states, &state, at, first, tile);

    for token in 0..tokens {
        let line = sequence * tokens + token;
        let entry = line * width;
        advance(
            next_cache,
            packed,
            &mut state,
            &mut partial,
            entry,
            first_head,
            true,
            tile,
        );
        sync_cube();
        let mut square = 0.0f32;
        for round in 0..comptime!(channels.div_ceil(units)) {
            let at = round * units + unit;
            if at < channels && first + at < d_inner {
                let head = first_head + at / layout.headdim;
                let mut sum = packed[layout.packed[5] + head] * next_cache[entry + first + at];
                #[unroll]
                for sharer in 0..sharers {
                    sum += partial[at * sharers + sharer];
                }
                if comptime!(layout.has_z) {
                    sum *= silu(f32::cast_from(rows[line * layout.row_width + first + at]));
                }
                if comptime!(layout.has_norm) {
                    square += sum * sum;
                    ys[at] = sum;
                } else {
                    y[line * d_inner + first + at] = F::cast_from(sum);
                }
            }
        }
        if comptime!(layout.has_norm) {
            let out = line * d_inner + first;
            normalize::<F>(&ys, square, &mut sums, packed, y, first, out, eps, layout);
        }
        // Before the next token overwrites what was just read.
        sync_cube();
    }
    store::<S, N>(next_states, &state, batch * d_inner + at, first, tile);
}

/// Reads the unit's states; `line` is that of the cube's first channel, `first` this channel.
#[cube]
fn load<S: Float, N: Size>(
    states: &Array<Vector<S, N>>,
    state: &mut Array<f32>,
    line: usize,
    first: usize,
    #[comptime] tile: Tile,
) {
    let layout = comptime!(tile.layout);
    let sharers = comptime!(layout.sharers);
    let unit = UNIT_POS_X as usize;
    #[unroll]
    for round in 0..tile.rounds() {
        let at = round * comptime!(tile.slots()) + unit / sharers;
        let is_inside = at < comptime!(layout.channels()) && first + at < comptime!(tile.d_inner());
        #[unroll]
        for index in 0..layout.held {
            let mut value = Vector::<S, N>::empty();
            if is_inside {
                let vector = (line + at) * comptime!(sharers * layout.held) + index * sharers;
                value = states[vector + unit % sharers];
            }
            #[unroll]
            for lane in 0..tile.wide {
                let place = comptime!((round * layout.held + index) * tile.wide + lane);
                state[place] = f32::cast_from(value[lane]);
            }
        }
    }
}

/// Writes what [`load`] reads.
#[cube]
fn store<S: Float, N: Size>(
    states: &mut Array<Vector<S, N>>,
    state: &Array<f32>,
    line: usize,
    first: usize,
    #[comptime] tile: Tile,
) {
    let layout = comptime!(tile.layout);
    let sharers = comptime!(layout.sharers);
    let unit = UNIT_POS_X as usize;
    #[unroll]
    for round in 0..tile.rounds() {
        let at = round * comptime!(tile.slots()) + unit / sharers;
        if at < comptime!(layout.channels()) && first + at < comptime!(tile.d_inner()) {
            #[unroll]
            for index in 0..layout.held {
                let mut value = Vector::<S, N>::empty();
                #[unroll]
                for lane in 0..tile.wide {
                    let place = comptime!((round * layout.held + index) * tile.wide + lane);
                    value[lane] = S::cast_from(state[place]);
                }
                let vector = (line + at) * comptime!(sharers * layout.held) + index * sharers;
                states[vector + unit % sharers] = value;
            }
        }
    }
}

/// Takes the unit's states through one token, whose inputs start at `entry`; with `output` its
/// parts of the sums over states go to `partial`.
#[cube]
fn advance(
    cache: &Array<f32>,
    packed: &Array<f32>,
    state: &mut Array<f32>,
    partial: &mut SharedMemory<f32>,
    entry: usize,
    first_head: usize,
    #[comptime] output: bool,
    #[comptime] tile: Tile,
) {
    let layout = comptime!(tile.layout);
    let [_, b_at, c_at, dt_at, _] = comptime!(tile.entry());
    let (sharers, d_state) = comptime!((layout.sharers, layout.d_state));
    let unit = UNIT_POS_X as usize;
    let sharer = unit % sharers;
    let first = first_head * layout.headdim;
    #[unroll]
    for round in 0..tile.rounds() {
        let at = round * comptime!(tile.slots()) + unit / sharers;
        if at < comptime!(layout.channels()) && first + at < comptime!(tile.d_inner()) {
            let head = first_head + at / layout.headdim;
            let group = head / layout.heads_per_group * d_state;
            let dt = cache[entry + dt_at + head];
            let input = dt * cache[entry + first + at];
            let mut decay = 0.0f32;
            if comptime!(!layout.a_is_per_state) {
                decay = (dt * packed[layout.packed[4] + head]).exp();
            }
            let mut sum = 0.0f32;
            #[unroll]
            for index in 0..layout.held {
                #[unroll]
                for lane in 0..tile.wide {
                    let place = comptime!((round * layout.held + index) * tile.wide + lane);
                    let n = (index * sharers + sharer) * tile.wide + lane;
                    if comptime!(layout.a_is_per_state) {
                        decay = (dt * packed[layout.packed[4] + head * d_state + n]).exp();
                    }
                    let value = decay * state[place] + input * cache[entry + b_at + group + n];
                    state[place] = value;
                    if comptime!(output) {
                        sum += value * cache[entry + c_at + group + n];
                    }
                }
            }
            if comptime!(output) {
                partial[at * sharers + sharer] = sum;
            }
        }
    }
}
