//! Products of matrices, and batches of them.
//!
//! ```text
//! out = lhs rhs
//! ```
//!
//! It is what a backend's own `matmul` computes, and by default what it does. On GPUs that copy tiles by themselves (NVIDIA's from Hopper
//! on), products in bf16 and f16 go through cubek's kernel for that with tiles chosen by the size of the result: burn's own choice there
//! leaves most of the device idle. A product whose result is small and whose inner dimension is long, such as the gradient of a
//! weight, is cut along that dimension and summed in f32.

#[cfg(feature = "cube")]
pub(crate) mod launch;
pub(crate) mod self_test;
#[cfg(all(test, feature = "flex"))]
mod tests;
#[cfg(feature = "cube")]
mod tiles;

#[cfg(feature = "cube")]
pub(crate) use tiles::multiplies_quickly;

use crate::backend::SsmBackend;
use crate::error::{Check, KernelError};
use crate::primitive::{unwrap, wrap};
use burn::tensor::Tensor;

/// The product of matrices, or of each pair in two batches of them; sums in f32 at least.
/// - `lhs`: `[.., rows, inner]`
/// - `rhs`: `[.., inner, columns]`, as many of them
/// - result: `[.., rows, columns]`, in the type of `lhs`
///
/// Differentiable in both.
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
/// let x = Tensor::<Flex, 2>::from_data([[1.0, 2.0]], &device);
/// let out = kernels::product(x, Tensor::from_data([[3.0], [4.0]], &device))?;
/// assert_eq!(out.into_data().to_vec::<f32>().unwrap(), [11.0]);
/// # }
/// # Ok::<(), kernels::KernelError>(())
/// ```
pub fn product<B: SsmBackend, const D: usize>(
    lhs: Tensor<B, D>,
    rhs: Tensor<B, D>,
) -> Result<Tensor<B, D>, KernelError> {
    let check = Check::new("product");
    let (found, mut expected) = (rhs.dims(), lhs.dims());
    check.not_empty(&[
        ("rows", lhs.dims().iter().product()),
        ("columns", found[D - 1]),
    ])?;
    expected[D - 2] = expected[D - 1];
    expected[D - 1] = found[D - 1];
    check.shape("rhs", "[.., inner, columns]", &found, &expected)?;
    Ok(wrap(B::product(unwrap(lhs), unwrap(rhs))))
}
