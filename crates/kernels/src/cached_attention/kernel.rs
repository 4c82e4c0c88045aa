//! One cube for a query: groups of units take keys in turn, each with sums relative to the largest score that it has seen, and
//! meet at the end.

use crate::cube::sum::across;
use cubecl::prelude::*;

/// Score of no key: as good as minus infinity.
const NONE: f32 = -1e30;

/// How a query is laid over the units of a cube.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Layout {
    /// Units of a cube, a power of two.
    pub(super) units: usize,
    /// Vectors of a head: the units of a group.
    pub(super) lanes: usize,
    /// Groups of units.
    pub(super) groups: usize,
    /// Elements of a vector.
    pub(super) wide: usize,
    pub(super) n_heads: usize,
    pub(super) n_kv_heads: usize,
    pub(super) own_angles: bool,
    /// Whether sequences differ in length.
    pub(super) is_ragged: bool,
}

impl Layout {
    /// Keys of a group in a round.
    fn held(&self) -> usize {
        self.units / self.groups
    }

    /// Keys of a round, at most one for each unit.
    fn keys(&self) -> usize {
        self.groups * self.held()
    }

    fn head_dim(&self) -> usize {
        self.lanes * self.wide
    }

    /// Bytes of shared memory.
    pub(super) fn shared_bytes(&self) -> usize {
        let floats = self.head_dim() * (self.groups + 1) + self.keys() + 2 * self.groups;
        floats * size_of::<f32>()
    }
}

/// Where a cube's query and the keys that it sees are.
#[derive(CubeType, Clone, Copy)]
struct Place {
    /// The query's row.
    row: usize,
    /// The row of its sequence's first new token, and how many there are up to its own.
    first_row: usize,
    new: usize,
    /// Its first vector in the cache.
    cache: usize,
    /// First vectors in a row: those of the head's key and value.
    key: usize,
    value: usize,
}

