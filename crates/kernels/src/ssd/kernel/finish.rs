use super::{Sizes, UNITS, line, plane};
use crate::cube::sum::sum_units;
use cubecl::prelude::*;

/// Product of the state after each chunk with its gradient, `[batch, chunks, nheads]`.
#[cube(launch_unchecked)]
pub(in crate::ssd) fn ssd_state_products<N: Size>(
    states: &Tensor<Vector<f32, N>>,
    gradients: &Tensor<Vector<f32, N>>,
    products: &mut Tensor<f32>,
    sizes: &Sizes,
) {
    let unit = UNIT_POS as usize;
    let units = comptime!(UNITS);
    let batch = CUBE_POS_X as usize / sizes.chunks;
    let chunk = CUBE_POS_X as usize % sizes.chunks;
    let head = CUBE_POS_Y as usize;
    let size = sizes.headdim * sizes.d_state / N::value();
    let first = ((batch * (sizes.chunks + 1) + chunk + 1) * sizes.nheads + head) * size;
    let mut sums = Vector::<f32, N>::new(0.0f32);
    for index in 0..(size + units - 1 - unit) / units {
        let at = first + index * units + unit;
        sums += states[at] * gradients[at];
    }
    let mut sum = 0.0f32;
    #[unroll]
    for lane in 0..N::value() {
        sum += sums[lane];
    }
    let mut shared = SharedMemory::<f32>::new(comptime!(UNITS));
    let product = sum_units(&mut shared, sum, UNITS);
    if unit == 0 {
        products[CUBE_POS_X as usize * sizes.nheads + head] = product;
    }
}

/// Gradients of the step sizes, and each chunk's share of the gradients of a, dt_bias and d,
/// `[batch, chunks, 3, nheads]`. One cube: one head of one chunk, a unit a step.
#[cube(launch)]
pub(in crate::ssd) fn ssd_finish<F: Float>(
    scratch: &Tensor<f32>,
    a: &Tensor<f32>,
    products: &Tensor<f32>,
    ddt: &mut Tensor<F>,
    partial: &mut Tensor<f32>,
    sizes: &Sizes,
    // Planes of dots of x with dx, of x with dy, and of c with dc, and how many of each.
    x_plane: usize,
    skip_plane: usize,
    c_plane: usize,
    x_planes: usize,
    c_planes: usize,
    #[comptime] chunk: usize,
    #[comptime] has_d: bool,
    #[comptime] has_initial_state: bool,
    #[define(F)] _dtype: StorageType,
) {
    let unit = UNIT_POS as usize;
    let head = CUBE_POS_Y as usize;
    let cube = CUBE_POS_X as usize;
    let batch = cube / sizes.chunks;
    let step = cube % sizes.chunks * chunk + unit;
    let mut dot_x = 0.0f32;
    let mut dot_c = 0.0f32;
    let mut skip = 0.0f32;
    let mut dt = 0.0f32;
    let mut slope = 0.0f32;
    let mut starts = false;
    if step < sizes.seq {
        starts = scratch[line(sizes, plane::FIRST, batch, head) + step] == f32::cast_from(unit);
        if comptime!(!has_initial_state) {
            starts = starts || step == 0;
        }
        dt = scratch[line(sizes, plane::DT, batch, head) + step];
        slope = scratch[line(sizes, plane::SLOPE, batch, head) + step];
        for part in 0..x_planes {
            dot_x += scratch[line(sizes, x_plane + part, batch, head) + step];
            if comptime!(has_d) {
                skip += scratch[line(sizes, skip_plane + part, batch, head) + step];
            }
        }
        for part in 0..c_planes {
            dot_c += scratch[line(sizes, c_plane + part, batch, head) + step];
        }
    }
    // Gradient of the sum of `dt * a` at each step, then of each term: sums over later steps.
    let mut later = SharedMemory::<f32>::new(chunk);
    later[unit] = dot_c - dt * dot_x;
    #[unroll]
    for round in 0..comptime!(chunk.trailing_zeros()) {
        let reach = comptime!(1usize << round);
        sync_cube();
        let mut after = 0.0f32;
        if unit + reach < chunk {
            after = later[unit + reach];
        }
        sync_cube();
        later[unit] += after;
    }
    let mut through = later[unit] + products[cube * sizes.nheads + head];
    if starts {
        // Nothing decays into the first step of a document: the terms cancel but for rounding.
        through = 0.0f32;
    }
    let gradient = (a[head] * through + dot_x) * slope;
    if step < sizes.seq {
        ddt[(batch * sizes.seq + step) * sizes.nheads + head] = F::cast_from(gradient);
    }
    let mut shared = SharedMemory::<f32>::new(chunk);
    let da = sum_units(&mut shared, dt * through, chunk);
    let dbias = sum_units(&mut shared, gradient, chunk);
    let dd = sum_units(&mut shared, skip, chunk);
    if unit == 0 {
        partial[(cube * 3) * sizes.nheads + head] = da;
        partial[(cube * 3 + 1) * sizes.nheads + head] = dbias;
        partial[(cube * 3 + 2) * sizes.nheads + head] = dd;
    }
}
