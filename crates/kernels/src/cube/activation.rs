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

/// Powers of two in the unit of [`decay`]'s exponent: the result stays a normal number.
const POWERS: f32 = 125.0;

/// What a natural exponent of 1 is in that unit.
pub(crate) const PER_NATURAL: f32 = std::f32::consts::LOG2_E / POWERS;

/// `2^(-125 x)` for `x` from 0 to 1; above and below, what it is at 1 and at 0. A compiler that knows an exponent's
/// bounds has no care to take of results below the smallest normal number: on CUDA three instructions in place of
/// six. `2^-125` of a state is nothing beside what a step adds.
#[cube]
pub(crate) fn decay(x: f32) -> f32 {
    f32::new(2.0).powf(x.max(0.0f32).min(1.0f32) * -POWERS)
}

/// `ln(1 + e^x)`. A device's logarithm may be wrong in the fifth digit near 1, where small step sizes
/// lie, so `ln(1 + u)` with `u = e^-|x|` is `2 artanh(u / (2 + u))`, by its series.
#[cube]
pub(crate) fn softplus(x: f32) -> f32 {
    let u = (-x.abs()).exp();
    let s = u / (2.0f32 + u);
    let square = s * s;
    let mut sum = f32::new(comptime!(1.0 / 15.0));
    #[unroll]
    for term in 1..8usize {
        sum = sum * square + f32::new(comptime!(1.0 / (15 - 2 * term) as f32));
    }
    x.max(0.0f32) + 2.0f32 * s * sum
}
