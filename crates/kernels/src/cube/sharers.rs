//! Rows that some units of a cube share, several rows a cube: how norms are laid out.

use burn_cubecl::CubeRuntime;
use cubecl::calculate_cube_count_elemwise;
use cubecl::prelude::*;

/// Units of a cube.
pub(crate) const UNITS: usize = 256;
/// Rows whose shares of a weight's gradient a unit sums before it writes them.
pub(crate) const SHARE: usize = 16;

/// How rows are laid over the units of a cube.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Layout {
    /// Vectors in a row.
    pub(crate) vectors: usize,
    /// Units that share a row, a power of two.
    pub(crate) sharers: usize,
    /// Vectors of each unit.
    pub(crate) held: usize,
    /// Rows in a cube.
    pub(crate) slots: usize,
}

/// The power of two of units for each row that leaves the fewest idle, at most four vectors each
/// where a cube is large enough for that.
pub(crate) fn layout(vectors: usize) -> Layout {
    let held = |sharers: usize| vectors.div_ceil(sharers);
    let waste = |sharers: usize| held(sharers) * sharers - vectors;
    let sharers = (0..=UNITS.trailing_zeros())
        .rev()
        .map(|power| 1 << power)
        .filter(|&sharers| held(sharers) <= 4 || sharers == UNITS)
        .min_by_key(|&sharers| waste(sharers))
        .expect("the largest cube always qualifies");
    Layout {
        vectors,
        sharers,
        held: held(sharers),
        slots: UNITS / sharers,
    }
}

/// Cubes for so many slots.
pub(crate) fn cubes<R: CubeRuntime>(
    client: &ComputeClient<R>,
    slots: usize,
    layout: &Layout,
) -> CubeCount {
    let units = slots.div_ceil(layout.slots) * UNITS;
    calculate_cube_count_elemwise(client, units, CubeDim::new_1d(UNITS as u32))
}

/// Sums `count` arrays of `slots * sharers` values in shared memory over the sharers of each slot.
/// The sums are at the slots' first places.
#[cube]
pub(crate) fn sum_sharers(
    shared: &mut SharedMemory<f32>,
    #[comptime] count: usize,
    #[comptime] layout: Layout,
) {
    let units = comptime!(layout.slots * layout.sharers);
    let at = UNIT_POS as usize;
    let sharer = at % layout.sharers;
    sync_cube();
    #[unroll]
    for round in 0..comptime!(layout.sharers.trailing_zeros()) {
        let stride = comptime!(layout.sharers >> (round + 1));
        if sharer < stride {
            #[unroll]
            for array in 0..count {
                let other = shared[array * units + at + stride];
                shared[array * units + at] += other;
            }
        }
        sync_cube();
    }
}
