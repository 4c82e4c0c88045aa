//! Products of tiles on matrix units: each plane holds 16 rows of a result in its registers.

use super::TILE;
use cubecl::cmma::{self, MatrixIdent, MatrixLayout};
use cubecl::prelude::*;

/// Side of the matrices that the units multiply.
pub(super) const SIDE: usize = 16;
/// Units of a plane.
pub(super) const PLANE: usize = 32;
/// Planes of a cube: one for every 16 rows of a tile.
pub(super) const PLANES: usize = TILE / SIDE;
/// Distance of rows of 64 f32 elements in shared memory.
pub(super) const STAGED: usize = TILE + 4;

/// Elements between two rows of so many in shared memory: padded against bank conflicts.
pub(super) fn stride(width: usize) -> usize {
    width + 8
}

/// Shared memory of the largest kernel on matrix units, in bytes, for types of two bytes.
pub(in crate::ssd) fn cooperative_bytes(headdim: usize, d_state: usize) -> usize {
    let wide = headdim.max(d_state);
    let tiles = 2 * stride(wide) + stride(headdim.min(d_state)) + stride(TILE);
    TILE * (2 * tiles + 4 * STAGED + 4 * 5)
}

/// Room for `rows` rows of `width` elements.
#[cube]
pub(super) fn room<F: Float, N: Size>(
    #[comptime] rows: usize,
    #[comptime] width: usize,
) -> SharedMemory<Vector<F, N>> {
    let lanes = N::value();
    SharedMemory::<Vector<F, N>>::new_aligned(comptime!(rows * stride(width) / lanes), 128usize)
}

/// Copies 64 rows of `width` elements; rows from `rows` on are zero. `first` and `step` count vectors.
/// Each row is multiplied by its entry of `weights` if there are any.
#[cube]
pub(super) fn load_tile<E: Float, F: Float, N: Size>(
    source: &Tensor<Vector<E, N>>,
    tile: &mut SharedMemory<Vector<F, N>>,
    weights: &SharedMemory<f32>,
    first: usize,
    step: usize,
    rows: usize,
    #[comptime] width: usize,
    #[comptime] weighted: bool,
) {
    let lanes = N::value();
    let across = comptime!(width / lanes);
    let apart = comptime!(stride(width) / lanes);
    let pieces = comptime!((TILE * width / lanes).div_ceil(PLANES * PLANE));
    #[unroll]
    for piece in 0..pieces {
        let flat = UNIT_POS as usize + comptime!(piece * PLANES * PLANE);
        let row = flat / across;
        let place = flat % across;
        if row < comptime!(TILE) {
            let mut value = Vector::<F, N>::new(F::from_int(0));
            if row < rows {
                if comptime!(weighted) {
                    let weight = Vector::<f32, N>::new(weights[row]);
                    let loaded = Vector::<f32, N>::cast_from(source[first + row * step + place]);
                    value = Vector::cast_from(loaded * weight);
                } else {
                    value = Vector::cast_from(source[first + row * step + place]);
                }
            }
            tile[row * apart + place] = value;
        }
    }
}

/// Zeroed results of 16 rows and `width` columns.
#[cube]
pub(super) fn results(#[comptime] width: usize) -> Sequence<cmma::Matrix<f32>> {
    let mut results = Sequence::<cmma::Matrix<f32>>::new();
    #[unroll]
    for _ in 0..comptime!(width / SIDE) {
        results.push(cmma::Matrix::<f32>::from_value(
            MatrixIdent::Accumulator,
            SIDE,
            SIDE,
            SIDE,
            MatrixLayout::Undefined,
            0.0f32,
        ));
    }
    results
}

/// Adds `rows of left` times `right` to columns of the results from `column` on, for `depth` summed
/// elements. `left` starts at a vector of shared memory; its rows are summed along. The right factor's
/// summed elements lie along its rows (`turned`), or its rows are the summed elements.
#[cube]
pub(super) fn multiply<F: Float, N: Size>(
    left: &SharedMemory<Vector<F, N>>,
    left_first: usize,
    #[comptime] left_stride: usize,
    right: &SharedMemory<Vector<F, N>>,
    #[comptime] right_stride: usize,
    results: &Sequence<cmma::Matrix<f32>>,
    #[comptime] column: usize,
    #[comptime] columns: usize,
    #[comptime] depth: usize,
    #[comptime] turned: bool,
) {
    let lanes = N::value();
    #[unroll]
    for k in 0..comptime!(depth / SIDE) {
        let at = left_first + comptime!(k * SIDE / lanes);
        let a = cmma::Matrix::<Vector<F, N>>::from_slice(
            MatrixIdent::A,
            SIDE,
            SIDE,
            SIDE,
            MatrixLayout::RowMajor,
            &left.slice(at, left.len()),
            comptime!(left_stride as u32).runtime(),
        );
        #[unroll]
        for j in 0..comptime!(columns / SIDE) {
            let layout = comptime!(if turned {
                MatrixLayout::ColMajor
            } else {
                MatrixLayout::RowMajor
            });
            let at = comptime!(if turned {
                (j * SIDE * right_stride + k * SIDE) / lanes
            } else {
                (k * SIDE * right_stride + j * SIDE) / lanes
            });
            let b = cmma::Matrix::<Vector<F, N>>::from_slice(
                MatrixIdent::B,
                SIDE,
                SIDE,
                SIDE,
                layout,
                &right.slice(at, right.len()),
                comptime!(right_stride as u32).runtime(),
            );
            let result = results.index(comptime!(column / SIDE + j));
            cmma::execute::<Vector<F, N>, Vector<F, N>, f32, f32>(&a, &b, result, result);
        }
    }
}

/// Puts up to 64 columns of a plane's results, from `column` on, into its part of `staged`.
#[cube]
pub(super) fn stage(
    results: &Sequence<cmma::Matrix<f32>>,
    staged: &mut SharedMemory<f32>,
    #[comptime] column: usize,
    #[comptime] columns: usize,
) {
    let plane = UNIT_POS as usize / comptime!(PLANE);
    sync_plane();
    #[unroll]
    for j in 0..comptime!(columns / SIDE) {
        let at = plane * comptime!(SIDE * STAGED) + comptime!(j * SIDE);
        let result = results.index(comptime!(column / SIDE + j));
        let end = staged.len();
        cmma::store(
            &mut staged.slice_mut(at, end),
            result,
            comptime!(STAGED as u32).runtime(),
            MatrixLayout::RowMajor,
        );
    }
    sync_plane();
}
