//! Softmax of attention scores over the keys that each query sees (method 2.1).
//!
//! ```text
//! p_tk = exp(scale s_tk) / sum over the visible keys j of exp(scale s_tj)    if query t sees key k
//! p_tk = 0                                                                  otherwise
//! ```
//!
//! Query `t` sees the keys from the first of its document to its own, `past + t`. With `dp` the gradient of
//! the weights that of the scores is `scale p_tk (dp_tk - sum over j of p_tj dp_tj)`: the weights are all that
//! the backward pass keeps.

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

pub use problem::MaskedSoftmaxProblem;

use crate::backend::SsmBackend;
use crate::error::KernelError;
use crate::primitive::{unwrap, wrap};
use burn::tensor::{Tensor, backend::Backend};

/// Which keys the queries of [`masked_softmax()`] see.
#[derive(Clone, Debug)]
pub struct VisibleKeys<B: Backend> {
    /// Queries of a sequence.
    pub seq: usize,
    /// Keys before that of the first query; keys after that of the last one are never seen.
    pub past: usize,
    /// Index of the first key that each query sees, `[batch, seq]`, or 0 for all; one after the query's own
    /// key counts as that key.
    pub first: Option<Tensor<B, 2>>,
}

/// Weights of attention, in the type of the scores and computed in f32 (method 2.1).
/// - `scores`, result: `[batch, heads, stack * seq, keys]`, the queries of several heads stacked where these
///   share their keys: row `r` belongs to query `r % seq`
/// - `keys` is at least `past + seq`
///
/// Differentiable in `scores`.
///
/// # Errors
/// [`KernelError`] if a size is zero, a shape disagrees, `seq` does not divide the rows, there are fewer keys
/// than tokens, or `scale` is not finite.
///
/// ```
/// # #[cfg(feature = "flex")] {
/// use burn::backend::Flex;
/// use burn::tensor::Tensor;
/// use kernels::{VisibleKeys, masked_softmax};
///
/// let scores = Tensor::<Flex, 4>::zeros([1, 1, 2, 3], &Default::default());
/// let visible = VisibleKeys { seq: 2, past: 0, first: None };
/// let weights: Vec<f32> = masked_softmax(scores, visible, 0.125)?.into_data().to_vec().unwrap();
/// assert_eq!(weights, [1.0, 0.0, 0.0, 0.5, 0.5, 0.0]);
/// # }
/// # Ok::<(), kernels::KernelError>(())
/// ```
pub fn masked_softmax<B: SsmBackend>(
    scores: Tensor<B, 4>,
    visible: VisibleKeys<B>,
    scale: f64,
) -> Result<Tensor<B, 4>, KernelError> {
    let problem = MaskedSoftmaxProblem::validate(&scores, &visible, scale)?;
    let first = visible.first.map(unwrap);
    Ok(wrap(B::masked_softmax_forward(
        unwrap(scores),
        first,
        &problem,
    )))
}
