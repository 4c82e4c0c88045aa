//! Products of tiles on matrix units (`mma` of 16 by 8 by 16): each plane holds 16 rows of a result in its
//! registers, and knows which of its elements a unit has.

use super::TILE;
use cubecl::cmma::{MatrixIdent, MmaDefinition};
use cubecl::prelude::*;

/// Side of the factors that a plane reads at once.
pub(super) const SIDE: usize = 16;
/// Columns of a result that one instruction adds to.
pub(super) const COLUMNS: usize = 8;
/// Units of a plane.
pub(super) const PLANE: usize = 32;
/// Planes of a cube: one for every 16 rows of a tile.
pub(super) const PLANES: usize = TILE / SIDE;
/// Elements in 16 bytes, which a row of a factor's 8 by 8 part takes: how they are moved.
pub(in crate::ssd) const LANES: usize = 8;

/// Neighbouring elements that a unit has of a factor or a result.
pub(super) type Pair = Const<2>;
/// 16 rows of a result, `[columns / 8, 2]` pairs a unit: of row `lane / 4` and of the one 8 below it, the
/// columns `lane % 4 * 2` and the next.
pub(super) type Results = Sequence<Array<Vector<f32, Pair>>>;

/// Elements between two rows of so many in shared memory: padded against bank conflicts.
pub(super) fn stride(width: usize) -> usize {
    width + LANES
}

/// Shared memory of the largest kernel on matrix units, in bytes, for types of two bytes.
pub(in crate::ssd) fn cooperative_bytes(headdim: usize, d_state: usize) -> usize {
    let wide = headdim.max(d_state);
    let tiles = 2 * stride(wide) + stride(headdim.min(d_state));
    TILE * (2 * tiles + 4 * 9)
}

/// Room for `rows` rows of `width` elements.
#[cube]
pub(super) fn room<F: Float, N: Size>(
    #[comptime] rows: usize,
    #[comptime] width: usize,
) -> SharedMemory<Vector<F, N>> {
    SharedMemory::<Vector<F, N>>::new_aligned(comptime!(rows * stride(width) / LANES), 128usize)
}

/// What is lost when `value` is rounded, rounded itself.
#[cube]
pub(super) fn rounding_error<F: Float, N: Size>(value: Vector<f32, N>) -> Vector<F, N> {
    let rounded = Vector::<F, N>::cast_from(value);
    Vector::cast_from(value - Vector::<f32, N>::cast_from(rounded))
}

/// Copies 64 rows of `width` elements, or their rounding errors; rows from `rows` on are zero. `first` and `step`
/// count vectors. Without a branch, so that all loads are under way at once.
#[cube]
pub(super) fn load_tile<E: Float, F: Float, N: Size>(
    source: &Tensor<Vector<E, N>>,
    tile: &mut SharedMemory<Vector<F, N>>,
    first: usize,
    step: usize,
    rows: usize,
    #[comptime] width: usize,
    #[comptime] errors: bool,
) {
    let across = comptime!(width / LANES);
    let apart = comptime!(stride(width) / LANES);
    let pieces = comptime!(TILE * width / LANES / (PLANES * PLANE));
    let mut loaded = Array::<Vector<E, N>>::new(pieces);
    #[unroll]
    for piece in 0..pieces {
        let flat = UNIT_POS as usize + comptime!(piece * PLANES * PLANE);
        let row = clamp_max(flat / across, rows - 1);
        loaded[piece] = source[first + row * step + flat % across];
    }
    #[unroll]
    for piece in 0..pieces {
        let flat = UNIT_POS as usize + comptime!(piece * PLANES * PLANE);
        let row = flat / across;
        let zero = Vector::<F, N>::new(F::from_int(0));
        let mut value = Vector::<F, N>::cast_from(loaded[piece]);
        if comptime!(errors) {
            value = rounding_error::<F, N>(Vector::cast_from(loaded[piece]));
        }
        tile[row * apart + flat % across] = select(row < rows, value, zero);
    }
}

/// Zeroed results of 16 rows and `width` columns.
#[cube]
pub(super) fn results(#[comptime] width: usize) -> Results {
    let mut results = Sequence::<Array<Vector<f32, Pair>>>::new();
    #[unroll]
    for _ in 0..comptime!(width / COLUMNS) {
        let mut part = Array::<Vector<f32, Pair>>::new(2usize);
        part[0] = Vector::new(0.0f32);
        part[1] = Vector::new(0.0f32);
        results.push(part);
    }
    results
}

/// The left factor of 16 rows from `row` on and 16 summed elements from `k` on; its rows are stored.
#[cube]
pub(super) fn left_rows<F: Float, N: Size>(
    tile: &SharedMemory<Vector<F, N>>,
    row: usize,
    #[comptime] k: usize,
    #[comptime] width: usize,
) -> Array<Vector<F, Pair>> {
    let lane = UNIT_POS as usize % PLANE;
    let at =
        (row + lane % SIDE) * comptime!(stride(width) / LANES) + comptime!(k / LANES) + lane / SIDE;
    let definition = MmaDefinition::<F, F, f32>::new(SIDE, COLUMNS, SIDE);
    definition.load_matrix::<Vector<F, N>, Pair>(
        &tile.slice(at, at + 1),
        MatrixIdent::A,
        4usize,
        false,
    )
}

