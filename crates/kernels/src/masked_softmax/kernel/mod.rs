//! Masked softmax: a few units share a row, and several rows share a cube.

mod backward;
mod forward;

pub(super) use backward::masked_softmax_backward;
pub(super) use forward::masked_softmax_forward;

use cubecl::prelude::*;

/// How rows are laid over the units of a cube.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Layout {
    /// Units that share a row.
    pub(super) sharers: usize,
    /// Rows in a cube.
    pub(super) slots: usize,
    /// Whether the first visible keys are given.
    pub(super) has_first: bool,
}

/// A row of the scores and the keys that its query sees.
#[derive(CubeType, Clone, Copy)]
struct Row {
    /// Its first vector.
    start: usize,
    /// The first key that it sees.
    first: usize,
    /// The last key that it sees, its query's own.
    own: usize,
    /// The vector of the first key, in the row.
    begin: usize,
    /// Vectors with a key that it sees; none for a unit without a row.
    seen: usize,
    /// The vector after them.
    end: usize,
    /// Vectors from there on.
    after: usize,
}

/// The row of this unit.
#[cube]
fn find_row<N: Size>(
    first: &Tensor<f32>,
    rows: usize,
    sequence_rows: usize,
    seq: usize,
    past: usize,
    vectors: usize,
    #[comptime] layout: Layout,
) -> Row {
    let slot = CUBE_POS * layout.slots + UNIT_POS as usize / layout.sharers;
    let is_row = slot < rows;
    let index = clamp_max(slot, rows - 1);
    let query = index % seq;
    let own = past + query;
    let lanes = N::value();
    let mut from = 0usize;
    if comptime!(layout.has_first) {
        let given = first[index / sequence_rows * seq + query];
        from = clamp_max(usize::cast_from(given), own);
    }
    let begin = from / lanes;
    let end = own / lanes + 1;
    Row {
        start: index * vectors,
        first: from,
        own,
        begin: select(is_row, begin, 0),
        seen: select(is_row, end - begin, 0),
        end,
        after: select(is_row, vectors - end, 0),
    }
}

/// How many of `count` vectors this unit takes: one of each `sharers`.
#[cube]
fn share(count: usize, #[comptime] layout: Layout) -> usize {
    let sharer = UNIT_POS as usize % layout.sharers;
    (count + layout.sharers - 1 - sharer) / layout.sharers
}

/// The vector with `other` in place of the keys that the row does not see.
#[cube]
fn mask<N: Size>(values: Vector<f32, N>, other: f32, vector: usize, row: &Row) -> Vector<f32, N> {
    let mut masked = Vector::<f32, N>::new(other);
    #[unroll]
    for lane in 0..N::value() {
        let key = vector * N::value() + lane;
        masked[lane] = select(key >= row.first && key <= row.own, values[lane], other);
    }
    masked
}

/// Zeros for the vectors of the row without a key that it sees.
#[cube]
fn write_zeros<F: Float, N: Size>(
    out: &mut Tensor<Vector<F, N>>,
    row: &Row,
    #[comptime] layout: Layout,
) {
    let sharer = UNIT_POS as usize % layout.sharers;
    for index in 0..share(row.begin, layout) {
        let vector = sharer + index * layout.sharers;
        out[row.start + vector] = Vector::new(F::from_int(0));
    }
    for index in 0..share(row.after, layout) {
        let vector = row.end + sharer + index * layout.sharers;
        out[row.start + vector] = Vector::new(F::from_int(0));
    }
}

/// Sum of a value over the units of a row, in their order. Every unit of the cube has to call it.
#[cube]
fn sum_sharers(value: f32, #[comptime] layout: Layout) -> f32 {
    let at = UNIT_POS as usize;
    let slot = at - at % layout.sharers;
    let mut shared = SharedMemory::<f32>::new(comptime!(layout.slots * layout.sharers));
    shared[at] = value;
    sync_cube();
    let mut sum = 0.0f32;
    #[unroll]
    for other in 0..layout.sharers {
        sum += shared[slot + other];
    }
    sum
}

/// Largest of a value over the units of a row. Every unit of the cube has to call it.
#[cube]
fn largest_of_sharers(value: f32, #[comptime] layout: Layout) -> f32 {
    let at = UNIT_POS as usize;
    let slot = at - at % layout.sharers;
    let mut shared = SharedMemory::<f32>::new(comptime!(layout.slots * layout.sharers));
    shared[at] = value;
    sync_cube();
    let mut largest = shared[slot];
    #[unroll]
    for other in 1..layout.sharers {
        largest = max(largest, shared[slot + other]);
    }
    largest
}
