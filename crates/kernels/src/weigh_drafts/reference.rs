//! The definition, in tensor operations.

use super::{NOTHING_LEFT, UNIFORM, WeighDraftsOperands, WeighDraftsProblem};
use crate::backend::SsmBackend;
use crate::primitive::{unwrap, wrap};
use burn::tensor::activation::softmax;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{DType, IndexingUpdateOp, Int, Tensor};

/// [`weigh_drafts`](super::weigh_drafts) on primitives.
pub(crate) fn forward<B: SsmBackend>(
    operands: WeighDraftsOperands<B>,
    p: &WeighDraftsProblem,
) -> FloatTensor<B> {
    let [batch, most] = [p.batch, p.drafts];
    let distribution = |logits: FloatTensor<B>| {
        let logits: Tensor<B, 3> = wrap::<B, 3>(logits).cast(DType::F32);
        softmax(logits.div_scalar(p.temperature), 2)
    };
    let verified = distribution(operands.verified);
    let device = verified.device();
    let ids = Tensor::<B, 2, Int>::from_primitive(operands.drafts).unsqueeze_dim::<3>(2);
    let drafted = match operands.drafted {
        Some(logits) => distribution(logits),
        None => {
            let ones = Tensor::ones([batch, most, 1], &device);
            let nothing = Tensor::zeros([batch, most, p.vocab], &device);
            nothing.scatter(2, ids.clone(), ones, IndexingUpdateOp::Add)
        }
    };
    let before = verified.clone().narrow(1, 0, most);
    // A sequence with fewer drafts than others ends at its own last one, with a token of the verifier.
    let is_draft = match operands.counts {
        Some(counts) => {
            let counts: Tensor<B, 3, Int> =
                Tensor::<B, 1, Int>::from_primitive(counts).reshape([batch, 1, 1]);
            let at = Tensor::<B, 1, Int>::arange(0..most as i64, &device).reshape([1, most, 1]);
            let at: Tensor<B, 3, Int> = at.repeat_dim(0, batch);
            at.lower(counts.repeat_dim(1, most)).float()
        }
        None => Tensor::ones([batch, most, 1], &device),
    };
    let of_drafts = |values: Tensor<B, 3>| values.gather(2, ids.clone()) * is_draft.clone();
    let numbers = Tensor::cat(
        vec![
            ids.clone().float().cast(DType::F32) * is_draft.clone(),
            of_drafts(before.clone()),
            of_drafts(drafted.clone()),
        ],
        2,
    );
    let numbers = Tensor::cat(vec![numbers, Tensor::zeros([batch, 1, 3], &device)], 1);
    let left = (before.clone() - drafted * is_draft).clamp_min(0.0) + before * NOTHING_LEFT;
    let weights = Tensor::cat(vec![left, verified.narrow(1, most, 1)], 1);
    let uniform = wrap::<B, 3>(operands.uniform).clamp(UNIFORM[0], UNIFORM[1]);
    let raced = weights / uniform.log().neg();
    let raced = raced.reshape([batch * (most + 1), p.vocab]);
    let next = Tensor::<B, 2, Int>::from_primitive(B::argmax(unwrap(raced))).float();
    let next = next.cast(DType::F32).reshape([batch, most + 1, 1]);
    unwrap(Tensor::cat(vec![numbers, next], 2))
}
