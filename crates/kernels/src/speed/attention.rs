//! The operations of an attention layer.

use super::inputs::random;
use super::timing::{Measurement, forward_and_both, width};
use crate::{SsmBackend, VisibleKeys};
use burn::tensor::{DType, Tensor};

/// Times the masked softmax of training; `dims` are batch, heads of keys, query heads of each and tokens.
pub fn masked_softmax<B: SsmBackend>(dims: [usize; 4], dtype: DType) -> Measurement {
    let [batch, heads, stack, seq] = dims;
    let flat = [batch * heads, stack * seq, seq];
    let scores = random::<B>(flat, -4.0, 4.0, dtype);
    let plain = scores.clone().inner();
    let (forward_ms, both_ms) = forward_and_both::<B>(
        scores.clone().detach(),
        || {
            weights(plain.clone(), dims);
        },
        || weights(scores.clone(), dims),
    );
    let large = batch * heads * stack * seq * seq * width(dtype);
    Measurement {
        op: "masked_softmax",
        case: format!("{dtype:?} B{batch} H{heads} of {stack} L{seq}"),
        forward_ms,
        both_ms: Some(both_ms),
        forward_bytes: 2 * large,
        both_bytes: 4 * large,
    }
}

fn weights<B: SsmBackend>(
    scores: Tensor<B, 3>,
    [batch, heads, stack, seq]: [usize; 4],
) -> Tensor<B, 3> {
    let (flat, shape) = (scores.dims(), [batch, heads, stack * seq, seq]);
    let visible = VisibleKeys {
        seq,
        past: 0,
        first: None,
    };
    let weights = crate::masked_softmax(scores.reshape(shape), visible, 0.125);
    weights.expect("shapes agree").reshape(flat)
}
