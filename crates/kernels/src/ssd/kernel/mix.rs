use super::slices::{SIDE, SLICE, STRIDE, clear, load_rows, load_turned, multiply, slice};
use super::{Sizes, TILE, line, plane};
use cubecl::prelude::*;

/// What the kernel is compiled for. The four uses, with their operands:
///
/// | result | query | key | value | own | states |
/// | --- | --- | --- | --- | --- | --- |
/// | y | c | b | x | x | entering |
/// | dx, `reverse` | b | c | dy | x | gradients |
/// | db, `reverse`, not `into_heads` | x | dy | c | b | gradients |
/// | dc, not `into_heads` | dy | x | b | c | entering |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::ssd) struct Mix {
    /// A step sees later steps instead of earlier ones.
    pub(in crate::ssd) reverse: bool,
    /// The result has heads; else groups, summed over their heads.
    pub(in crate::ssd) into_heads: bool,
    /// Adds the skip weight times `value`.
    pub(in crate::ssd) has_d: bool,
    /// Keeps the products of `own` with the result (without skip and step size) and, with `has_d`,
    /// with `value`.
    pub(in crate::ssd) has_dots: bool,
    /// Planes before the skip weights.
    pub(in crate::ssd) planes: usize,
}

/// Distance of the steps of the mixing matrix in shared memory.
const MIXED: usize = TILE + 1;
/// Distance of the rows of partial dot products.
const PARTIAL: usize = SLICE + 1;

/// One element of a vector at a runtime place.
#[cube]
fn element<F: Float, N: Size>(values: &Tensor<Vector<F, N>>, at: usize) -> f32 {
    let lanes = N::value();
    let vector = values[at / lanes];
    let mut found = 0.0f32;
    #[unroll]
    for lane in 0..lanes {
        if at % lanes == lane {
            found = f32::cast_from(vector[lane]);
        }
    }
    found
}

/// Sums each row's parts, one a unit column, and writes the sums of `rows` rows.
#[cube]
fn write_dots(
    parts: &Array<f32>,
    shared: &mut SharedMemory<f32>,
    scratch: &mut Tensor<f32>,
    at: usize,
    rows: usize,
) {
    let unit = UNIT_POS as usize;
    let row = unit / comptime!(SLICE);
    sync_cube();
    #[unroll]
    for i in 0..comptime!(SIDE) {
        shared[(row + comptime!(i * SLICE)) * comptime!(PARTIAL) + unit % comptime!(SLICE)] =
            parts[i];
    }
    sync_cube();
    if unit < rows {
        let mut sum = 0.0f32;
        for part in 0..comptime!(SLICE) {
            sum += shared[unit * comptime!(PARTIAL) + part];
        }
        scratch[at + unit] = sum;
    }
}

