//! The most likely token of each row of logits: greedy decoding's last step.
//!
//! A general reduction gives a row to few units; a row of logits is long, and there are few of them.

#[cfg(feature = "cube")]
mod kernel;
#[cfg(feature = "cube")]
pub(crate) mod launch;
pub(crate) mod self_test;
#[cfg(all(test, feature = "flex"))]
mod tests;

use crate::backend::SsmBackend;
use crate::error::{Check, KernelError};
use crate::primitive::unwrap;
use burn::tensor::{Int, Tensor};

/// Index of the largest value of each row, the first of equal ones.
/// - `logits`: `[rows, vocab]`; result: `[rows, 1]`
///
/// # Errors
/// [`KernelError`] if a size is zero.
///
/// ```
/// # #[cfg(feature = "flex")] {
/// use burn::backend::Flex;
/// use burn::tensor::Tensor;
///
/// let logits = Tensor::<Flex, 2>::from_data([[0.5, 2.0, 2.0], [-1.0, -3.0, -2.0]], &Default::default());
/// let ids: Vec<i64> = kernels::argmax(logits)?.into_data().iter().collect();
/// assert_eq!(ids, [1, 0]);
/// # }
/// # Ok::<(), kernels::KernelError>(())
/// ```
pub fn argmax<B: SsmBackend>(logits: Tensor<B, 2>) -> Result<Tensor<B, 2, Int>, KernelError> {
    let [rows, vocab] = logits.dims();
    Check::new("argmax").not_empty(&[("rows", rows), ("vocab", vocab)])?;
    Ok(Tensor::from_primitive(B::argmax(unwrap(logits))))
}
