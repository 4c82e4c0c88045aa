use super::slices::{SIDE, SLICE, STRIDE, clear, load_rows, multiply, slice};
use super::{Sizes, TILE, line, plane};
use cubecl::prelude::*;

/// Sums of outer products of steps, weighted with decays. With `leaving`: what each chunk adds to
/// the state after it, from x and b, into slot `chunk + 1`. Without: what each chunk adds to the
/// gradient of the state before it, from dy and c, into slot `chunk`.
///
/// Cubes: chunks of rows, heads, tiles of `[headdim, d_state]`.
#[cube(launch_unchecked)]
pub(in crate::ssd) fn ssd_chunk_states<F: Float, N: Size>(
    left: &Tensor<Vector<F, N>>,
    right: &Tensor<Vector<F, N>>,
    scratch: &Tensor<f32>,
    states: &mut Tensor<f32>,
    sizes: &Sizes,
    #[comptime] leaving: bool,
    #[define(F)] _dtype: StorageType,
) {
    let tile = comptime!(TILE);
    let lanes = N::value();
    let unit = UNIT_POS as usize;
    let batch = CUBE_POS_X as usize / sizes.chunks;
    let chunk = CUBE_POS_X as usize % sizes.chunks;
    let head = CUBE_POS_Y as usize;
    let group = head / (sizes.nheads / sizes.ngroups);
    let across = sizes.d_state.div_ceil(tile);
    let row0 = CUBE_POS_Z as usize / across * tile;
    let column0 = CUBE_POS_Z as usize % across * tile;
    let start = chunk * sizes.chunk;
    let length = clamp_max(sizes.chunk, sizes.seq - start);

    // A chunk has at most 256 steps, as many as there are units.
    let mut weights = SharedMemory::<f32>::new(256usize);
    let cum = line(sizes, plane::CUM, batch, head) + start;
    let rest = line(sizes, plane::REST, batch, head) + start;
    let first = line(sizes, plane::FIRST, batch, head) + start;
    let mut weight = 0.0f32;
    if unit < length {
        if comptime!(leaving) {
            if f32::cast_from(unit) >= scratch[first + length - 1] {
                let sums = scratch[cum + length - 1] - scratch[cum + unit];
                let rests = scratch[rest + length - 1] - scratch[rest + unit];
                weight = (sums + rests).exp()
                    * scratch[line(sizes, plane::DT, batch, head) + start + unit];
            }
        } else {
            if scratch[first + unit] < 0.0f32 {
                weight = (scratch[cum + unit] + scratch[rest + unit]).exp();
            }
        }
    }
    weights[unit] = weight;

    let mut rows = slice();
    let mut columns = slice();
    let mut sums = Array::<f32>::new(comptime!(SIDE * SIDE));
    clear(&mut sums);
    let left_stride = sizes.nheads * sizes.headdim / lanes;
    let right_stride = sizes.ngroups * sizes.d_state / lanes;
    for from in 0..length.div_ceil(comptime!(SLICE)) {
        let step = from * comptime!(SLICE);
        let at = batch * sizes.seq + start + step;
        sync_cube();
        load_rows::<F, N>(
            left,
            &mut rows,
            (at * sizes.nheads + head) * sizes.headdim / lanes,
            left_stride,
            length - step,
            row0,
            sizes.headdim,
        );
        load_rows::<F, N>(
            right,
            &mut columns,
            (at * sizes.ngroups + group) * sizes.d_state / lanes,
            right_stride,
            length - step,
            column0,
            sizes.d_state,
        );
        sync_cube();
        // Each unit weighs four elements of one step.
        let weighed = unit / comptime!(SLICE);
        #[unroll]
        for index in 0..comptime!(SIDE) {
            let element =
                weighed * comptime!(STRIDE) + unit % comptime!(SLICE) + comptime!(index * SLICE);
            rows[element] = rows[element] * weights[step + weighed];
        }
        sync_cube();
        multiply(&rows, 0usize, STRIDE, &columns, &mut sums);
    }
    let mut slot = chunk;
    if comptime!(leaving) {
        slot += 1;
    }
    let state = ((batch * (sizes.chunks + 1) + slot) * sizes.nheads + head) * sizes.headdim;
    #[unroll]
    for i in 0..comptime!(SIDE) {
        #[unroll]
        for j in 0..comptime!(SIDE) {
            let row = row0 + unit / comptime!(SLICE) + comptime!(i * SLICE);
            let column = column0 + unit % comptime!(SLICE) + comptime!(j * SLICE);
            if row < sizes.headdim && column < sizes.d_state {
                states[(state + row) * sizes.d_state + column] = sums[i * comptime!(SIDE) + j];
            }
        }
    }
}

/// Chunks whose parts of the state are loaded before the first of them is used.
const AHEAD: usize = 4;

/// From what each chunk adds to the states at the boundaries, in place; with `reverse`, gradients
/// from the last boundary to the first. A unit has one vector of one state.
#[cube(launch_unchecked)]
pub(in crate::ssd) fn ssd_pass_states<N: Size>(
    states: &mut Tensor<Vector<f32, N>>,
    start: &Tensor<Vector<f32, N>>,
    end: &mut Tensor<Vector<f32, N>>,
    scratch: &Tensor<f32>,
    sizes: &Sizes,
    #[comptime] reverse: bool,
    #[comptime] has_start: bool,
) {
    let ahead = comptime!(AHEAD);
    let size = sizes.headdim * sizes.d_state / N::value();
    let element = ABSOLUTE_POS % size;
    let head = ABSOLUTE_POS / size % sizes.nheads;
    let batch = ABSOLUTE_POS / size / sizes.nheads;
    if batch >= sizes.batch {
        terminate!();
    }
    let chunks = sizes.chunks;
    let cum = line(sizes, plane::CUM, batch, head);
    let rest = line(sizes, plane::REST, batch, head);
    let first = line(sizes, plane::FIRST, batch, head);
    let slots = batch * (chunks + 1);
    let own = (batch * sizes.nheads + head) * size + element;
    let mut state = Vector::<f32, N>::new(0.0f32);
    if comptime!(has_start) {
        state = start[own];
    }
    let mut begin = slots;
    if comptime!(reverse) {
        begin += chunks;
    }
    states[(begin * sizes.nheads + head) * size + element] = state;
    for block in 0..chunks.div_ceil(ahead) {
        let mut added = Array::<Vector<f32, N>>::new(ahead);
        let mut decays = Array::<f32>::new(ahead);
        #[unroll]
        for index in 0..ahead {
            let turn = clamp_max(block * ahead + index, chunks - 1);
            let mut chunk = turn;
            let mut slot = slots + turn + 1;
            if comptime!(reverse) {
                chunk = chunks - 1 - turn;
                slot = slots + chunk;
            }
            let last = clamp_max((chunk + 1) * sizes.chunk, sizes.seq) - 1;
            added[index] = states[(slot * sizes.nheads + head) * size + element];
            decays[index] = 0.0f32;
            if scratch[first + last] < 0.0f32 {
                decays[index] = (scratch[cum + last] + scratch[rest + last]).exp();
            }
        }
        #[unroll]
        for index in 0..ahead {
            let turn = block * ahead + index;
            if turn < chunks {
                state = state * Vector::new(decays[index]) + added[index];
                let mut slot = slots + turn + 1;
                if comptime!(reverse) {
                    slot = slots + chunks - 1 - turn;
                }
                states[(slot * sizes.nheads + head) * size + element] = state;
            }
        }
    }
    end[own] = state;
}
