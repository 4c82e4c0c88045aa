//! The gated norm in plain tensor operations (method 3.3).

use super::{GatedRmsNormOperands, GatedRmsNormProblem};
use crate::activation::silu;
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
