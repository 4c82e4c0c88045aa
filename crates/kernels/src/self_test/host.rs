//! Tensors to the device and back, and what self-tests vary about that.

use crate::primitive::wrap;
use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{DType, Device, FloatDType, Shape, TensorData, TensorMetadata};
use std::any::Any;
use std::cell::{Cell, RefCell};

thread_local! {
    static DEVICE: RefCell<Option<Box<dyn Any>>> = const { RefCell::new(None) };
    static LAYOUT: Cell<Layout> = const { Cell::new(Layout::Contiguous) };
}

/// How uploaded tensors lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Row by row.
    Contiguous,
    /// With the first two axes swapped.
    Turned,
    /// With the last two axes swapped.
    Across,
}

impl Layout {
    /// Short, for the name of a case.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Contiguous => "",
            Self::Turned => " turned",
            Self::Across => " across",
        }
    }

    /// The axes that are swapped in memory, of `rank`.
    fn swapped(self, rank: usize) -> Option<[usize; 2]> {
        match self {
            _ if rank < 2 => None,
            Self::Contiguous => None,
            Self::Turned => Some([0, 1]),
            Self::Across => Some([rank - 2, rank - 1]),
        }
    }
}

/// Has this thread's self-tests run on `device`, not on the default one.
pub(crate) fn on_device<B: Backend>(device: &Device<B>, run: impl FnOnce()) {
    DEVICE.set(Some(Box::new(device.clone())));
    run();
    DEVICE.set(None);
}

/// The device that this thread's self-tests run on.
pub(crate) fn device<B: Backend>() -> Device<B> {
    DEVICE.with_borrow(|device| {
        let chosen = device.as_ref().and_then(|device| device.downcast_ref());
        chosen.map_or_else(Default::default, Device::<B>::clone)
    })
}

/// Has what `run` uploads lie in memory like that.
pub(crate) fn laid_out<T>(layout: Layout, run: impl FnOnce() -> T) -> T {
    LAYOUT.set(layout);
    let result = run();
    LAYOUT.set(Layout::Contiguous);
    result
}

/// A tensor on the device.
pub(crate) fn upload<B: Backend>(values: &[f32], shape: &[usize]) -> FloatTensor<B> {
    let data = TensorData::new(values.to_vec(), Shape::from(shape.to_vec()));
    let tensor = B::float_from_data(data, &device::<B>());
    let Some([a, b]) = LAYOUT.get().swapped(shape.len()) else {
        return tensor;
    };
    // An operation in between, since a swap alone moves nothing.
    let moved = B::float_swap_dims(tensor, a, b);
    let length = values.len();
    let turned = moved.shape();
    let flat = B::float_reshape(moved, Shape::new([length]));
    let moved = B::float_reshape(flat, turned);
    B::float_swap_dims(moved, a, b)
}

/// The values of a tensor of any rank.
pub(crate) fn download<B: Backend>(tensor: FloatTensor<B>) -> Vec<f32> {
    let length = tensor.shape().num_elements();
    let flat = wrap::<B, 1>(B::float_reshape(tensor, Shape::new([length])));
    flat.cast(DType::F32).into_data().to_vec().expect("f32")
}

/// Gives memory back that is full of NaN, in pieces of these lengths: what an operation fails to write shows.
pub(crate) fn free_nan<B: Backend>(lengths: impl Iterator<Item = usize>) {
    let fill = |length| {
        let value = f32::NAN.into();
        B::float_full(Shape::new([length]), value, &device::<B>(), FloatDType::F32)
    };
    // Forward and backward may hold one each.
    let held: Vec<_> = lengths
        .flat_map(|length| [fill(length), fill(length)])
        .collect();
    drop(held);
}