/// `sum over s of (query_t . key_s) decay_ts dt_s value_s + decay_t state query_t`, for 64 steps t
/// and 64 columns of the result; with `reverse` over later steps, and `dt_t` before all.
///
/// Cubes: tiles of steps of rows, heads or groups, tiles of columns.
#[cube(launch_unchecked)]
pub(in crate::ssd) fn ssd_mix<F: Float, N: Size>(
    query: &Tensor<Vector<F, N>>,
    key: &Tensor<Vector<F, N>>,
    value: &Tensor<Vector<F, N>>,
    own: &Tensor<F>,
    states: &Tensor<Vector<f32, N>>,
    scratch: &mut Tensor<f32>,
    out: &mut Tensor<F>,
    sizes: &Sizes,
    dots_plane: usize,
    skip_plane: usize,
    #[comptime] mix: Mix,
    #[define(F)] _dtype: StorageType,
) {
    let tile = comptime!(TILE);
    let lanes = N::value();
    let unit = UNIT_POS as usize;
    let row = unit / comptime!(SLICE);
    let column = unit % comptime!(SLICE);
    let tiles = sizes.seq.div_ceil(tile);
    let batch = CUBE_POS_X as usize / tiles;
    let start = CUBE_POS_X as usize % tiles * tile;
    let stream = CUBE_POS_Y as usize;
    let column0 = CUBE_POS_Z as usize * tile;
    let rows = clamp_max(tile, sizes.seq - start);
    let chunk = start / sizes.chunk;
    let chunk_start = chunk * sizes.chunk;
    let chunk_end = clamp_max(chunk_start + sizes.chunk, sizes.seq);
    let ratio = sizes.nheads / sizes.ngroups;

    // Streams side by side in a step of query and key, and of value and result; their widths.
    let mut inner = sizes.d_state;
    let mut inner_streams = sizes.ngroups;
    let mut width = sizes.headdim;
    let mut streams = sizes.nheads;
    let mut first_head = stream;
    let mut heads = 1usize.runtime();
    let mut seen = chunk_start;
    let mut seen_end = start + tile;
    let mut slot = chunk;
    if comptime!(!mix.into_heads) {
        inner = sizes.headdim;
        inner_streams = sizes.nheads;
        width = sizes.d_state;
        streams = sizes.ngroups;
        first_head = stream * ratio;
        heads = ratio;
    }
    if comptime!(mix.reverse) {
        seen = start;
        seen_end = chunk_end;
        slot += 1;
    }
    let inner_stride = inner_streams * inner / lanes;
    let slices = inner.div_ceil(comptime!(SLICE));
    let value_first = (batch * sizes.seq * streams + stream) * width;

    let mut left = slice();
    let mut right = slice();
    let mut mixed = SharedMemory::<f32>::new(comptime!(TILE * MIXED));
    let mut scores = Array::<f32>::new(comptime!(SIDE * SIDE));
    let mut sums = Array::<f32>::new(comptime!(SIDE * SIDE));
    let mut total = Array::<f32>::new(comptime!(SIDE * SIDE));
    clear(&mut total);

    for index in 0..heads {
        let head = first_head + index;
        let mut inner_stream = head;
        if comptime!(mix.into_heads) {
            inner_stream = head / ratio;
        }
        let inner_first = (batch * sizes.seq * inner_streams + inner_stream) * inner / lanes;
        let dt = line(sizes, plane::DT, batch, head);
        let cum = line(sizes, plane::CUM, batch, head);
        let rest = line(sizes, plane::REST, batch, head);
        let first = line(sizes, plane::FIRST, batch, head);
        let mut row_cum = Array::<f32>::new(comptime!(SIDE));
        let mut row_rest = Array::<f32>::new(comptime!(SIDE));
        let mut row_first = Array::<f32>::new(comptime!(SIDE));
        #[unroll]
        for i in 0..comptime!(SIDE) {
            let step = clamp_max(start + row + comptime!(i * SLICE), sizes.seq - 1);
            row_cum[i] = scratch[cum + step];
            row_rest[i] = scratch[rest + step];
            row_first[i] = scratch[first + step];
        }

        // From the state at the boundary.
        clear(&mut sums);
        let state = (batch * (sizes.chunks + 1) + slot) * sizes.nheads + head;
        let state_first = state * sizes.headdim * sizes.d_state / lanes;
        for slice in 0..slices {
            let from = slice * comptime!(SLICE);
            sync_cube();
            let query_first = inner_first + start * inner_stride;
            load_turned::<F, N>(
                query,
                &mut left,
                query_first,
                inner_stride,
                rows,
                from,
                inner,
            );
            if comptime!(mix.into_heads) {
                let at = state_first + column0 * inner / lanes;
                let held = width - column0;
                load_turned::<f32, N>(states, &mut right, at, inner / lanes, held, from, inner);
            } else {
                let at = state_first + from * width / lanes;
                let held = inner - from;
                load_rows::<f32, N>(states, &mut right, at, width / lanes, held, column0, width);
            }
            sync_cube();
            multiply(&left, 0usize, STRIDE, &right, &mut sums);
        }
        #[unroll]
        for i in 0..comptime!(SIDE) {
            let mut decay = 0.0f32;
            if comptime!(mix.reverse) {
                let step = f32::cast_from(start + row + comptime!(i * SLICE) - chunk_start);
                if step >= scratch[first + chunk_end - 1] {
                    let sums = scratch[cum + chunk_end - 1] - row_cum[i];
                    let rests = scratch[rest + chunk_end - 1] - row_rest[i];
                    decay = (sums + rests).exp();
                }
            } else {
                if row_first[i] < 0.0f32 {
                    decay = (row_cum[i] + row_rest[i]).exp();
                }
            }
            #[unroll]
            for j in 0..comptime!(SIDE) {
                sums[i * comptime!(SIDE) + j] *= decay;
            }
        }

        // From the steps of the chunk.
        for other in 0..(seen_end - seen).div_ceil(tile) {
            let begin = seen + other * tile;
            let held = clamp_max(tile, sizes.seq - begin);
            clear(&mut scores);
            for slice in 0..slices {
                let from = slice * comptime!(SLICE);
                sync_cube();
                let query_first = inner_first + start * inner_stride;
                load_turned::<F, N>(
                    query,
                    &mut left,
                    query_first,
                    inner_stride,
                    rows,
                    from,
                    inner,
                );
                let key_first = inner_first + begin * inner_stride;
                load_turned::<F, N>(key, &mut right, key_first, inner_stride, held, from, inner);
                sync_cube();
                multiply(&left, 0usize, STRIDE, &right, &mut scores);
            }
            #[unroll]
            for j in 0..comptime!(SIDE) {
                let local = column + comptime!(j * SLICE);
                let step = clamp_max(begin + local, sizes.seq - 1);
                let step_cum = scratch[cum + step];
                let step_rest = scratch[rest + step];
                let step_first = scratch[first + step];
                let mut weight = 1.0f32;
                if comptime!(!mix.reverse) {
                    weight = scratch[dt + step];
                }
                #[unroll]
                for i in 0..comptime!(SIDE) {
                    let own_step = start + row + comptime!(i * SLICE);
                    let mut mixing = 0.0f32;
                    if local < held && own_step < sizes.seq {
                        if comptime!(mix.reverse) {
                            let place = f32::cast_from(own_step - chunk_start);
                            if step >= own_step && place >= step_first {
                                let rests = step_rest - row_rest[i];
                                mixing = (step_cum - row_cum[i] + rests).exp();
                            }
                        } else {
                            let place = f32::cast_from(step - chunk_start);
                            if step <= own_step && place >= row_first[i] {
                                let rests = row_rest[i] - step_rest;
                                mixing = (row_cum[i] - step_cum + rests).exp() * weight;
                            }
                        }
                    }
                    mixed[local * comptime!(MIXED) + row + comptime!(i * SLICE)] =
                        scores[i * comptime!(SIDE) + j] * mixing;
                }
            }
            for slice in 0..comptime!(TILE / SLICE) {
                let from = slice * comptime!(SLICE);
                sync_cube();
                load_rows::<F, N>(
                    value,
                    &mut right,
                    (value_first + (begin + from) * streams * width) / lanes,
                    streams * width / lanes,
                    clamp_min(held, from) - from,
                    column0,
                    width,
                );
                sync_cube();
                multiply(&mixed, from * comptime!(MIXED), MIXED, &right, &mut sums);
            }
        }

        if comptime!(mix.has_dots) {
            let mut dots = Array::<f32>::new(comptime!(SIDE));
            let mut skips = Array::<f32>::new(comptime!(SIDE));
            #[unroll]
            for i in 0..comptime!(SIDE) {
                dots[i] = 0.0f32;
                skips[i] = 0.0f32;
                let step = start + row + comptime!(i * SLICE);
                #[unroll]
                for j in 0..comptime!(SIDE) {
                    let place = column0 + column + comptime!(j * SLICE);
                    if step < sizes.seq && place < width {
                        let at = value_first + step * streams * width + place;
                        let own = f32::cast_from(own[at]);
                        dots[i] += own * sums[i * comptime!(SIDE) + j];
                        if comptime!(mix.has_d) {
                            skips[i] += own * element::<F, N>(value, at);
                        }
                    }
                }
            }
            let plane = dots_plane + CUBE_POS_Z as usize;
            let at = line(sizes, plane, batch, head) + start;
            write_dots(&dots, &mut mixed, scratch, at, rows);
            if comptime!(mix.has_d) {
                let plane = skip_plane + CUBE_POS_Z as usize;
                let at = line(sizes, plane, batch, head) + start;
                write_dots(&skips, &mut mixed, scratch, at, rows);
            }
        }
        #[unroll]
        for i in 0..comptime!(SIDE) {
            let mut weight = 1.0f32;
            if comptime!(mix.reverse) {
                let step = clamp_max(start + row + comptime!(i * SLICE), sizes.seq - 1);
                weight = scratch[dt + step];
            }
            #[unroll]
            for j in 0..comptime!(SIDE) {
                total[i * comptime!(SIDE) + j] += sums[i * comptime!(SIDE) + j] * weight;
            }
        }
    }

    #[unroll]
    for i in 0..comptime!(SIDE) {
        let step = start + row + comptime!(i * SLICE);
        #[unroll]
        for j in 0..comptime!(SIDE) {
            let place = column0 + column + comptime!(j * SLICE);
            if step < sizes.seq && place < width {
                let at = value_first + step * streams * width + place;
                let mut result = total[i * comptime!(SIDE) + j];
                if comptime!(mix.has_d) {
                    let skip = scratch[line(sizes, mix.planes, 0, 0) + stream];
                    result += skip * element::<F, N>(value, at);
                }
                out[at] = F::cast_from(result);
            }
        }
    }
}
