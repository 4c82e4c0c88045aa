//! Cross-entropy plus forward KL to a teacher at temperature 1, with its gradient (method 4.3).
//!
//! With the logits `s` of the student, `t` of the teacher, `q = softmax(s)` and `p = softmax(t)`,
//! each row gives
//!
//! ```text
//! ce       = log sum e^s - s[label]
//! kl       = sum p (t - s) - (log sum e^t - log sum e^s)
//! gradient = (ce_weight + kl_weight) q - kl_weight p - ce_weight onehot(label)
//! ```
//!
//! so that a caller who sums weighted rows has the gradient of the sum at once. Everything is
//! computed in f32, whatever the type of the logits. The operation is not on a tape.

mod distribution;
#[cfg(feature = "cube")]
mod kernel;
#[cfg(feature = "cube")]
pub(crate) mod launch;
mod problem;
pub mod reference;
pub(crate) mod self_test;
#[cfg(all(test, feature = "flex"))]
mod tests;

pub use distribution::Distribution;
pub use problem::CrossEntropyKlProblem;

use crate::backend::SsmBackend;
use crate::error::KernelError;
use crate::primitive::{unwrap, wrap};
use burn::tensor::ops::{FloatTensor, IntTensor};
use burn::tensor::{Int, Tensor, backend::Backend};

/// What the loss of some rows is computed from.
#[derive(Clone, Debug)]
pub struct CrossEntropyKlInputs<B: Backend> {
    /// Logits, `[rows, vocab]`.
    pub student: Tensor<B, 2>,
    /// Logits, `[rows, vocab]`; without them the loss is the cross-entropy.
    pub teacher: Option<Tensor<B, 2>>,
    /// Tokens, `[rows]`, each in `0..vocab`.
    pub labels: Tensor<B, 1, Int>,
    /// Weight of each row's cross-entropy in the gradient, `[rows]`.
    pub ce_weight: Tensor<B, 1>,
    /// Weight of each row's KL divergence in the gradient, `[rows]`; unused without a teacher.
    pub kl_weight: Tensor<B, 1>,
}

/// Loss of each row, and the gradient of their weighted sum.
#[derive(Clone, Debug)]
pub struct CrossEntropyKlOutput<B: Backend> {
    /// Cross-entropy and KL divergence of each row, without weights, `[rows, 2]`, f32.
    pub values: Tensor<B, 2>,
    /// With respect to the student's logits, `[rows, vocab]`, in their type, if it was asked for.
    pub gradient: Option<Tensor<B, 2>>,
}

/// Primitives of [`CrossEntropyKlInputs`].
#[derive(Clone, Debug)]
pub struct CrossEntropyKlOperands<B: Backend> {
    /// `[rows, vocab]`.
    pub student: FloatTensor<B>,
    /// `[rows, vocab]`.
    pub teacher: Option<FloatTensor<B>>,
    /// `[rows]`.
    pub labels: IntTensor<B>,
    /// For cross-entropy and divergence, `[rows]` each.
    pub weights: [FloatTensor<B>; 2],
}

/// Primitives of [`CrossEntropyKlOutput`]: values and gradient.
pub type CrossEntropyKlResults<B> = (FloatTensor<B>, Option<FloatTensor<B>>);

/// Cross-entropy and forward KL of each row; `with_gradient` asks for the gradient too.
///
/// # Errors
/// [`KernelError`] if there are no rows, the vocabulary is empty, or a shape disagrees.
pub fn cross_entropy_kl<B: SsmBackend>(
    inputs: CrossEntropyKlInputs<B>,
    with_gradient: bool,
) -> Result<CrossEntropyKlOutput<B>, KernelError> {
    let problem = CrossEntropyKlProblem::validate(&inputs, with_gradient)?;
    let operands = CrossEntropyKlOperands {
        student: unwrap(inputs.student),
        teacher: inputs.teacher.map(unwrap),
        labels: inputs.labels.into_primitive(),
        weights: [inputs.ce_weight, inputs.kl_weight].map(unwrap),
    };
    let (values, gradient) = B::cross_entropy_kl(operands, &problem);
    Ok(CrossEntropyKlOutput {
        values: wrap(values),
        gradient: gradient.map(wrap),
    })
}
