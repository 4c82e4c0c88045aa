//! RMS norm, before the mixer and the MLP of every block (method 2.1, step 1).
//!
//! ```text
//! out = weight * x / sqrt(mean of x^2 + eps)
//! ```
//!
//! Computed in f32 whatever the types: the residual stream can stay in f32 while what is made of it is in half
//! precision, without a pass of its own for the cast.

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

pub use problem::RmsNormProblem;

use crate::backend::SsmBackend;
use crate::error::KernelError;
use crate::primitive::{unwrap, wrap};
use burn::tensor::{FloatDType, Tensor, ops::FloatTensor};

/// Primitives in a fixed order: x, weight.
pub type RmsNormOperands<B> = [FloatTensor<B>; 2];

/// Gradients of x and, where it was wanted, of the weight.
pub type RmsNormGradients<B> = (FloatTensor<B>, Option<FloatTensor<B>>);

/// Normalises each step (method 2.1, step 1).
/// - `x`: `[batch, seq, channels]`; `weight`: `[channels]`
/// - result: `[batch, seq, channels]`, in `dtype`, or in the type of `x`
///
/// Differentiable in `x` and `weight`; the gradients come back in their types.
///
/// # Errors
/// [`KernelError`] if a size is zero, a shape disagrees, or `eps` is negative or not finite.
///
/// ```
/// # #[cfg(feature = "flex")] {
/// use burn::backend::Flex;
/// use burn::tensor::Tensor;
///
/// let device = Default::default();
/// let x = Tensor::<Flex, 3>::from_data([[[3.0, 4.0]]], &device);
/// let normed = kernels::rms_norm(x, Tensor::ones([2], &device), 0.0, None)?;
/// let normed: Vec<f32> = normed.into_data().to_vec().unwrap();
/// assert!((normed[0] / normed[1] - 0.75).abs() < 1e-6);
/// assert!((normed[0].powi(2) + normed[1].powi(2) - 2.0).abs() < 1e-6);
/// # }
/// # Ok::<(), kernels::KernelError>(())
/// ```
pub fn rms_norm<B: SsmBackend>(
    x: Tensor<B, 3>,
    weight: Tensor<B, 1>,
    eps: f64,
    dtype: Option<FloatDType>,
) -> Result<Tensor<B, 3>, KernelError> {
    let problem = RmsNormProblem::validate(&x, &weight, eps, dtype)?;
    let operands = [unwrap(x), unwrap(weight)];
    Ok(wrap(B::rms_norm_forward(operands, &problem)))
}
