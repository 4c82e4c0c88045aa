use super::cooperative::{PLANE, PLANES, SIDE, load_tile, results, room, stride};
use super::{Sizes, TILE, line, plane};
use cubecl::cmma;
use cubecl::prelude::*;

/// As `ssd_chunk_states`, on matrix units: one cube has 64 rows and all columns of a state. The weighted
/// x or dy is rounded to its type, sums are f32. `headdim` is a multiple of 16, and `d_state`, for which
/// the kernel is compiled, too.
///
/// Cubes: chunks of rows, heads, tiles of `headdim`.
#[cube(launch_unchecked)]
pub(in crate::ssd) fn ssd_chunk_states_cooperative<F: Float, N: Size>(
    left: &Tensor<Vector<F, N>>,
    right: &Tensor<Vector<F, N>>,
    scratch: &Tensor<f32>,
    states: &mut Tensor<f32>,
    sizes: &Sizes,
    #[comptime] leaving: bool,
    #[comptime] d_state: usize,
    #[define(F)] _dtype: StorageType,
) {
    let tile = comptime!(TILE);
    let lanes = N::value();
    let unit = UNIT_POS as usize;
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
    let mut columns = room::<F, N>(TILE, d_state);
    let sums = results(d_state);
    let left_step = sizes.nheads * sizes.headdim / lanes;
    let right_step = sizes.ngroups * comptime!(d_state / lanes);
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
        sync_cube();
        let at = batch * sizes.seq + start + begin;
        load_weighted::<F, N>(
            left,
            &mut rows,
            &weights,
            ((at * sizes.nheads + head) * sizes.headdim + row0) / lanes,
            left_step,
            held,
            width / lanes,
        );
        load_tile::<F, F, N>(
            right,
            &mut columns,
            &weights,
            (at * sizes.ngroups + group) * comptime!(d_state / lanes),
            right_step,
            held,
            d_state,
            false,
        );
        sync_cube();
        #[unroll]
        for k in 0..comptime!(TILE / SIDE) {
            let at = (band + comptime!(k * SIDE * stride(TILE))) / lanes;
            let a = cmma::Matrix::<Vector<F, N>>::from_slice(
                cmma::MatrixIdent::A,
                SIDE,
                SIDE,
                SIDE,
                cmma::MatrixLayout::ColMajor,
                &rows.slice(at, rows.len()),
                comptime!(stride(TILE) as u32).runtime(),
            );
            #[unroll]
            for j in 0..comptime!(d_state / SIDE) {
                let at = comptime!((k * SIDE * stride(d_state) + j * SIDE) / lanes);
                let b = cmma::Matrix::<Vector<F, N>>::from_slice(
                    cmma::MatrixIdent::B,
                    SIDE,
                    SIDE,
                    SIDE,
                    cmma::MatrixLayout::RowMajor,
                    &columns.slice(at, columns.len()),
                    comptime!(stride(d_state) as u32).runtime(),
                );
                let sum = sums.index(j);
                cmma::execute::<Vector<F, N>, Vector<F, N>, f32, f32>(&a, &b, sum, sum);
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
        for j in 0..comptime!(d_state / SIDE) {
            let at = (state + row0 + band) * d_state + comptime!(j * SIDE);
            let end = states.len();
            cmma::store(
                &mut states.slice_mut(at, end),
                sums.index(j),
                comptime!(d_state as u32).runtime(),
                cmma::MatrixLayout::RowMajor,
            );
        }
    }
}

/// Copies 64 rows of up to 64 elements, each row multiplied by its weight; the rest of the tile is zero.
#[cube]
fn load_weighted<F: Float, N: Size>(
    source: &Tensor<Vector<F, N>>,
    tile: &mut SharedMemory<Vector<F, N>>,
    weights: &SharedMemory<f32>,
    first: usize,
    step: usize,
    rows: usize,
    vectors: usize,
) {
    let lanes = N::value();
    let across = comptime!(TILE / lanes);
    let pieces = comptime!((TILE * TILE / lanes).div_ceil(PLANES * PLANE));
    #[unroll]
    for piece in 0..pieces {
        let flat = UNIT_POS as usize + comptime!(piece * PLANES * PLANE);
        let row = flat / across;
        let place = flat % across;
        if row < comptime!(TILE) {
            let mut value = Vector::<F, N>::new(F::from_int(0));
            if row < rows && place < vectors {
                let loaded = Vector::<f32, N>::cast_from(source[first + row * step + place]);
                value = Vector::cast_from(loaded * Vector::new(weights[row]));
            }
            tile[row * comptime!(stride(TILE) / lanes) + place] = value;
        }
    }
}
