//! The masked softmax in plain tensor operations (method 2.1).

use super::MaskedSoftmaxProblem;
use crate::primitive::{unwrap, wrap};
use burn::tensor::activation::softmax;
use burn::tensor::{Bool, Device, FloatDType, Int, Tensor, backend::Backend, ops::FloatTensor};

/// Score of a hidden key: as good as minus infinity, and never a NaN.
const HIDDEN: f64 = -1e30;

/// Forward of [`masked_softmax`](super::masked_softmax()) on primitives; differentiable when `B` is.
pub fn forward<B: Backend>(
    scores: FloatTensor<B>,
    first: Option<FloatTensor<B>>,
    p: &MaskedSoftmaxProblem,
) -> FloatTensor<B> {
    let scores = wrap::<B, 4>(scores);
    let (dims, dtype) = (scores.dims(), FloatDType::from(scores.dtype()));
    let hidden = hidden::<B>(first.map(wrap), p, &scores.device());
    // One mask for all rows of a query.
    let by_query = [p.batch, p.heads * p.rows / p.seq, p.seq, p.keys];
    let scaled = scores.cast(FloatDType::F32).mul_scalar(p.scale);
    let masked = scaled
        .reshape(by_query)
        .mask_fill(hidden.expand(by_query), HIDDEN);
    unwrap(softmax(masked, 3).reshape(dims).cast(dtype))
}

/// Gradient of [`masked_softmax`](super::masked_softmax()) with respect to the scores, from the weights that
/// it returned.
pub fn backward<B: Backend>(
    weights: FloatTensor<B>,
    gradient: FloatTensor<B>,
    p: &MaskedSoftmaxProblem,
) -> FloatTensor<B> {
    let weights = wrap::<B, 4>(weights);
    let dtype = FloatDType::from(weights.dtype());
    let weights = weights.cast(FloatDType::F32);
    let dweights = wrap::<B, 4>(gradient).cast(FloatDType::F32);
    let along = (weights.clone() * dweights.clone()).sum_dim(3);
    let dscores = weights * (dweights - along);
    unwrap(dscores.mul_scalar(p.scale).cast(dtype))
}

/// Whether a query does not see a key, `[1 or batch, 1, seq, keys]`.
fn hidden<B: Backend>(
    first: Option<Tensor<B, 2>>,
    p: &MaskedSoftmaxProblem,
    device: &Device<B>,
) -> Tensor<B, 4, Bool> {
    let range = |end: usize| Tensor::<B, 1, Int>::arange(0..end as i64, device);
    let key = range(p.keys).reshape([1, 1, 1, p.keys]);
    let own = range(p.seq).add_scalar(p.past as i64);
    let own = own.reshape([1, 1, p.seq, 1]);
    let square = |rows: usize| [rows, 1, p.seq, p.keys];
    let later = key
        .clone()
        .expand(square(1))
        .greater(own.clone().expand(square(1)));
    let Some(first) = first else {
        return later;
    };
    let column = [p.batch, 1, p.seq, 1];
    let first = first.int().reshape(column).min_pair(own.expand(column));
    let all = square(p.batch);
    let before = key.expand(all).lower(first.expand(all));
    before.bool_or(later.expand(all))
}
