//! Step sizes of a single decode step.

use burn::tensor::{Tensor, backend::Backend};

/// `ln(1 + exp(x))`, exact for very negative `x`, where published step sizes are about 1e-6, and
/// without overflow for large ones.
pub(super) fn softplus<B: Backend, const D: usize>(x: Tensor<B, D>) -> Tensor<B, D> {
    x.clone().clamp_min(0.0) + x.abs().neg().exp().log1p()
}
