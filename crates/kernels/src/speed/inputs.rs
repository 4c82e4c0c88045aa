//! Inputs of benchmarks.

use crate::seeded::Seeded;
use burn::backend::Autodiff;
use burn::tensor::{DType, Tensor, backend::Backend};

/// One row of random numbers repeated: generating gigabytes on the host takes longer than the runs.
pub(super) fn random<B: Backend>(
    [batch, seq, width]: [usize; 3],
    low: f32,
    high: f32,
    dtype: DType,
) -> Tensor<Autodiff<B>, 3> {
    let device = Default::default();
    let row = Seeded::new(1).tensor::<B, 3>([1, 64, width], low, high, &device);
    let row = row.repeat(&[batch, seq.div_ceil(64), 1]).narrow(1, 0, seq);
    Tensor::<Autodiff<B>, 3>::from_inner(row.cast(dtype)).require_grad()
}

/// The same with the last axis cut in two.
pub(super) fn random4<B: Backend>(dims: [usize; 4], dtype: DType) -> Tensor<Autodiff<B>, 4> {
    let [batch, seq, streams, width] = dims;
    let flat = random::<B>([batch, seq, streams * width], -1.0, 1.0, dtype);
    flat.reshape(dims).detach().require_grad()
}

/// A vector of parameters, f32.
pub(super) fn parameter<B: Backend>(length: usize, low: f32, high: f32) -> Tensor<Autodiff<B>, 1> {
    let values = Seeded::new(2).tensor::<B, 1>([length], low, high, &Default::default());
    Tensor::from_inner(values).require_grad()
}

/// A matrix of parameters, f32.
pub(super) fn matrix<B: Backend>(dims: [usize; 2], low: f32, high: f32) -> Tensor<Autodiff<B>, 2> {
    let flat = parameter::<B>(dims[0] * dims[1], low, high);
    flat.reshape(dims).detach().require_grad()
}
