//! The gate: a unit for each vector.

use crate::cube::activation::{silu, silu_derivative};
use crate::cube::rows::first_vector;
use cubecl::prelude::*;

/// `vectors` are in a row, `total` in all.
#[cube(launch_unchecked)]
pub(super) fn swiglu_forward<F: Float, N: Size>(
    gate: &Tensor<Vector<F, N>>,
    up: &Tensor<Vector<F, N>>,
    out: &mut Tensor<Vector<F, N>>,
    seq: usize,
    vectors: usize,
    total: usize,
    #[define(F)] _dtype: StorageType,
) {
    let at = ABSOLUTE_POS;
    if at < total {
        let g = Vector::<f32, N>::cast_from(gate[place::<F, N>(gate, at, seq, vectors)]);
        let u = Vector::<f32, N>::cast_from(up[place::<F, N>(up, at, seq, vectors)]);
        out[at] = Vector::cast_from(silu::<N>(g) * u);
    }
}

/// Sizes as in the forward.
#[cube(launch_unchecked)]
pub(super) fn swiglu_backward<F: Float, N: Size>(
    gate: &Tensor<Vector<F, N>>,
    up: &Tensor<Vector<F, N>>,
    dout: &Tensor<Vector<F, N>>,
    dgate: &mut Tensor<Vector<F, N>>,
    dup: &mut Tensor<Vector<F, N>>,
    seq: usize,
    vectors: usize,
    total: usize,
    #[define(F)] _dtype: StorageType,
) {
    let at = ABSOLUTE_POS;
    if at < total {
        let g = Vector::<f32, N>::cast_from(gate[place::<F, N>(gate, at, seq, vectors)]);
        let u = Vector::<f32, N>::cast_from(up[place::<F, N>(up, at, seq, vectors)]);
        let d = Vector::<f32, N>::cast_from(dout[place::<F, N>(dout, at, seq, vectors)]);
        dgate[at] = Vector::cast_from(d * u * silu_derivative::<N>(g));
        dup[at] = Vector::cast_from(d * silu::<N>(g));
    }
}

/// Where the `at`-th vector of `[batch, seq, channels]` lies, whose rows may be apart.
#[cube]
fn place<F: Float, N: Size>(
    rows: &Tensor<Vector<F, N>>,
    at: usize,
    seq: usize,
    vectors: usize,
) -> usize {
    first_vector::<F, N>(rows, at / vectors, seq) + at % vectors
}
