//! Products of a few rows with weights, and what stands beside them in a block, in one launch: how tokens are decoded.
//!
//! With `h = x`, or its RMS norm (method 2.1, step 1) if there is one, and weights `w_1`, `w_2`, `w_3`
//!
//! ```text
//! side by side:  out = [h w_1 | h w_2 | h w_3]
//! added:         out = residual + h w_1
//! gated:         out = silu(h w_1) * (h w_2)
//! ```
//!
//! A product of one row reads every weight once and computes next to nothing: on a GPU it is bound by the memory, and a model of
//! many small ones by their launches. The kernels serve up to [`FEW_ROWS`] rows. More rows, other backends and
//! burn's tape go through a norm, products of matrices and what follows, one after another.

#[cfg(feature = "cube")]
mod kernel;
#[cfg(feature = "cube")]
pub(crate) mod launch;
mod problem;
pub mod reference;
pub(crate) mod self_test;
#[cfg(all(test, feature = "flex"))]
mod tests;

pub use problem::{FusedLinearProblem, FusedOutputKind};

use crate::backend::SsmBackend;
use crate::error::KernelError;
use crate::primitive::{unwrap, wrap};
use burn::tensor::{Tensor, backend::Backend, ops::FloatTensor};

/// Rows that kernels take; beyond, products of matrices are faster. A tied head is so large that they are sooner.
pub const FEW_ROWS: usize = 128;
/// Rows that the kernel of a tied head takes.
pub const FEW_ROWS_OF_HEAD: usize = 32;

/// Most weights of a call.
pub(crate) const WEIGHTS: usize = 3;

/// What the products are made of.
#[derive(Clone, Debug)]
pub struct FusedLinearInputs<B: Backend> {
    /// `[batch, seq, d_input]`.
    pub x: Tensor<B, 3>,
    /// Weight of the RMS norm of each row, `[d_input]`, and what is added to the mean square.
    pub norm: Option<(Tensor<B, 1>, f64)>,
    /// One to three, `[d_input, d_output]` each; the transpose of an embedding is read as it lies.
    pub weights: Vec<Tensor<B, 2>>,
    /// What becomes of the products.
    pub output: FusedOutput<B>,
}

/// What becomes of the products.
#[derive(Clone, Debug)]
pub enum FusedOutput<B: Backend> {
    /// They stand side by side.
    SideBySide,
    /// The one there is comes on top of this, `[batch, seq, d_output]`.
    Added(Tensor<B, 3>),
    /// The second is gated by the first.
    Gated,
}

/// Primitives of [`FusedLinearInputs`].
#[derive(Clone, Debug)]
pub struct FusedLinearOperands<B: Backend> {
    /// `[batch, seq, d_input]`.
    pub x: FloatTensor<B>,
    /// `[d_input]`.
    pub norm: Option<FloatTensor<B>>,
    /// `[d_input, d_output]`; the first is there.
    pub weights: [Option<FloatTensor<B>>; WEIGHTS],
    /// `[batch, seq, d_output]`.
    pub residual: Option<FloatTensor<B>>,
}

/// Norm, products and what becomes of them, computed in f32; weights may be of another type than `x`. Products of more than
/// [`FEW_ROWS`] rows may round `x` to the type of the weights.
/// - result: `[batch, seq, d_output]`, in the type of `x`; side by side `d_output` is the sum over the weights
///
/// # Errors
/// [`KernelError`] if a size is zero, a shape disagrees, `eps` is negative or not finite, or the number of weights is not one
/// that `output` takes.
///
/// ```
/// # #[cfg(feature = "flex")] {
/// use burn::backend::Flex;
/// use burn::tensor::Tensor;
/// use kernels::{FusedLinearInputs, FusedOutput, fused_linear};
///
/// let device = Default::default();
/// let x = Tensor::<Flex, 3>::from_data([[[3.0, 4.0]]], &device);
/// let sum = fused_linear(FusedLinearInputs {
///     x: x.clone(),
///     norm: None,
///     weights: vec![Tensor::from_data([[1.0, 0.0], [2.0, 1.0]], &device)],
///     output: FusedOutput::Added(x),
/// })?;
/// assert_eq!(sum.into_data().to_vec::<f32>().unwrap(), [14.0, 8.0]);
/// # }
/// # Ok::<(), kernels::KernelError>(())
/// ```
pub fn fused_linear<B: SsmBackend>(
    inputs: FusedLinearInputs<B>,
) -> Result<Tensor<B, 3>, KernelError> {
    let problem = FusedLinearProblem::validate(&inputs)?;
    let mut weights = inputs.weights.into_iter().map(unwrap);
    let operands = FusedLinearOperands {
        x: unwrap(inputs.x),
        norm: inputs.norm.map(|(weight, _)| unwrap(weight)),
        weights: std::array::from_fn(|_| weights.next()),
        residual: match inputs.output {
            FusedOutput::Added(residual) => Some(unwrap(residual)),
            FusedOutput::SideBySide | FusedOutput::Gated => None,
        },
    };
    Ok(wrap(B::fused_linear(operands, &problem)))
}
