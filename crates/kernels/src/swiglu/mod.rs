//! The gate of an MLP (method 2.1, step 5).
//!
//! ```text
//! out = silu(gate) * up
//! ```
//!
//! One pass over both projections forward, one backward, which reads the two and keeps nothing else.

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

pub use problem::SwigluProblem;

use crate::backend::SsmBackend;
use crate::error::KernelError;
use crate::primitive::{unwrap, wrap};
use burn::tensor::{Tensor, ops::FloatTensor};

/// Primitives in a fixed order: gate, up.
pub type SwigluOperands<B> = [FloatTensor<B>; 2];

/// `silu(gate) * up` (method 2.1, step 5), computed in f32.
/// - `gate`, `up`, result: `[batch, seq, channels]`
///
/// Differentiable in `gate` and `up`.
///
/// # Errors
/// [`KernelError`] if a size is zero or the shapes disagree.
///
/// ```
/// # #[cfg(feature = "flex")] {
/// use burn::backend::Flex;
/// use burn::tensor::Tensor;
///
/// let device = Default::default();
/// let gate = Tensor::<Flex, 3>::zeros([1, 1, 2], &device);
/// let out = kernels::swiglu(gate, Tensor::ones([1, 1, 2], &device))?;
/// assert_eq!(out.into_data().to_vec::<f32>().unwrap(), [0.0, 0.0]);
/// # }
/// # Ok::<(), kernels::KernelError>(())
/// ```
pub fn swiglu<B: SsmBackend>(
    gate: Tensor<B, 3>,
    up: Tensor<B, 3>,
) -> Result<Tensor<B, 3>, KernelError> {
    let problem = SwigluProblem::validate(&gate, &up)?;
    let operands = [unwrap(gate), unwrap(up)];
    Ok(wrap(B::swiglu_forward(operands, &problem)))
}
