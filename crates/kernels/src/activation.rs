//! Activations in tensor operations, written so that neither value nor gradient overflows.

use burn::tensor::{Tensor, activation::sigmoid, backend::Backend};

/// `ln(1 + e^x)`, the identity above 20 where both agree in f32.
pub(crate) fn softplus<B: Backend, const D: usize>(x: Tensor<B, D>) -> Tensor<B, D> {
    let linear = x.clone().sub_scalar(20.0).clamp_min(0.0);
    x.clamp_max(20.0).exp().log1p() + linear
}

/// `x * sigmoid(x)`.
pub(crate) fn silu<B: Backend, const D: usize>(x: Tensor<B, D>) -> Tensor<B, D> {
    x.clone() * sigmoid(x)
}

/// Derivative of [`silu`].
pub(crate) fn silu_derivative<B: Backend, const D: usize>(x: Tensor<B, D>) -> Tensor<B, D> {
    let gate = sigmoid(x.clone());
    gate.clone() * (x * gate.neg().add_scalar(1.0)).add_scalar(1.0)
}
