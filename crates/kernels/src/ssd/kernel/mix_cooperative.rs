//! The mixing kernel on matrix units.
#![expect(
    clippy::manual_is_multiple_of,
    reason = "kernel code, which has no such method"
)]

use super::cooperative::{
    COLUMNS, LANES, PLANE, Pair, Results, SIDE, Split, add_product, add_split, left_rows,
    load_tile, results, right_columns, right_rows, room, scale_rows, sum_row,
};
use super::rows::{Lines, Rows, read_rows, room_for_rows};
use super::{Mix, Sizes, TILE, line, plane};
use cubecl::prelude::*;

/// What the kernel is compiled for: widths are multiples of 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::ssd) struct CooperativeMix {
    pub(in crate::ssd) mix: Mix,
    /// Elements of query and key.
    pub(in crate::ssd) inner: usize,
    /// Elements of value and result.
    pub(in crate::ssd) width: usize,
}

/// What decides the decays of the steps that are seen.
#[derive(CubeType)]
struct Others {
    cum: SharedMemory<f32>,
    rest: SharedMemory<f32>,
    first: SharedMemory<f32>,
    /// Step size, or 1 in reverse.
    weight: SharedMemory<f32>,
}

/// As `ssd_mix`, in which all uses are described, on matrix units: one cube has 64 steps of all columns
/// of the result. Factors are rounded to the operands' type, sums are f32. `skipped` is `value`, in pairs.
/// Where dots are kept, which cancel each other in the gradient of the decays, the rounding errors of scaled factors
/// and states are multiplied too.
///
/// Cubes: tiles of steps of rows, heads or groups.
#[cube(launch_unchecked)]
pub(in crate::ssd) fn ssd_mix_cooperative<F: Float, N: Size, P: Size>(
    query: &Tensor<Vector<F, N>>,
    key: &Tensor<Vector<F, N>>,
    value: &Tensor<Vector<F, N>>,
    own: &Tensor<Vector<F, P>>,
    skipped: &Tensor<Vector<F, P>>,
    states: &Tensor<Vector<f32, N>>,
    scratch: &mut Tensor<f32>,
    out: &mut Tensor<Vector<F, P>>,
    sizes: &Sizes,
    dots_plane: usize,
    skip_plane: usize,
    #[comptime] cooperative: CooperativeMix,
    #[define(F)] _dtype: StorageType,
) {
    let tile = comptime!(TILE);
    let mix = comptime!(cooperative.mix);
    let inner = comptime!(cooperative.inner);
    let width = comptime!(cooperative.width);
    let unit = UNIT_POS as usize;
    let lane = unit % comptime!(PLANE);
    let band = unit / comptime!(PLANE) * comptime!(SIDE);
    // The unit's first row of the tile; the other is 8 below.
    let row = band + lane / 4;
    let tiles = sizes.seq.div_ceil(tile);
    let batch = CUBE_POS_X as usize / tiles;
    let start = CUBE_POS_X as usize % tiles * tile;
    let stream = CUBE_POS_Y as usize;
    let held = clamp_max(tile, sizes.seq - start);
    let chunk = start / sizes.chunk;
    let chunk_start = chunk * sizes.chunk;
    let chunk_end = clamp_max(chunk_start + sizes.chunk, sizes.seq);
    let ratio = sizes.nheads / sizes.ngroups;

    let mut inner_streams = sizes.ngroups;
    let mut streams = sizes.nheads;
    let mut first_head = stream;
    let mut heads = 1usize.runtime();
    let mut seen = chunk_start;
    let mut seen_end = start + tile;
    let mut slot = chunk;
    if comptime!(!mix.into_heads) {
        inner_streams = sizes.nheads;
        streams = sizes.ngroups;
        first_head = stream * ratio;
        heads = ratio;
    }
    if comptime!(mix.reverse) {
        seen = start;
        seen_end = chunk_end;
        slot += 1;
    }
    let inner_step = inner_streams * comptime!(inner / LANES);
    let value_step = streams * comptime!(width / LANES);
    let value_first = (batch * sizes.seq * streams + stream) * width;
    // Pairs of the unit's columns in a row of the result, and the distance of steps.
    let pairs_first = value_first / 2 + lane % 4;
    let pairs_step = streams * comptime!(width / 2);

    let mut left = room::<F, N>(TILE, inner);
    let mut right = room::<F, N>(TILE, inner);
    let mut values = room::<F, N>(TILE, width);
    let mut rows = room_for_rows();
    let mut others = Others {
        cum: SharedMemory::<f32>::new(TILE),
        rest: SharedMemory::<f32>::new(TILE),
        first: SharedMemory::<f32>::new(TILE),
        weight: SharedMemory::<f32>::new(TILE),
    };
    let mut sums = results(width);
    let mut before = Array::<f32>::new(2usize);
    before[0] = 0.0f32;
    before[1] = 0.0f32;

    for index in 0..heads {
        let head = first_head + index;
        let mut inner_stream = head;
        if comptime!(mix.into_heads) {
            inner_stream = head / ratio;
        }
        let inner_first =
            (batch * sizes.seq * inner_streams + inner_stream) * comptime!(inner / LANES);
        let lines = Lines {
            dt: line(sizes, plane::DT, batch, head),
            cum: line(sizes, plane::CUM, batch, head),
            rest: line(sizes, plane::REST, batch, head),
            first: line(sizes, plane::FIRST, batch, head),
        };
        read_rows(
            &mut rows,
            scratch,
            lines,
            start,
            chunk_start,
            chunk_end,
            held,
            mix,
        );
        load_tile::<F, F, N>(
            query,
            &mut left,
            inner_first + start * inner_step,
            inner_step,
            held,
            inner,
            false,
        );

        // From the state at the boundary, in pieces of 64 of its rows.
        let mut decays = Array::<f32>::new(2usize);
        decays[0] = rows.decay[row];
        decays[1] = rows.decay[row + COLUMNS];
        let state = (batch * (sizes.chunks + 1) + slot) * sizes.nheads + head;
        let state_first = state * sizes.headdim * sizes.d_state / LANES;
        // The second time their rounding errors.
        #[unroll]
        for errors in 0..comptime!(1 + usize::from(mix.has_dots)) {
            if comptime!(mix.into_heads) {
                #[unroll]
                for piece in 0..comptime!(width.div_ceil(TILE)) {
                    let columns = comptime!((width - piece * TILE).min(TILE));
                    load_tile::<f32, F, N>(
                        states,
                        &mut right,
                        state_first + comptime!(piece * TILE * inner / LANES),
                        comptime!(inner / LANES).runtime(),
                        columns.runtime(),
                        inner,
                        errors == 1,
                    );
                    sync_cube();
                    #[unroll]
                    for k in 0..comptime!(inner / SIDE) {
                        let a = left_rows::<F, N>(&left, band, comptime!(k * SIDE), inner);
                        let a = scale_rows::<F>(&a, &decays);
                        #[unroll]
                        for j in 0..comptime!(columns / SIDE) {
                            let b = right_columns::<F, N>(
                                &right,
                                comptime!(j * SIDE),
                                comptime!(k * SIDE),
                                inner,
                            );
                            let column = comptime!(piece * TILE + j * SIDE);
                            let exact = comptime!(mix.has_dots && errors == 0);
                            add_split::<F>(&a, &b, &mut sums, column, exact);
                        }
                    }
                    sync_cube();
                }
            } else {
                #[unroll]
                for piece in 0..comptime!(inner.div_ceil(TILE)) {
                    let depth = comptime!((inner - piece * TILE).min(TILE));
                    load_tile::<f32, F, N>(
                        states,
                        &mut values,
                        state_first + comptime!(piece * TILE * width / LANES),
                        comptime!(width / LANES).runtime(),
                        depth.runtime(),
                        width,
                        errors == 1,
                    );
                    sync_cube();
                    #[unroll]
                    for k in 0..comptime!(depth / SIDE) {
                        let at = comptime!(piece * TILE + k * SIDE);
                        let a = left_rows::<F, N>(&left, band, at, inner);
                        let a = scale_rows::<F>(&a, &decays);
                        #[unroll]
                        for j in 0..comptime!(width / SIDE) {
                            let b = right_rows::<F, N>(
                                &values,
                                comptime!(j * SIDE),
                                comptime!(k * SIDE),
                                width,
                            );
                            let exact = comptime!(mix.has_dots && errors == 0);
                            add_split::<F>(&a, &b, &mut sums, comptime!(j * SIDE), exact);
                        }
                    }
                    sync_cube();
                }
            }
        }

        // From the steps of the chunk.
        for other in 0..(seen_end - seen).div_ceil(tile) {
            let begin = seen + other * tile;
            let other_held = clamp_max(tile, sizes.seq - begin);
            load_tile::<F, F, N>(
                key,
                &mut right,
                inner_first + begin * inner_step,
                inner_step,
                other_held,
                inner,
                false,
            );
            load_tile::<F, F, N>(
                value,
                &mut values,
                value_first / LANES + begin * value_step,
                value_step,
                other_held,
                width,
                false,
            );
            if unit < tile {
                let step = clamp_max(begin + unit, sizes.seq - 1);
                others.cum[unit] = scratch[lines.cum + step];
                others.rest[unit] = scratch[lines.rest + step];
                others.first[unit] = scratch[lines.first + step];
                others.weight[unit] = 1.0f32;
                if comptime!(!mix.reverse) {
                    others.weight[unit] = scratch[lines.dt + step];
                }
            }
            sync_cube();
            let mut scores = results(TILE);
            #[unroll]
            for k in 0..comptime!(inner / SIDE) {
                let a = left_rows::<F, N>(&left, band, comptime!(k * SIDE), inner);
                #[unroll]
                for j in 0..comptime!(TILE / SIDE) {
                    let b = right_columns::<F, N>(
                        &right,
                        comptime!(j * SIDE),
                        comptime!(k * SIDE),
                        inner,
                    );
                    add_product::<F>(&a, &b, &mut scores, comptime!(j * SIDE));
                }
            }
            #[unroll]
            for k in 0..comptime!(TILE / SIDE) {
                let mixed = mixing::<F>(
                    &scores,
                    &rows,
                    &others,
                    row,
                    start - chunk_start,
                    begin - chunk_start,
                    held,
                    other_held,
                    comptime!(k * SIDE),
                    mix,
                );
                #[unroll]
                for j in 0..comptime!(width / SIDE) {
                    let b = right_rows::<F, N>(
                        &values,
                        comptime!(j * SIDE),
                        comptime!(k * SIDE),
                        width,
                    );
                    add_split::<F>(&mixed, &b, &mut sums, comptime!(j * SIDE), mix.has_dots);
                }
            }
            sync_cube();
        }

        if comptime!(mix.has_dots && !mix.into_heads) {
            // The results are sums over heads so far: a head's share is the difference.
            #[unroll]
            for lower in 0..2usize {
                let step = start + row + comptime!(lower * COLUMNS);
                let at = pairs_first + clamp_max(step, sizes.seq - 1) * pairs_step;
                let dot = dot_row::<F, P>(own, at, &sums, lower, width);
                if lane % 4 == 0 && step < sizes.seq {
                    scratch[line(sizes, dots_plane, batch, head) + step] = dot - before[lower];
                }
                before[lower] = dot;
            }
        }
    }

    #[unroll]
    for lower in 0..2usize {
        let step = start + row + comptime!(lower * COLUMNS);
        let at = pairs_first + clamp_max(step, sizes.seq - 1) * pairs_step;
        let writes = step < sizes.seq;
        if comptime!(mix.has_dots && mix.into_heads) {
            let dot = dot_row::<F, P>(own, at, &sums, lower, width);
            if lane % 4 == 0 && writes {
                scratch[line(sizes, dots_plane, batch, stream) + step] = dot;
            }
        }
        let mut scale = 1.0f32;
        if comptime!(mix.reverse && mix.into_heads) {
            scale = rows.dt[row + comptime!(lower * COLUMNS)];
        }
        let mut skip = 0.0f32;
        let mut dot = 0.0f32;
        if comptime!(mix.has_d) {
            skip = scratch[line(sizes, mix.planes, 0, 0) + stream];
        }
        let mut found = Array::<Vector<F, P>>::new(comptime!(width / COLUMNS));
        #[unroll]
        for j in 0..comptime!(width / COLUMNS) {
            let place = at + comptime!(j * COLUMNS / 2);
            let sum = sums.index(j)[lower];
            let mut result = Vector::<f32, P>::cast_from(sum) * Vector::new(scale);
            if comptime!(mix.has_d) {
                let passed = Vector::<f32, P>::cast_from(skipped[place]);
                result += Vector::new(skip) * passed;
                if comptime!(mix.has_dots) {
                    let product = Vector::<f32, P>::cast_from(own[place]) * passed;
                    dot += product[0] + product[1];
                }
            }
            found[j] = Vector::cast_from(result);
        }
        if writes {
            // After all reads: a store between them would hold them up.
            #[unroll]
            for j in 0..comptime!(width / COLUMNS) {
                out[at + comptime!(j * COLUMNS / 2)] = found[j];
            }
        }
        if comptime!(mix.has_d && mix.has_dots) {
            let dot = sum_row(dot);
            if lane % 4 == 0 && writes {
                scratch[line(sizes, skip_plane, batch, stream) + step] = dot;
            }
        }
    }
}

