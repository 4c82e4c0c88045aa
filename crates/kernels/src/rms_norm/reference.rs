//! The RMS norm in plain tensor operations (method 2.1, step 1).

use super::{RmsNormGradients, RmsNormOperands, RmsNormProblem};
use crate::primitive::{unwrap, wrap};
use burn::tensor::{FloatDType, Tensor, backend::Backend, ops::FloatTensor};

/// Forward of [`rms_norm`](super::rms_norm()) on primitives; differentiable when `B` is.
pub fn forward<B: Backend>(operands: RmsNormOperands<B>, p: &RmsNormProblem) -> FloatTensor<B> {
    let [x, weight] = operands;
    let x = wrap::<B, 3>(x).cast(FloatDType::F32);
    let scale = inverse_rms(x.clone(), p);
    let weight = wrap::<B, 1>(weight).cast(FloatDType::F32);
    unwrap((x * scale * weight.reshape([1, 1, p.channels])).cast(p.dtype))
}

/// Gradients of [`rms_norm`](super::rms_norm()) with respect to its operands; that of the weight where it is
/// `weight_wanted`.
pub fn backward<B: Backend>(
    operands: RmsNormOperands<B>,
    gradient: FloatTensor<B>,
    p: &RmsNormProblem,
    weight_wanted: bool,
) -> RmsNormGradients<B> {
    let [x, weight] = operands;
    let (x, weight) = (wrap::<B, 3>(x), wrap::<B, 1>(weight));
    let (x_dtype, weight_dtype) = (x.dtype(), weight.dtype());
    let dout = wrap::<B, 3>(gradient).cast(FloatDType::F32);
    let x = x.cast(FloatDType::F32);
    let scale = inverse_rms(x.clone(), p);
    let normed = x * scale.clone();

    let dweight = weight_wanted.then(|| {
        let sum = (dout.clone() * normed.clone()).sum_dim(0).sum_dim(1);
        unwrap(sum.reshape([p.channels]).cast(weight_dtype))
    });
    let weight = weight.cast(FloatDType::F32).reshape([1, 1, p.channels]);
    let q = dout * weight;
    let along = (normed.clone() * q.clone()).mean_dim(2);
    let dx = (q - normed * along) * scale;
    (unwrap(dx.cast(x_dtype)), dweight)
}

/// `[batch, seq, 1]`.
fn inverse_rms<B: Backend>(x: Tensor<B, 3>, p: &RmsNormProblem) -> Tensor<B, 3> {
    let square = (x.clone() * x).mean_dim(2);
    square.add_scalar(p.eps).sqrt().recip()
}
