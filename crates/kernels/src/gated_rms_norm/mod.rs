//! Gated group RMS norm, the norm before Mamba2's output projection (method 3.3).
//!
//! ```text
//! g = y * silu(z),    out = weight * g / sqrt(mean of g^2 in each group + eps)
//! ```

#[cfg(feature = "flex")]
pub(crate) mod host;
#[cfg(feature = "cube")]
mod kernel;
#[cfg(feature = "cube")]
pub(crate) mod launch;
mod problem;
pub mod reference;
pub(crate) mod self_test;
#[cfg(all(test, feature = "flex"))]
mod tests;

pub use problem::GatedRmsNormProblem;

use crate::backend::SsmBackend;
use crate::error::KernelError;
use crate::primitive::{unwrap, wrap};
use burn::tensor::{Tensor, ops::FloatTensor};

/// Primitives in a fixed order: y, z, weight.
pub type GatedRmsNormOperands<B> = [FloatTensor<B>; 3];

/// Gates, then normalises each group of `group_size` channels (method 3.3).
/// - `y`, `z`, result: `[batch, seq, channels]`; `weight`: `[channels]`
///
/// Differentiable in `y`, `z` and `weight`.
///
/// # Errors
/// [`KernelError`] if a size is zero, a shape disagrees, `group_size` does not divide `channels`, or
/// `eps` is negative or not finite.
pub fn gated_rms_norm<B: SsmBackend>(
    y: Tensor<B, 3>,
    z: Tensor<B, 3>,
    weight: Tensor<B, 1>,
    group_size: usize,
    eps: f64,
) -> Result<Tensor<B, 3>, KernelError> {
    let problem = GatedRmsNormProblem::validate(&y, &z, &weight, group_size, eps)?;
    let operands = [unwrap(y), unwrap(z), unwrap(weight)];
    Ok(wrap(B::gated_rms_norm_forward(operands, &problem)))
}
