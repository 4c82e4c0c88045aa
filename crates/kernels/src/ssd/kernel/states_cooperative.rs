use super::cooperative::{
    COLUMNS, LANES, PLANE, PLANES, SIDE, add_product, left_columns, load_tile, results, right_rows,
    room, rounding_error, stride,
};
use super::{Sizes, TILE, line, plane};
use cubecl::prelude::*;

/// As `ssd_chunk_states`, on matrix units: one cube has 64 rows and all columns of a state. The weighted
/// x or dy is rounded to its type, sums are f32; if `exact`, the errors of that rounding are multiplied too. `headdim` is a multiple of 16, and `d_state`, for which
/// the kernel is compiled, too.
///
/// Cubes: chunks of rows, heads, tiles of `headdim`.
#[cube(launch_unchecked)]
pub(in crate::ssd) fn ssd_chunk_states_cooperative<F: Float, N: Size, P: Size>(
    left: &Tensor<Vector<F, N>>,
    right: &Tensor<Vector<F, N>>,
    scratch: &Tensor<f32>,
    states: &mut Tensor<Vector<f32, P>>,
    sizes: &Sizes,
    #[comptime] leaving: bool,
    #[comptime] exact: bool,
    #[comptime] d_state: usize,
    #[define(F)] _dtype: StorageType,
) {
    let tile = comptime!(TILE);
    let unit = UNIT_POS as usize;
    let lane = unit % comptime!(PLANE);
    let band = unit / comptime!(PLANE) * comptime!(SIDE);
    let batch = CUBE_POS_X as usize / sizes.chunks;
    let chunk = CUBE_POS_X as usize % sizes.chunks;
    let head = CUBE_POS_Y as usize;
    let group = head / (sizes.nheads / sizes.ngroups);
    let row0 = CUBE_POS_Z as usize * tile;
    let start = chunk * sizes.chunk;
    let length = clamp_max(sizes.chunk, sizes.seq - start);
    let cum = line(sizes, plane::CUM, batch, head) + start;
    let rest = line(sizes, plane::REST, batch, head) + start;
    let first = line(sizes, plane::FIRST, batch, head) + start;

    let mut weights = SharedMemory::<f32>::new(tile);
    let mut rows = room::<F, N>(TILE, TILE);
    let mut errors = room::<F, N>(comptime!(if exact { TILE } else { 8 }), TILE);
    let mut columns = room::<F, N>(TILE, d_state);
    let mut sums = results(d_state);
    let left_step = sizes.nheads * sizes.headdim / LANES;
    let right_step = sizes.ngroups * comptime!(d_state / LANES);
    let width = clamp_max(tile, sizes.headdim - row0);
    for part in 0..length.div_ceil(tile) {
        let begin = part * tile;
        let held = clamp_max(tile, length - begin);
        sync_cube();
        if unit < tile {
            let step = begin + unit;
            let mut weight = 0.0f32;
            if unit < held {
                if comptime!(leaving) {
                    if f32::cast_from(step) >= scratch[first + length - 1] {
                        let sums = scratch[cum + length - 1] - scratch[cum + step];
                        let rests = scratch[rest + length - 1] - scratch[rest + step];
                        weight = (sums + rests).exp()
                            * scratch[line(sizes, plane::DT, batch, head) + start + step];
                    }
                } else {
                    if scratch[first + step] < 0.0f32 {
                        weight = (scratch[cum + step] + scratch[rest + step]).exp();
                    }
                }
            }
            weights[unit] = weight;
        }
        let at = batch * sizes.seq + start + begin;
        load_tile::<F, F, N>(
            right,
            &mut columns,
            (at * sizes.ngroups + group) * comptime!(d_state / LANES),
            right_step,
            held,
            d_state,
            false,
        );
        sync_cube();
        load_weighted::<F, N>(
            left,
            &mut rows,
            &mut errors,
            &weights,
            ((at * sizes.nheads + head) * sizes.headdim + row0) / LANES,
            left_step,
            held,
            width / LANES,
            exact,
        );
        sync_cube();
        #[unroll]
        for k in 0..comptime!(TILE / SIDE) {
            let a = left_columns::<F, N>(&rows, band, comptime!(k * SIDE), TILE);
            #[unroll]
            for j in 0..comptime!(d_state / SIDE) {
                let b =
                    right_rows::<F, N>(&columns, comptime!(j * SIDE), comptime!(k * SIDE), d_state);
                add_product::<F>(&a, &b, &mut sums, comptime!(j * SIDE));
                if comptime!(exact) {
                    let a = left_columns::<F, N>(&errors, band, comptime!(k * SIDE), TILE);
                    add_product::<F>(&a, &b, &mut sums, comptime!(j * SIDE));
                }
            }
        }
    }
    let mut slot = chunk;
    if comptime!(leaving) {
        slot += 1;
    }
    let state = ((batch * (sizes.chunks + 1) + slot) * sizes.nheads + head) * sizes.headdim;
    if band < width {
        #[unroll]
        for j in 0..comptime!(d_state / COLUMNS) {
            #[unroll]
            for lower in 0..2usize {
                let row = state + row0 + band + lane / 4 + comptime!(lower * COLUMNS);
                let at = row * comptime!(d_state / 2) + comptime!(j * COLUMNS / 2) + lane % 4;
                states[at] = Vector::cast_from(sums.index(j)[lower]);
            }
        }
    }
}

/// Copies 64 rows of up to 64 elements, each row multiplied by its weight; the rest of the tile is zero. If
/// `exact`, `errors` gets what rounding takes away.
#[cube]
fn load_weighted<F: Float, N: Size>(
    source: &Tensor<Vector<F, N>>,
    tile: &mut SharedMemory<Vector<F, N>>,
    errors: &mut SharedMemory<Vector<F, N>>,
    weights: &SharedMemory<f32>,
    first: usize,
    step: usize,
    rows: usize,
    vectors: usize,
    #[comptime] exact: bool,
) {
    let across = comptime!(TILE / LANES);
    let pieces = comptime!(TILE * TILE / LANES / (PLANES * PLANE));
    let mut loaded = Array::<Vector<F, N>>::new(pieces);
    #[unroll]
    for piece in 0..pieces {
        let flat = UNIT_POS as usize + comptime!(piece * PLANES * PLANE);
        let row = clamp_max(flat / across, rows - 1);
        let place = clamp_max(flat % across, vectors - 1);
        loaded[piece] = source[first + row * step + place];
    }
    #[unroll]
    for piece in 0..pieces {
        let flat = UNIT_POS as usize + comptime!(piece * PLANES * PLANE);
        let row = flat / across;
        let place = flat % across;
        let weight = select(row < rows && place < vectors, weights[row], 0.0f32);
        let weighted = Vector::<f32, N>::cast_from(loaded[piece]) * Vector::new(weight);
        let at = row * comptime!(stride(TILE) / LANES) + place;
        tile[at] = Vector::cast_from(weighted);
        if comptime!(exact) {
            errors[at] = rounding_error::<F, N>(weighted);
        }
    }
}