/// `past` are the tokens in the cache where sequences are of one length. A query of a group's first head writes the key and the value of
/// its token.
#[cube(launch_unchecked)]
pub(super) fn cached_attention_kernel<F: Float, C: Float, N: Size>(
    qkv: &Array<Vector<F, N>>,
    angles: &Array<f32>,
    lens: &Array<f32>,
    keys: &mut Array<Vector<C, N>>,
    values: &mut Array<Vector<C, N>>,
    out: &mut Array<Vector<F, N>>,
    past: usize,
    room: usize,
    scale: f32,
    #[comptime] layout: Layout,
    #[define(F, C)] _dtypes: [StorageType; 2],
) {
    let lanes = comptime!(layout.lanes);
    let groups = comptime!(layout.groups);
    let unit = UNIT_POS as usize;
    let (head, token, sequence) = (
        CUBE_POS_X as usize,
        CUBE_POS_Y as usize,
        CUBE_POS_Z as usize,
    );
    let seq = CUBE_COUNT_Y as usize;
    let shared_by = comptime!(layout.n_heads / layout.n_kv_heads);
    let kv_head = head / shared_by;
    let mut had = past;
    if comptime!(layout.is_ragged) {
        had = usize::cast_from(lens[sequence]);
    }
    let width = comptime!((layout.n_heads + 2 * layout.n_kv_heads) * layout.lanes);
    let first_row = sequence * seq;
    let place = Place {
        row: (first_row + token) * width,
        first_row: first_row * width,
        new: token + 1,
        cache: (sequence * layout.n_kv_heads + kv_head) * room * lanes,
        key: (layout.n_heads + kv_head) * lanes,
        value: (layout.n_heads + layout.n_kv_heads + kv_head) * lanes,
    };

    let mut query = SharedMemory::<Vector<f32, N>>::new(lanes);
    if unit < lanes {
        let angle = angle_row(sequence, token, seq, layout);
        let turned = turn::<F, N>(qkv, angles, place.row + head * lanes, angle, unit, layout);
        query[unit] = turned * Vector::new(scale);
        if head % shared_by == 0 {
            let to = place.cache + (had + token) * lanes + unit;
            let from = place.row + place.key;
            let key = turn::<F, N>(qkv, angles, from, angle, unit, layout);
            keys[to] = Vector::cast_from(key);
            values[to] = Vector::cast_from(qkv[place.row + place.value + unit]);
        }
    }
    sync_cube();

    let mut scores = SharedMemory::<f32>::new(comptime!(layout.keys()));
    let group = unit / lanes;
    let lane = unit % lanes;
    let mut largest = f32::new(NONE);
    let mut sum = 0.0f32;
    let mut mixed = Vector::<f32, N>::new(0.0f32);
    let count = comptime!(layout.keys());
    let rounds = (had + count - 1) / count;
    for round in 0..rounds {
        let first = round * count;
        if unit < count {
            let key = first + unit;
            let mut score = f32::new(NONE);
            if key < had {
                let from = place.cache + key * lanes;
                let mut terms = Vector::<f32, N>::new(0.0f32);
                #[unroll]
                for at in 0..lanes {
                    terms += query[at] * Vector::cast_from(keys[from + at]);
                }
                score = across::<N>(terms);
            }
            scores[unit] = score;
        }
        sync_cube();
        if group < groups {
            let next = max(largest, largest_of_group(&scores, group, layout));
            let fade = (largest - next).exp();
            sum *= fade;
            mixed *= Vector::new(fade);
            largest = next;
            #[unroll]
            for index in 0..comptime!(layout.held()) {
                let at = group + index * groups;
                let there = first + at < had;
                let weight = select(there, (scores[at] - largest).exp(), 0.0f32);
                let key = select(there, first + at, 0usize);
                let value = Vector::<f32, N>::cast_from(values[place.cache + key * lanes + lane]);
                sum += weight;
                mixed += value * Vector::new(weight);
            }
        }
        sync_cube();
    }

    // The new tokens, whose keys and values no cube has to have written yet.
    let rounds = (place.new + count - 1) / count;
    for round in 0..rounds {
        let first = round * count;
        if unit < count {
            let key = first + unit;
            let mut score = f32::new(NONE);
            if key < place.new {
                let mut terms = Vector::<f32, N>::new(0.0f32);
                let from = place.first_row + key * width + place.key;
                let angle = angle_row(sequence, key, seq, layout);
                for at in 0..lanes {
                    let turned = turn::<F, N>(qkv, angles, from, angle, at, layout);
                    terms += query[at] * turned;
                }
                score = across::<N>(terms);
            }
            scores[unit] = score;
        }
        sync_cube();
        if group < groups {
            let next = max(largest, largest_of_group(&scores, group, layout));
            let fade = (largest - next).exp();
            sum *= fade;
            mixed *= Vector::new(fade);
            largest = next;
            for index in 0..comptime!(layout.held()) {
                let at = group + index * groups;
                if first + at < place.new {
                    let weight = (scores[at] - largest).exp();
                    let from = place.first_row + (first + at) * width + place.value + lane;
                    sum += weight;
                    mixed += Vector::<f32, N>::cast_from(qkv[from]) * Vector::new(weight);
                }
            }
        }
        sync_cube();
    }

    let mut all_mixed =
        SharedMemory::<Vector<f32, N>>::new(comptime!(layout.groups * layout.lanes));
    let mut all_largest = SharedMemory::<f32>::new(groups);
    let mut all_sums = SharedMemory::<f32>::new(groups);
    if group < groups {
        all_mixed[unit] = mixed;
        if lane == 0 {
            all_largest[group] = largest;
            all_sums[group] = sum;
        }
    }
    sync_cube();
    if unit < lanes {
        let mut top = all_largest[0];
        for other in 1..groups {
            top = max(top, all_largest[other]);
        }
        let mut total = 0.0f32;
        let mut result = Vector::<f32, N>::new(0.0f32);
        for other in 0..groups {
            let fade = (all_largest[other] - top).exp();
            total += all_sums[other] * fade;
            result += all_mixed[other * lanes + unit] * Vector::new(fade);
        }
        let to = ((first_row + token) * layout.n_heads + head) * lanes + unit;
        out[to] = Vector::cast_from(result / Vector::new(total));
    }
}

/// First angle of a token.
#[cube]
fn angle_row(sequence: usize, token: usize, seq: usize, #[comptime] layout: Layout) -> usize {
    let mut row = token;
    if comptime!(layout.own_angles) {
        row += sequence * seq;
    }
    row * comptime!(layout.head_dim())
}

/// Largest of the scores that a group takes of a round.
#[cube]
fn largest_of_group(scores: &SharedMemory<f32>, group: usize, #[comptime] layout: Layout) -> f32 {
    let mut largest = f32::new(NONE);
    for index in 0..comptime!(layout.held()) {
        largest = max(largest, scores[group + index * comptime!(layout.groups)]);
    }
    largest
}

/// The `at`-th vector of a head that starts at `from`, turned by the angles from `angle` on.
#[cube]
fn turn<F: Float, N: Size>(
    qkv: &Array<Vector<F, N>>,
    angles: &Array<f32>,
    from: usize,
    angle: usize,
    at: usize,
    #[comptime] layout: Layout,
) -> Vector<f32, N> {
    let half = comptime!(layout.lanes / 2);
    let is_first = at < half;
    let partner = select(is_first, at + half, at - half);
    let pair = select(is_first, at, partner) * N::value();
    let own = Vector::<f32, N>::cast_from(qkv[from + at]);
    let other = Vector::<f32, N>::cast_from(qkv[from + partner]);
    let sign = select(is_first, -1.0f32, 1.0f32);
    let mut turned = Vector::<f32, N>::empty();
    #[unroll]
    for lane in 0..N::value() {
        let cos = angles[angle + pair + lane];
        let sin = angles[angle + comptime!(layout.head_dim() / 2) + pair + lane];
        turned[lane] = own[lane] * cos + sign * other[lane] * sin;
    }
    turned
}
