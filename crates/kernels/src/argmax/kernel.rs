//! One cube for a row.

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

    let mut values = SharedMemory::<f32>::new(units);
    let mut places = SharedMemory::<u32>::new(units);
    values[unit] = largest;
    places[unit] = best as u32;
    sync_cube();
    #[unroll]
    for round in 0..comptime!(units.trailing_zeros()) {
        let stride = comptime!(units >> (round + 1));
        if unit < stride {
            let other = values[unit + stride];
            let place = places[unit + stride];
            let is_larger = other > values[unit];
            let is_first = other == values[unit] && place < places[unit];
            if is_larger || is_first {
                values[unit] = other;
                places[unit] = place;
            }
        }
        sync_cube();
    }
    if unit == 0 {
        ids[CUBE_POS_X as usize] = I::cast_from(places[0]);
    }
}
