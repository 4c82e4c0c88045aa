use crate::cube::activation::{silu, silu_derivative};
use cubecl::prelude::*;

/// `y * silu(z)`.
#[cube(launch_unchecked)]
pub(in crate::ssd) fn ssd_gate<F: Float, N: Size>(
    y: &Tensor<Vector<F, N>>,
    z: &Tensor<Vector<F, N>>,
    out: &mut Tensor<Vector<F, N>>,
    vectors: usize,
    #[define(F)] _dtype: StorageType,
) {
    if ABSOLUTE_POS < vectors {
        let gate = silu::<N>(Vector::cast_from(z[ABSOLUTE_POS]));
        out[ABSOLUTE_POS] = Vector::cast_from(Vector::<f32, N>::cast_from(y[ABSOLUTE_POS]) * gate);
    }
}

/// Gradients of `y * silu(z)` with respect to y and z.
#[cube(launch_unchecked)]
pub(in crate::ssd) fn ssd_gate_backward<F: Float, N: Size>(
    y: &Tensor<Vector<F, N>>,
    z: &Tensor<Vector<F, N>>,
    dout: &Tensor<Vector<F, N>>,
    dy: &mut Tensor<Vector<F, N>>,
    dz: &mut Tensor<Vector<F, N>>,
    vectors: usize,
    #[define(F)] _dtype: StorageType,
) {
    if ABSOLUTE_POS < vectors {
        let z = Vector::<f32, N>::cast_from(z[ABSOLUTE_POS]);
        let dout = Vector::<f32, N>::cast_from(dout[ABSOLUTE_POS]);
        let y = Vector::<f32, N>::cast_from(y[ABSOLUTE_POS]);
        dy[ABSOLUTE_POS] = Vector::cast_from(dout * silu::<N>(z));
        dz[ABSOLUTE_POS] = Vector::cast_from(dout * y * silu_derivative::<N>(z));
    }
}
