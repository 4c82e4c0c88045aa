//! Which unit of a cube has the largest value.

use cubecl::prelude::*;

/// The place of the largest `value` of all `units`, a power of two, the lowest place of equal ones; every unit has to call it.
#[cube]
pub(crate) fn winner(value: f32, place: u32, #[comptime] units: usize) -> u32 {
    let unit = UNIT_POS as usize;
    let mut values = SharedMemory::<f32>::new(units);
    let mut places = SharedMemory::<u32>::new(units);
    values[unit] = value;
    places[unit] = place;
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
    places[0]
}
