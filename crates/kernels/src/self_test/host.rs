//! Tensors to the device and back.

use crate::primitive::wrap;
use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{DType, Shape, TensorData, TensorMetadata};

/// A tensor on the default device.
pub(crate) fn upload<B: Backend>(values: &[f32], shape: &[usize]) -> FloatTensor<B> {
    let data = TensorData::new(values.to_vec(), Shape::from(shape.to_vec()));
    B::float_from_data(data, &Default::default())
}

/// The values of a tensor of any rank.
pub(crate) fn download<B: Backend>(tensor: FloatTensor<B>) -> Vec<f32> {
    let length = tensor.shape().num_elements();
    let flat = wrap::<B, 1>(B::float_reshape(tensor, Shape::new([length])));
    flat.cast(DType::F32).into_data().to_vec().expect("f32")
}
