//! Sum of the squares of many tensors at once: the global norm of a model's gradients (method 4.2).
//!
//! Sums run in one order, which the shapes alone decide: equal runs clip by equal norms.

#[cfg(feature = "cube")]
mod kernel;
#[cfg(feature = "cube")]
pub(crate) mod launch;
pub mod reference;
pub(crate) mod self_test;

use crate::backend::SsmBackend;
use crate::primitive::wrap;
use burn::tensor::{Device, Tensor, TensorPrimitive};

/// Sum of the squares of all elements of `tensors`, which may be of any shapes, as `[1]` in f32; zero where there are
/// none. Not differentiable.
pub fn squared_norm<B: SsmBackend>(
    tensors: Vec<TensorPrimitive<B>>,
    device: &Device<B>,
) -> Tensor<B, 1> {
    if tensors.is_empty() {
        return Tensor::zeros([1], device);
    }
    let tensors = tensors.into_iter().map(TensorPrimitive::tensor);
    wrap(B::squared_norm(tensors.collect()))
}