/// The left factor of 16 seen steps from `k` of the tile on: scores times the decays between the steps.
/// Steps count within the chunk from `start`, and from `begin`; behind `held` and `other_held` there are none.
#[cube]
fn mixing<F: Float>(
    scores: &Results,
    rows: &Rows,
    others: &Others,
    row: usize,
    start: usize,
    begin: usize,
    held: usize,
    other_held: usize,
    #[comptime] k: usize,
    #[comptime] mix: Mix,
) -> Split<F> {
    let lane = UNIT_POS as usize % PLANE;
    let mut mixed = Split::<F>::new();
    #[unroll]
    for half in 0..2usize {
        #[unroll]
        for lower in 0..2usize {
            let row = row + comptime!(lower * COLUMNS);
            let part = scores.index(comptime!(k / COLUMNS + half))[lower];
            let mut products = Vector::<f32, Pair>::empty();
            #[unroll]
            for e in 0..2usize {
                let column = comptime!(k + half * COLUMNS + e) + lane % 4 * 2;
                let sums = rows.cum[row] - others.cum[column];
                let rests = rows.rest[row] - others.rest[column];
                let mut exponent = sums + rests;
                let mut is_seen = row < held && column < other_held;
                let mut weight = others.weight[column];
                if comptime!(mix.reverse) {
                    exponent = 0.0f32 - exponent;
                    let place = f32::cast_from(start + row);
                    is_seen =
                        is_seen && begin + column >= start + row && place >= others.first[column];
                    if comptime!(!mix.into_heads) {
                        weight = rows.dt[row];
                    }
                } else {
                    let place = f32::cast_from(begin + column);
                    is_seen = is_seen && begin + column <= start + row && place >= rows.first[row];
                }
                let decay = select(is_seen, exponent, f32::new(-1e4)).exp();
                products[e] = part[e] * (decay * weight);
            }
            mixed.set(comptime!(2 * half + lower), products);
        }
    }
    mixed
}

/// Product of the unit's `lower` row of the results with that of `own`, from the pair `at` on.
#[cube]
fn dot_row<F: Float, P: Size>(
    own: &Tensor<Vector<F, P>>,
    at: usize,
    sums: &Results,
    #[comptime] lower: usize,
    #[comptime] width: usize,
) -> f32 {
    let mut dot = 0.0f32;
    #[unroll]
    for j in 0..comptime!(width / COLUMNS) {
        let sum = sums.index(j)[lower];
        let factor = own[at + comptime!(j * COLUMNS / 2)];
        dot += f32::cast_from(factor[0]) * sum[0] + f32::cast_from(factor[1]) * sum[1];
    }
    sum_row(dot)
}