/// As [`left_rows`], of a tile that stores the summed elements' rows: the factor's columns.
#[cube]
pub(super) fn left_columns<F: Float, N: Size>(
    tile: &SharedMemory<Vector<F, N>>,
    row: usize,
    #[comptime] k: usize,
    #[comptime] width: usize,
) -> Array<Vector<F, Pair>> {
    let lane = UNIT_POS as usize % PLANE;
    let part = lane / COLUMNS;
    let at = (comptime!(k) + part / 2 * COLUMNS + lane % COLUMNS)
        * comptime!(stride(width) / LANES)
        + row / LANES
        + part % 2;
    let definition = MmaDefinition::<F, F, f32>::new(SIDE, COLUMNS, SIDE);
    definition.load_matrix::<Vector<F, N>, Pair>(
        &tile.slice(at, at + 1),
        MatrixIdent::A,
        4usize,
        true,
    )
}

/// The right factor of 16 columns from `column` on and 16 summed elements from `k` on, of a tile that
/// stores its columns.
#[cube]
pub(super) fn right_columns<F: Float, N: Size>(
    tile: &SharedMemory<Vector<F, N>>,
    #[comptime] column: usize,
    #[comptime] k: usize,
    #[comptime] width: usize,
) -> Array<Vector<F, Pair>> {
    let lane = UNIT_POS as usize % PLANE;
    let part = lane / COLUMNS;
    let at = (comptime!(column) + part / 2 * COLUMNS + lane % COLUMNS)
        * comptime!(stride(width) / LANES)
        + comptime!(k / LANES)
        + part % 2;
    let definition = MmaDefinition::<F, F, f32>::new(SIDE, COLUMNS, SIDE);
    definition.load_matrix::<Vector<F, N>, Pair>(
        &tile.slice(at, at + 1),
        MatrixIdent::B,
        4usize,
        false,
    )
}

/// As [`right_columns`], of a tile that stores the summed elements' rows.
#[cube]
pub(super) fn right_rows<F: Float, N: Size>(
    tile: &SharedMemory<Vector<F, N>>,
    #[comptime] column: usize,
    #[comptime] k: usize,
    #[comptime] width: usize,
) -> Array<Vector<F, Pair>> {
    let lane = UNIT_POS as usize % PLANE;
    let part = lane / COLUMNS;
    let at = (comptime!(k) + part % 2 * COLUMNS + lane % COLUMNS)
        * comptime!(stride(width) / LANES)
        + comptime!(column / LANES)
        + part / 2;
    let definition = MmaDefinition::<F, F, f32>::new(SIDE, COLUMNS, SIDE);
    definition.load_matrix::<Vector<F, N>, Pair>(
        &tile.slice(at, at + 1),
        MatrixIdent::B,
        4usize,
        true,
    )
}

/// Adds a product of 16 by 16 by 16 to the 16 columns of the results from `column` on.
#[cube]
pub(super) fn add_product<F: Float>(
    left: &Array<Vector<F, Pair>>,
    right: &Array<Vector<F, Pair>>,
    results: &mut Results,
    #[comptime] column: usize,
) {
    let definition = MmaDefinition::<F, F, f32>::new(SIDE, COLUMNS, SIDE);
    #[unroll]
    for half in 0..2usize {
        let mut part = Array::<Vector<F, Pair>>::new(2usize);
        part[0] = right[comptime!(2 * half)];
        part[1] = right[comptime!(2 * half + 1)];
        definition.execute_inplace(
            left,
            &part,
            results.index_mut(comptime!(column / COLUMNS + half)),
        );
    }
}

/// A left factor in two parts of its type: rounded, and what rounding left, rounded again.
#[derive(CubeType)]
pub(super) struct Split<F: Float> {
    pub(super) high: Array<Vector<F, Pair>>,
    pub(super) low: Array<Vector<F, Pair>>,
}

#[cube]
impl<F: Float> Split<F> {
    /// Room for a factor.
    pub(super) fn new() -> Split<F> {
        Split::<F> {
            high: Array::new(4usize),
            low: Array::new(4usize),
        }
    }

    /// Sets one of the four pairs.
    pub(super) fn set(&mut self, #[comptime] part: usize, value: Vector<f32, Pair>) {
        let high = Vector::<F, Pair>::cast_from(value);
        self.high[part] = high;
        self.low[part] = Vector::cast_from(value - Vector::<f32, Pair>::cast_from(high));
    }
}

/// As [`add_product`]; `exact` adds the left factor's second part too.
#[cube]
pub(super) fn add_split<F: Float>(
    left: &Split<F>,
    right: &Array<Vector<F, Pair>>,
    results: &mut Results,
    #[comptime] column: usize,
    #[comptime] exact: bool,
) {
    add_product::<F>(&left.high, right, results, column);
    if comptime!(exact) {
        add_product::<F>(&left.low, right, results, column);
    }
}

/// A left factor with its rows multiplied: `scales` has that of the unit's first row and of the one 8 below.
#[cube]
pub(super) fn scale_rows<F: Float>(left: &Array<Vector<F, Pair>>, scales: &Array<f32>) -> Split<F> {
    let mut scaled = Split::<F>::new();
    #[unroll]
    for part in 0..4usize {
        let scale = Vector::<f32, Pair>::new(scales[comptime!(part % 2)]);
        scaled.set(part, Vector::<f32, Pair>::cast_from(left[part]) * scale);
    }
    scaled
}

/// Sum over the four units that share a row.
#[cube]
pub(super) fn sum_row(value: f32) -> f32 {
    let value = value + plane_shuffle_xor(value, 1u32);
    value + plane_shuffle_xor(value, 2u32)
}
