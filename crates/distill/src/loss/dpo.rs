//! Direct preference optimisation, sigmoid form (method, section 4.3).

use burn::tensor::activation::{log_sigmoid, log_softmax};
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use kernels::SsmBackend;
use model::HybridModel;

use super::distillation::head;
use super::{Targets, label_log_probs};
use crate::data::Batch;

/// Loss and metrics of a micro-batch of pairs.
pub struct DpoLoss<B: Backend> {
    /// `-log sigmoid(margin)` of each pair, `[pairs]`.
    pub per_pair: Tensor<B, 1>,
    /// `beta * ((log pi_w - log ref_w) - (log pi_l - log ref_l))`, the difference of rewards, `[pairs]`.
    pub margins: Tensor<B, 1>,
}

/// Sum over response tokens of the log-probability, one number a row, `[batch]`.
/// - `hidden`: `[batch, seq, d_model]` of `model` on `batch`
///
/// `select` takes the target rows, with or without a tape.
pub fn sequence_log_probs<B: SsmBackend>(
    model: &HybridModel<B>,
    batch: &Batch,
    targets: &Targets,
    select: impl Fn(Tensor<B, 2>) -> Tensor<B, 2>,
    device: &B::Device,
) -> Tensor<B, 1> {
    let hidden = batch.hidden(model, device).flatten::<2>(0, 1);
    let logits = head(model, select(hidden));
    sum_by_sequence(logits, batch.rows(), targets, device)
}

/// Label log-probabilities of `logits` `[rows, vocab]` summed by sequence, `[batch]`.
pub fn sum_by_sequence<B: Backend>(
    logits: Tensor<B, 2>,
    sequences: usize,
    targets: &Targets,
    device: &B::Device,
) -> Tensor<B, 1> {
    let rows = targets.labels.len();
    let log_probs = label_log_probs(log_softmax(logits, 1), targets.labels(device));
    // A 0/1 matrix [sequences, rows] does the segment sum as one product.
    let mut membership = vec![0.0f32; sequences * rows];
    for (row, (sequence, weight)) in targets
        .sequences
        .iter()
        .zip(&targets.ce_weights)
        .enumerate()
    {
        membership[sequence * rows + row] = *weight;
    }
    let membership =
        Tensor::<B, 2>::from_data(TensorData::new(membership, [sequences, rows]), device);
    membership.matmul(log_probs.unsqueeze_dim(1)).squeeze_dim(1)
}

/// DPO loss from summed log-probabilities, each `[pairs]`; no label smoothing.
pub fn dpo_loss<B: Backend>(
    chosen: Tensor<B, 1>,
    rejected: Tensor<B, 1>,
    reference_chosen: Tensor<B, 1>,
    reference_rejected: Tensor<B, 1>,
    beta: f64,
) -> DpoLoss<B> {
    let margins = ((chosen - reference_chosen) - (rejected - reference_rejected)).mul_scalar(beta);
    DpoLoss {
        per_pair: log_sigmoid(margins.clone()).neg(),
        margins,
    }
}
