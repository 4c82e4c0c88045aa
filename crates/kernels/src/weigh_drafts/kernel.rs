//! One cube for a position: the sums of both softmaxes in a first pass over the logits, the race for the next token in a second.

use super::{NOTHING_LEFT, UNIFORM};
use crate::cube::race::winner;
use crate::cube::sum::{across, lane_of, largest_of};
use cubecl::prelude::*;

/// Below every logit, and finite so that differences with it are no NaN.
const LOWEST: f32 = -3.0e38;

/// What a launch is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Layout {
    /// Units of a cube, a power of two.
    pub(super) units: usize,
    /// Whether there are logits of a drafter.
    pub(super) has_drafter: bool,
    /// Whether sequences have their own number of drafts.
    pub(super) has_counts: bool,
}

/// The largest logit of a row and the sum of the exponentials below it.
#[derive(CubeType, Clone, Copy)]
struct Sums {
    top: f32,
    total: f32,
}

/// [`Sums`] of the row whose vectors start at `first`, of which each unit reads `mine`; merged in a fixed order. Logits are multiplied
/// by `scale`. Every unit has to call it.
#[cube]
fn sums_of<F: Float, N: Size>(
    row: &Array<Vector<F, N>>,
    first: usize,
    mine: usize,
    scale: f32,
    #[comptime] units: usize,
) -> Sums {
    let unit = UNIT_POS as usize;
    let mut top = f32::new(LOWEST);
    let mut total = f32::new(0.0);
    for index in 0..mine {
        let logits = Vector::<f32, N>::cast_from(row[first + unit + index * units]);
        let logits = logits * Vector::new(scale);
        let higher = max(largest_of::<N>(logits), top);
        let shares = (logits - Vector::new(higher)).exp();
        total = total * (top - higher).exp() + across::<N>(shares);
        top = higher;
    }
    let mut tops = SharedMemory::<f32>::new(units);
    let mut totals = SharedMemory::<f32>::new(units);
    tops[unit] = top;
    totals[unit] = total;
    sync_cube();
    #[unroll]
    for round in 0..comptime!(units.trailing_zeros()) {
        let stride = comptime!(units >> (round + 1));
        if unit < stride {
            let (mine, other) = (tops[unit], tops[unit + stride]);
            let higher = max(mine, other);
            let sum = totals[unit] * (mine - higher).exp()
                + totals[unit + stride] * (other - higher).exp();
            tops[unit] = higher;
            totals[unit] = sum;
        }
        sync_cube();
    }
    Sums {
        top: tops[0],
        total: totals[0],
    }
}

/// The value of one token in a row of vectors.
#[cube]
fn value_at<F: Float, N: Size>(row: &Array<Vector<F, N>>, first: usize, token: usize) -> f32 {
    let holder = Vector::<f32, N>::cast_from(row[first + token / N::value()]);
    lane_of::<N>(holder, token % N::value())
}

/// The position at `CUBE_POS_X`; `vectors` are those of a row, logits are multiplied by `scale`.
#[cube(launch_unchecked)]
pub(super) fn weigh_positions<F: Float, T: Float, I: Int, N: Size>(
    verified: &Array<Vector<F, N>>,
    drafted: &Array<Vector<T, N>>,
    drafts: &Array<I>,
    counts: &Array<I>,
    uniform: &Array<Vector<f32, N>>,
    out: &mut Array<f32>,
    positions: usize,
    vectors: usize,
    scale: f32,
    #[comptime] layout: Layout,
    #[define(F, T, I)] _dtypes: [StorageType; 3],
) {
    let units = comptime!(layout.units);
    let unit = UNIT_POS as usize;
    let row = CUBE_POS_X as usize;
    let (sequence, position) = (row / positions, row % positions);
    let mut count = positions - 1;
    if comptime!(layout.has_counts) {
        count = usize::cast_from(counts[sequence]);
    }
    let is_draft = position < count;
    let draft_row = select(is_draft, sequence * (positions - 1) + position, 0);
    // No draft leads outside its row.
    let draft = min(
        usize::cast_from(drafts[draft_row]),
        vectors * N::value() - 1,
    );
    let first = row * vectors;
    let first_drafted = draft_row * vectors;
    let mine = (vectors + units - 1 - unit) / units;

    let of_verifier = sums_of::<F, N>(verified, first, mine, scale, units);
    let share = 1.0f32 / of_verifier.total;
    let mut drafter_top = f32::new(0.0);
    let mut drafter_share = f32::new(0.0);
    if comptime!(layout.has_drafter) {
        let of_drafter = sums_of::<T, N>(drafted, first_drafted, mine, scale, units);
        drafter_top = of_drafter.top;
        drafter_share = select(is_draft, 1.0f32 / of_drafter.total, 0.0f32);
    }

    // A unit without a token stands behind those with one.
    let mut best = clamp_max(unit, vectors - 1) * N::value();
    let mut largest = f32::new(-1.0);
    for index in 0..mine {
        let vector = unit + index * units;
        let logits = Vector::<f32, N>::cast_from(verified[first + vector]);
        let logits = logits * Vector::new(scale);
        let p = (logits - Vector::new(of_verifier.top)).exp() * Vector::new(share);
        let mut q = Vector::<f32, N>::new(0.0f32);
        if comptime!(layout.has_drafter) {
            let logits = Vector::<f32, N>::cast_from(drafted[first_drafted + vector]);
            let logits = logits * Vector::new(scale);
            q = (logits - Vector::new(drafter_top)).exp() * Vector::new(drafter_share);
        }
        let draws = uniform[first + vector];
        #[unroll]
        for lane in 0..N::value() {
            let token = vector * N::value() + lane;
            let mut left = max(p[lane] - q[lane], 0.0f32);
            if comptime!(!layout.has_drafter) {
                left = select(is_draft && token == draft, 0.0f32, left);
            }
            left += p[lane] * NOTHING_LEFT;
            let draw = clamp(draws[lane], UNIFORM[0], UNIFORM[1]);
            let raced = left / (0.0f32 - draw.ln());
            if raced > largest {
                largest = raced;
                best = token;
            }
        }
    }
    let next = winner(largest, best as u32, units);
    if unit == 0 {
        let mut draft_id = f32::new(0.0);
        let mut p = f32::new(0.0);
        let mut q = f32::new(0.0);
        if is_draft {
            draft_id = f32::cast_from(draft);
            let logit = value_at::<F, N>(verified, first, draft) * scale;
            p = (logit - of_verifier.top).exp() * share;
            q = f32::new(1.0);
            if comptime!(layout.has_drafter) {
                let logit = value_at::<T, N>(drafted, first_drafted, draft) * scale;
                q = (logit - drafter_top).exp() * drafter_share;
            }
        }
        out[row * 4] = draft_id;
        out[row * 4 + 1] = p;
        out[row * 4 + 2] = q;
        out[row * 4 + 3] = f32::cast_from(next);
    }
}
