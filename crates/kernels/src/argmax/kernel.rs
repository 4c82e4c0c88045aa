//! One cube for a row.

use crate::cube::race::winner;
use cubecl::prelude::*;

/// `vectors` are in a row.
#[cube(launch_unchecked)]
pub(super) fn argmax_rows<F: Float, I: Int, N: Size>(
    logits: &Array<Vector<F, N>>,
    ids: &mut Array<I>,
    vectors: usize,
    #[comptime] units: usize,
    #[define(F, I)] _dtypes: [StorageType; 2],
) {
    let unit = UNIT_POS as usize;
    let row = CUBE_POS_X as usize * vectors;
    // A unit without a value repeats that of another.
    let start = clamp_max(unit, vectors - 1);
    let mut largest = f32::cast_from(logits[row + start][0]);
    let mut best = start * N::value();
    for round in 0..(vectors + units - 1) / units {
        let vector = unit + round * units;
        if vector < vectors {
            let values = Vector::<f32, N>::cast_from(logits[row + vector]);
            #[unroll]
            for lane in 0..N::value() {
                if values[lane] > largest {
                    largest = values[lane];
                    best = vector * N::value() + lane;
                }
            }
        }
    }
    let best = winner(largest, best as u32, units);
    if unit == 0 {
        ids[CUBE_POS_X as usize] = I::cast_from(best);
    }
}
