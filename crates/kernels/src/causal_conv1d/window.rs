//! The raw inputs that the next call has to see.

use super::{CausalConv1dInputs, CausalConv1dProblem};
use burn::tensor::{FloatDType, Tensor, backend::Backend};

/// Last `width - 1` inputs of window and sequence, `[batch, width - 1, channels]`.
pub(super) fn last<B: Backend>(
    inputs: &CausalConv1dInputs<B>,
    p: &CausalConv1dProblem,
) -> Tensor<B, 3> {
    let length = p.width - 1;
    let device = inputs.x.device();
    let dtype = FloatDType::from(inputs.x.dtype());
    if length == 0 {
        return Tensor::zeros([p.batch, 0, p.channels], &device);
    }
    let window = if p.seq >= length {
        inputs.x.clone().narrow(1, p.seq - length, length)
    } else {
        let before = match &inputs.initial_window {
            Some(window) => window.clone().narrow(1, p.seq, length - p.seq),
            None => Tensor::zeros([p.batch, length - p.seq, p.channels], &device),
        };
        Tensor::cat(vec![before.cast(dtype), inputs.x.clone()], 1)
    };
    match &inputs.reset {
        Some(reset) => {
            let keep = in_last_document(reset, p).unsqueeze_dim::<3>(2);
            window * keep.cast(dtype)
        }
        None => window,
    }
}

/// 1.0 where no document starts after the window's entry, else 0.0, `[batch, width - 1]`.
fn in_last_document<B: Backend>(reset: &Tensor<B, 2>, p: &CausalConv1dProblem) -> Tensor<B, 2> {
    let length = p.width - 1;
    let mut keep = Vec::with_capacity(length);
    let mut inside = Tensor::ones([p.batch, 1], &reset.device());
    for back in 0..length {
        keep.push(inside.clone());
        if back < p.seq {
            let starts = reset.clone().narrow(1, p.seq - 1 - back, 1);
            inside = inside * starts.neg().add_scalar(1.0);
        }
    }
    keep.reverse();
    Tensor::cat(keep, 1)
}
