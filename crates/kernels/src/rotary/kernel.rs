//! The rotation: a unit for each vector of first halves, with its partner.

use super::RotaryProblem;
use cubecl::prelude::*;

/// What kernels are told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Way {
    own_angles: bool,
    is_inverse: bool,
}

impl Way {
    pub(super) fn of(p: &RotaryProblem) -> Self {
        Self {
            own_angles: p.own_angles,
            is_inverse: p.is_inverse,
        }
    }
}

/// `half` counts the vectors of half a head, `total` those of all first halves. A head of a step is found by the
/// strides of `x`, which is three-dimensional one way and four-dimensional the other.
#[cube(launch_unchecked)]
pub(super) fn rotary_kernel<F: Float, N: Size>(
    x: &Tensor<Vector<F, N>>,
    angles: &Tensor<Vector<f32, N>>,
    out: &mut Tensor<Vector<F, N>>,
    seq: usize,
    heads: usize,
    half: usize,
    total: usize,
    #[comptime] way: Way,
    #[define(F)] _dtype: StorageType,
) {
    let at = ABSOLUTE_POS;
    if at < total {
        // The order of the result: neighbours write side by side.
        let vector = at % half;
        let item = at / half;
        let batch = item / (seq * heads);
        let place = item % (seq * heads);
        let inverse = comptime!(way.is_inverse);
        let head = select(inverse, place % heads, place / seq);
        let step = select(inverse, place / heads, place % seq);
        let mut from = batch * x.stride(0) / N::value() + head * 2usize * half;
        if comptime!(way.is_inverse) {
            from = ((batch * heads + head) * seq + step) * 2usize * half;
        } else {
            from += step * x.stride(1) / N::value();
        }
        let mut row = step;
        if comptime!(way.own_angles) {
            row += batch * seq;
        }
        let angle = row * 2usize * half + vector;
        let first = Vector::<f32, N>::cast_from(x[from + vector]);
        let second = Vector::<f32, N>::cast_from(x[from + half + vector]);
        let cos = angles[angle];
        let mut sin = angles[angle + half];
        if comptime!(way.is_inverse) {
            sin = Vector::new(0.0f32) - sin;
        }
        let to = item * 2usize * half + vector;
        out[to] = Vector::cast_from(first * cos - second * sin);
        out[to + half] = Vector::cast_from(second * cos + first * sin);
    }
}
