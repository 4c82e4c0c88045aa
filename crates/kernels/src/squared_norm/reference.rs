//! The sum in plain tensor operations.

use crate::primitive::{unwrap, wrap};
use burn::tensor::{FloatDType, Shape, Tensor, TensorMetadata, backend::Backend, ops::FloatTensor};

/// [`squared_norm`](super::squared_norm()) of at least one tensor, on primitives.
///
/// burn's own `sum` adds up parts of a tensor atomically on GPUs, in whichever order they are finished; sums over a
/// dimension have one order.
pub fn sum<B: Backend>(tensors: Vec<FloatTensor<B>>) -> FloatTensor<B> {
    let of_squares = |tensor: FloatTensor<B>| {
        let shape = tensor.shape();
        let width = shape.iter().next_back().copied().unwrap_or(1);
        let rows = shape.num_elements() / width.max(1);
        let tensor = B::float_cast(tensor, FloatDType::F32);
        let tensor: Tensor<B, 2> = wrap(B::float_reshape(tensor, Shape::new([rows, width])));
        total(tensor.clone() * tensor)
    };
    let parts: Vec<_> = tensors.into_iter().map(of_squares).collect();
    let parts = Tensor::<B, 2>::cat(parts, 1);
    unwrap(total(parts).reshape([1]))
}

/// Sum of all elements, `[1, 1]`.
fn total<B: Backend>(tensor: Tensor<B, 2>) -> Tensor<B, 2> {
    let rows = tensor.dims()[0];
    tensor.sum_dim(1).reshape([1, rows]).sum_dim(1)
}
