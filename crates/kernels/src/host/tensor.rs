//! Reading and making the CPU backend's tensors without copies where they are f32 and contiguous.

use burn::tensor::{DType, FloatDType, Shape, TensorData, ops::FloatTensorOps};
use burn_flex::{Flex, FlexTensor};

/// A contiguous f32 tensor, and what it was before.
pub(crate) struct Input {
    tensor: FlexTensor,
    dtype: DType,
}

impl Input {
    /// Copies only if the tensor is not contiguous or not f32.
    pub(crate) fn new(tensor: FlexTensor) -> Self {
        let dtype = tensor.dtype();
        let tensor = match dtype {
            DType::F32 => tensor,
            _ => <Flex as FloatTensorOps<Flex>>::float_cast(tensor, FloatDType::F32),
        };
        Self {
            tensor: tensor.to_contiguous(),
            dtype,
        }
    }

    /// Elements in row-major order.
    pub(crate) fn values(&self) -> &[f32] {
        self.tensor.storage::<f32>()
    }

    /// A tensor shaped and typed like this one.
    pub(crate) fn like(&self, values: Vec<f32>) -> FlexTensor {
        self.shaped_like(values, self.dtype)
    }

    /// A tensor shaped like this one, of another type.
    pub(crate) fn shaped_like(&self, values: Vec<f32>, dtype: DType) -> FlexTensor {
        make(values, self.tensor.layout().shape().clone(), dtype)
    }

    /// Element type of the tensor as it was given.
    pub(crate) fn dtype(&self) -> DType {
        self.dtype
    }

    /// The tensor as f32.
    pub(crate) fn into_tensor(self) -> FlexTensor {
        self.tensor
    }
}

/// A tensor of the given values, cast to `dtype` if that is not f32.
pub(crate) fn make(values: Vec<f32>, shape: Shape, dtype: DType) -> FlexTensor {
    cast(FlexTensor::from_data(TensorData::new(values, shape)), dtype)
}

/// A contiguous f32 tensor to be overwritten: in place if nothing else holds it.
pub(crate) struct Updated {
    tensor: FlexTensor,
    dtype: DType,
}

impl Updated {
    pub(crate) fn new(tensor: FlexTensor) -> Self {
        let Input { tensor, dtype } = Input::new(tensor);
        Self { tensor, dtype }
    }

    /// Elements in row-major order; a copy of them if the tensor is shared.
    pub(crate) fn values(&mut self) -> &mut [f32] {
        self.tensor.storage_mut::<f32>()
    }

    /// The tensor in the type it had.
    pub(crate) fn finish(self) -> FlexTensor {
        cast(self.tensor, self.dtype)
    }
}

fn cast(tensor: FlexTensor, dtype: DType) -> FlexTensor {
    match dtype {
        DType::F32 => tensor,
        _ => <Flex as FloatTensorOps<Flex>>::float_cast(tensor, FloatDType::from(dtype)),
    }
}
