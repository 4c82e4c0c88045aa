//! The causal convolution in plain tensor operations: one shifted product a tap (method 3.3).

use super::{CausalConv1dOperands, CausalConv1dProblem};
use crate::activation;
use crate::primitive::{unwrap, wrap};
use burn::tensor::{Tensor, backend::Backend, ops::FloatTensor};

/// Forward of [`causal_conv1d`](super::causal_conv1d()) on primitives; differentiable when `B` is.
pub fn forward<B: Backend>(
    operands: CausalConv1dOperands<B>,
    reset: Option<FloatTensor<B>>,
    p: &CausalConv1dProblem,
) -> FloatTensor<B> {
    let [x, weight, bias, initial_window] = operands;
    let v = before_activation::<B>(wrap(x), wrap(weight), bias, initial_window, reset, p);
    unwrap(if p.silu { activation::silu(v) } else { v })
}

/// Gradients of [`causal_conv1d`](super::causal_conv1d()) with respect to its operands.
pub fn backward<B: Backend>(
    operands: CausalConv1dOperands<B>,
    reset: Option<FloatTensor<B>>,
    gradient: FloatTensor<B>,
    p: &CausalConv1dProblem,
) -> CausalConv1dOperands<B> {
    let [x, weight, bias, initial_window] = operands;
    let (x, weight) = (wrap::<B, 3>(x), wrap::<B, 2>(weight));
    let device = x.device();
    let mut dv = wrap::<B, 3>(gradient);
    if p.silu {
        let v = before_activation::<B>(
            x.clone(),
            weight.clone(),
            bias.clone(),
            initial_window.clone(),
            reset.clone(),
            p,
        );
        dv = dv * activation::silu_derivative(v);
    }
    let masks = reset.map(|reset| tap_masks::<B>(wrap(reset), p));
    let padded = padded(x, initial_window.clone(), p);
    let mut dpadded = Tensor::zeros(padded.dims(), &device);
    let mut dweight = Vec::with_capacity(p.width);
    for tap in 0..p.width {
        let mut dv = dv.clone();
        if let Some(masks) = &masks {
            dv = dv * masks[tap].clone();
        }
        let seen = padded.clone().narrow(1, tap, p.seq);
        let dfilter = (dv.clone() * seen).sum_dim(0).sum_dim(1);
        dweight.push(dfilter.reshape([p.channels, 1]));
        let filter = weight.clone().narrow(1, tap, 1).reshape([1, 1, p.channels]);
        let zeros = |steps| Tensor::zeros([p.batch, steps, p.channels], &device);
        let mut pieces = Vec::with_capacity(3);
        if tap > 0 {
            pieces.push(zeros(tap));
        }
        pieces.push(dv * filter);
        if tap + 1 < p.width {
            pieces.push(zeros(p.width - 1 - tap));
        }
        dpadded = dpadded + Tensor::cat(pieces, 1);
    }
    let dbias = match p.has_bias {
        true => unwrap(dv.sum_dim(0).sum_dim(1).reshape([p.channels])),
        false => bias,
    };
    let dwindow = match p.has_initial_window {
        true => unwrap(dpadded.clone().narrow(1, 0, p.width - 1)),
        false => initial_window,
    };
    let dx = dpadded.narrow(1, p.width - 1, p.seq);
    [unwrap(dx), unwrap(Tensor::cat(dweight, 1)), dbias, dwindow]
}

/// Filtered input before SiLU, `[batch, seq, channels]`.
fn before_activation<B: Backend>(
    x: Tensor<B, 3>,
    weight: Tensor<B, 2>,
    bias: FloatTensor<B>,
    initial_window: FloatTensor<B>,
    reset: Option<FloatTensor<B>>,
    p: &CausalConv1dProblem,
) -> Tensor<B, 3> {
    let masks = reset.map(|reset| tap_masks::<B>(wrap(reset), p));
    let padded = padded(x, initial_window, p); // [batch, width - 1 + seq, channels]
    let mut v: Option<Tensor<B, 3>> = None;
    for tap in 0..p.width {
        let filter = weight.clone().narrow(1, tap, 1).reshape([1, 1, p.channels]);
        let mut term = padded.clone().narrow(1, tap, p.seq) * filter;
        if let Some(masks) = &masks {
            term = term * masks[tap].clone();
        }
        v = Some(match v {
            Some(v) => v + term,
            None => term,
        });
    }
    let v = v.expect("width is at least 1: checked in CausalConv1dProblem::validate");
    match p.has_bias {
        true => v + wrap::<B, 1>(bias).reshape([1, 1, p.channels]),
        false => v,
    }
}

/// The window, or zeros, before the sequence.
fn padded<B: Backend>(
    x: Tensor<B, 3>,
    initial_window: FloatTensor<B>,
    p: &CausalConv1dProblem,
) -> Tensor<B, 3> {
    if p.width == 1 {
        return x;
    }
    let before = match p.has_initial_window {
        true => wrap::<B, 3>(initial_window),
        false => Tensor::zeros([p.batch, p.width - 1, p.channels], &x.device()),
    };
    Tensor::cat(vec![before, x], 1)
}

/// For each tap 1.0 where its input lies in the same document, `[batch, seq, 1]`.
fn tap_masks<B: Backend>(reset: Tensor<B, 2>, p: &CausalConv1dProblem) -> Vec<Tensor<B, 3>> {
    let device = reset.device();
    let keep = reset.neg().add_scalar(1.0).unsqueeze_dim::<3>(2);
    let mut mask = Tensor::ones([p.batch, p.seq, 1], &device);
    let mut masks = vec![mask.clone()];
    for back in 0..p.width - 1 {
        // One step further back crosses the boundary before step `t - back`.
        let shifted = match back {
            0 => keep.clone(),
            _ if back < p.seq => Tensor::cat(
                vec![
                    Tensor::ones([p.batch, back, 1], &device),
                    keep.clone().narrow(1, 0, p.seq - back),
                ],
                1,
            ),
            _ => Tensor::ones([p.batch, p.seq, 1], &device),
        };
        mask = mask * shifted;
        masks.push(mask.clone());
    }
    masks.reverse();
    masks
}
