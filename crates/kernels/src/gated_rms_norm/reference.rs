//! The gated norm in plain tensor operations (method 3.3).

use super::{GatedRmsNormOperands, GatedRmsNormProblem};
use crate::activation::{silu, silu_derivative};
use crate::primitive::{unwrap, wrap};
use burn::tensor::{backend::Backend, ops::FloatTensor};

/// Forward of [`gated_rms_norm`](super::gated_rms_norm()) on primitives; differentiable when `B` is.
pub fn forward<B: Backend>(
    operands: GatedRmsNormOperands<B>,
    p: &GatedRmsNormProblem,
) -> FloatTensor<B> {
    let [y, z, weight] = operands;
    let groups = p.channels / p.group_size;
    let gated = wrap::<B, 3>(y) * silu(wrap::<B, 3>(z));
    let gated = gated.reshape([p.batch, p.seq, groups, p.group_size]);
    let scale = (gated.clone() * gated.clone())
        .mean_dim(3)
        .add_scalar(p.eps)
        .sqrt()
        .recip();
    let normed = (gated * scale).reshape([p.batch, p.seq, p.channels]);
    unwrap(normed * wrap::<B, 1>(weight).reshape([1, 1, p.channels]))
}

/// Gradients of [`gated_rms_norm`](super::gated_rms_norm()) with respect to its operands.
pub fn backward<B: Backend>(
    operands: GatedRmsNormOperands<B>,
    gradient: FloatTensor<B>,
    p: &GatedRmsNormProblem,
) -> GatedRmsNormOperands<B> {
    let [y, z, weight] = operands;
    let (y, z, dout) = (wrap::<B, 3>(y), wrap::<B, 3>(z), wrap::<B, 3>(gradient));
    let full = [p.batch, p.seq, p.channels];
    let grouped = [p.batch, p.seq, p.channels / p.group_size, p.group_size];
    let gate = silu(z.clone());
    let g = (y.clone() * gate.clone()).reshape(grouped);
    let scale = (g.clone() * g.clone())
        .mean_dim(3)
        .add_scalar(p.eps)
        .sqrt()
        .recip();
    let normed = g * scale.clone();

    let dweight = (dout.clone() * normed.clone().reshape(full))
        .sum_dim(0)
        .sum_dim(1);
    let q = (dout * wrap::<B, 1>(weight).reshape([1, 1, p.channels])).reshape(grouped);
    let along = (normed.clone() * q.clone()).mean_dim(3);
    let dg = ((q - normed * along) * scale).reshape(full);
    let dz = dg.clone() * y * silu_derivative(z);
    [
        unwrap(dg * gate),
        unwrap(dz),
        unwrap(dweight.reshape([p.channels])),
    ]
}
