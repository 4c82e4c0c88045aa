use super::{Sizes, line, plane};
use crate::cube::activation::softplus;
use cubecl::prelude::*;

/// What the kernel is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::ssd) struct Steps {
    /// Steps of a chunk, and units of a cube; a power of two.
    pub(in crate::ssd) chunk: usize,
    pub(in crate::ssd) has_dt_bias: bool,
    pub(in crate::ssd) dt_softplus: bool,
    pub(in crate::ssd) has_reset: bool,
    pub(in crate::ssd) has_d: bool,
    /// Planes before the skip weights.
    pub(in crate::ssd) planes: usize,
}

/// One cube: one head of one chunk.
#[cube(launch)]
pub(in crate::ssd) fn ssd_steps<F: Float>(
    dt: &Tensor<F>,
    a: &Tensor<f32>,
    dt_bias: &Tensor<f32>,
    d: &Tensor<f32>,
    reset: &Tensor<f32>,
    scratch: &mut Tensor<f32>,
    sizes: &Sizes,
    #[comptime] steps: Steps,
    #[define(F)] _dtype: StorageType,
) {
    let unit = UNIT_POS as usize;
    let head = CUBE_POS_Y as usize;
    let batch = CUBE_POS_X as usize / sizes.chunks;
    let step = CUBE_POS_X as usize % sizes.chunks * steps.chunk + unit;
    let mut size = 0.0f32;
    let mut slope = 0.0f32;
    let mut start = f32::new(-1.0);
    if step < sizes.seq {
        let mut raw = f32::cast_from(dt[(batch * sizes.seq + step) * sizes.nheads + head]);
        if comptime!(steps.has_dt_bias) {
            raw += dt_bias[head];
        }
        size = raw;
        slope = 1.0f32;
        if comptime!(steps.dt_softplus) {
            size = softplus(raw);
            slope = 1.0f32 / (1.0f32 + (-raw).exp());
        }
        if comptime!(steps.has_reset) {
            let reset = reset[batch * sizes.seq + step];
            if reset != 0.0f32 {
                start = f32::cast_from(unit);
            }
        }
    }
    // Sums and the latest start up to each step, doubling the reach each round.
    let mut cum = SharedMemory::<f32>::new(steps.chunk);
    let mut rest = SharedMemory::<f32>::new(steps.chunk);
    let mut first = SharedMemory::<f32>::new(steps.chunk);
    // Far below where the exponential is zero, and small enough for whole numbers to be exact.
    let exponent = clamp(size * a[head], f32::new(-1e4), f32::new(1e4));
    cum[unit] = exponent.round();
    rest[unit] = exponent - exponent.round();
    first[unit] = start;
    #[unroll]
    for round in 0..comptime!(steps.chunk.trailing_zeros()) {
        let reach = comptime!(1usize << round);
        sync_cube();
        let mut before = 0.0f32;
        let mut before_rest = 0.0f32;
        let mut earlier = f32::new(-1.0);
        if unit >= reach {
            before = cum[unit - reach];
            before_rest = rest[unit - reach];
            earlier = first[unit - reach];
        }
        sync_cube();
        let sum = rest[unit] + before_rest;
        let carried = sum.round();
        cum[unit] += before + carried;
        rest[unit] = sum - carried;
        if earlier > first[unit] {
            first[unit] = earlier;
        }
    }
    if step < sizes.seq {
        scratch[line(sizes, plane::DT, batch, head) + step] = size;
        scratch[line(sizes, plane::CUM, batch, head) + step] = cum[unit];
        scratch[line(sizes, plane::REST, batch, head) + step] = rest[unit];
        scratch[line(sizes, plane::SLOPE, batch, head) + step] = slope;
        scratch[line(sizes, plane::FIRST, batch, head) + step] = first[unit];
    }
    if comptime!(steps.has_d) {
        let writes = step == 0 && batch == 0;
        if writes {
            scratch[line(sizes, steps.planes, 0, 0) + head] = d[head];
        }
    }
}
