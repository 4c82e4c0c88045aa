//! Rotary positions of queries and keys, from the layout of a projection to that of attention's products
//! (method 2.1, step 3).
//!
//! Pairs of a head are half a head apart. With the angle `a` of a pair at a position
//!
//! ```text
//! out[first half]  = x[first half] cos a - x[second half] sin a
//! out[second half] = x[second half] cos a + x[first half] sin a
//! ```
//!
//! and the heads come to stand before the steps. The gradient is the same operation the other way round, and needs
//! nothing but the angles.

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

pub use problem::RotaryProblem;

use crate::backend::SsmBackend;
use crate::error::KernelError;
use crate::primitive::{unwrap, wrap};
use burn::tensor::Tensor;

/// Turns each head by the angles of its step (method 2.1, step 3), computed in f32.
/// - `x`: `[batch, seq, heads * head_dim]`, as a projection leaves it
/// - `angles`: `[batch, seq, head_dim]`, or `[1, seq, head_dim]` where sequences share them: the cosines of the
///   `head_dim / 2` pairs, then their sines; in f32
/// - result: `[batch, heads, seq, head_dim]`, in the type of `x`
///
/// Differentiable in `x`.
///
/// # Errors
/// [`KernelError`] if a size is zero, a shape disagrees, `head_dim` is odd or does not divide the channels.
///
/// ```
/// # #[cfg(feature = "flex")] {
/// use burn::backend::Flex;
/// use burn::tensor::Tensor;
///
/// let device = Default::default();
/// // A quarter of a turn.
/// let angles = Tensor::<Flex, 3>::from_data([[[0.0, 1.0]]], &device);
/// let x = Tensor::<Flex, 3>::from_data([[[3.0, 4.0]]], &device);
/// let turned = kernels::rotary(x, angles)?;
/// assert_eq!(turned.into_data().to_vec::<f32>().unwrap(), [-4.0, 3.0]);
/// # }
/// # Ok::<(), kernels::KernelError>(())
/// ```
pub fn rotary<B: SsmBackend>(
    x: Tensor<B, 3>,
    angles: Tensor<B, 3>,
) -> Result<Tensor<B, 4>, KernelError> {
    let problem = RotaryProblem::validate(&x, &angles)?;
    Ok(wrap(B::rotary(unwrap(x), unwrap(angles), &problem)))
}
