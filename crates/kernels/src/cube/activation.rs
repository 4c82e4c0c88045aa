//! Activations inside kernels, in f32, written so that nothing overflows into a NaN.

use cubecl::prelude::*;

/// `1 / (1 + e^-x)`.
#[cube]
pub(crate) fn sigmoid<N: Size>(x: Vector<f32, N>) -> Vector<f32, N> {
    // CUDA has no unary minus on its vector types.
    let (zero, one) = (Vector::<f32, N>::new(0.0f32), Vector::<f32, N>::new(1.0f32));
    one / (one + (zero - x).exp())
}

/// `x * sigmoid(x)`.
#[cube]
pub(crate) fn silu<N: Size>(x: Vector<f32, N>) -> Vector<f32, N> {
    x * sigmoid::<N>(x)
}

/// Derivative of [`silu`].
#[cube]
pub(crate) fn silu_derivative<N: Size>(x: Vector<f32, N>) -> Vector<f32, N> {
    let one = Vector::<f32, N>::new(1.0f32);
    let gate = sigmoid::<N>(x);
    gate * (one + x * (one - gate))
}
