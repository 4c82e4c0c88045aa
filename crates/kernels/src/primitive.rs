//! Moving between burn's typed tensors and the primitives that backend methods take.

use burn::tensor::ops::FloatTensor;
use burn::tensor::{Device, FloatDType, Shape, Tensor, TensorPrimitive, backend::Backend};

/// Tensor to primitive.
pub(crate) fn unwrap<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> FloatTensor<B> {
    tensor.into_primitive().tensor()
}

/// Primitive to tensor of a known rank.
pub(crate) fn wrap<B: Backend, const D: usize>(primitive: FloatTensor<B>) -> Tensor<B, D> {
    Tensor::from_primitive(TensorPrimitive::Float(primitive))
}

/// Stands for an absent optional input, so that operand arrays have a fixed length.
pub(crate) fn placeholder<B: Backend>(device: &Device<B>) -> FloatTensor<B> {
    B::float_empty(Shape::new([1]), device, FloatDType::F32)
}

/// The optional input's primitive, or a placeholder.
pub(crate) fn unwrap_or_placeholder<B: Backend, const D: usize>(
    tensor: Option<Tensor<B, D>>,
    device: &Device<B>,
) -> FloatTensor<B> {
    match tensor {
        Some(tensor) => unwrap(tensor),
        None => placeholder::<B>(device),
    }
}

/// A copy of `view`, which may share its memory with the tensor whose axes it turns.
///
/// burn-tch 0.21 takes such a view for the only owner of that memory: the next operation would be computed in place, and change the other
/// tensor with it.
pub(crate) fn apart<B: Backend, const D: usize>(view: Tensor<B, D>) -> Tensor<B, D> {
    // With a second owner, nothing is computed in place.
    let owner = view.clone();
    let copy = view.mul_scalar(1.0);
    drop(owner);
    copy
}
