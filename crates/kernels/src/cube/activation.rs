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

/// `ln(1 + e^x)`. A device's logarithm may be wrong in the fifth digit near 1, where small step sizes
/// lie, so `ln(1 + u)` with `u = e^-|x|` is `2 artanh(u / (2 + u))`, by its series.
#[cube]
pub(crate) fn softplus(x: f32) -> f32 {
    let u = (-x.abs()).exp();
    let s = u / (2.0f32 + u);
    let square = s * s;
    let mut sum = f32::new(0.0);
    #[unroll]
    for term in 0..8usize {
        sum = sum * square + f32::new(comptime!(1.0 / (15 - 2 * term) as f32));
    }
    let mut linear = f32::new(0.0);
    if x > 0.0f32 {
        linear = x;
    }
    linear + 2.0f32 * s * sum
}
