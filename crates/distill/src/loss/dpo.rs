//! Direct preference optimisation (method, section 4.3) in its published form and four others.

use burn::backend::Autodiff;
use burn::tensor::activation::{log_sigmoid, relu};
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use kernels::SsmBackend;
use model::{CheckpointedBlocks, HybridModel};

use super::{HeadRows, Targets, label_log_probs, label_log_probs_tracked};
use crate::data::Batch;
use crate::recipe::{DpoPlan, PreferenceLoss};

/// A number of each pair's replies, `[pairs]` each.
#[derive(Debug, Clone)]
pub struct PairValues<B: Backend> {
    /// Of the reply that is preferred.
    pub chosen: Tensor<B, 1>,
    /// Of the other.
    pub rejected: Tensor<B, 1>,
}

impl<B: Backend> PairValues<B> {
    /// From numbers of both replies: `[2 * pairs]`, the chosen ones first.
    pub fn split(values: Tensor<B, 1>) -> Self {
        let pairs = values.dims()[0] / 2;
        Self {
            chosen: values.clone().narrow(0, 0, pairs),
            rejected: values.narrow(0, pairs, pairs),
        }
    }
}

/// Loss and metrics of a micro-batch of pairs.
pub struct DpoLoss<B: Backend> {
    /// What each pair costs, `[pairs]`.
    pub per_pair: Tensor<B, 1>,
    /// `m` of [`dpo_loss`]: the difference of rewards, `[pairs]`.
    pub margins: Tensor<B, 1>,
}

/// Sum over response tokens of the log-probability under a frozen `model`, one number a sequence, `[batch]`.
pub fn sequence_log_probs<B: SsmBackend>(
    model: &HybridModel<B>,
    batch: &Batch,
    targets: &Targets,
    device: &B::Device,
) -> Tensor<B, 1> {
    let hidden = batch.hidden(model, device).flatten::<2>(0, 1);
    let rows = HeadRows::of(model, targets.rows.select(hidden));
    let log_probs = label_log_probs(&rows, targets.labels(device), rows.rows_at_a_time());
    sum_by_sequence(log_probs, batch.rows(), targets, device)
}

/// As [`sequence_log_probs`], differentiable.
pub fn sequence_log_probs_tracked<B: SsmBackend>(
    model: &HybridModel<Autodiff<B>>,
    batch: &Batch,
    targets: &Targets,
    device: &B::Device,
) -> (Tensor<Autodiff<B>, 1>, Option<CheckpointedBlocks<B>>) {
    let pass = batch.training_pass(model, device);
    let hidden = pass.hidden.flatten::<2>(0, 1);
    let rows = HeadRows::of(model, targets.rows.select_tracked(hidden));
    let rows_at_a_time = rows.rows_at_a_time();
    let log_probs = label_log_probs_tracked(rows, targets.labels(device), rows_at_a_time);
    let sums = sum_by_sequence(log_probs, batch.rows(), targets, device);
    (sums, pass.blocks)
}

/// Log-probabilities of labels, `[rows]`, weighted and summed by sequence, `[batch]`.
fn sum_by_sequence<B: Backend>(
    log_probs: Tensor<B, 1>,
    sequences: usize,
    targets: &Targets,
    device: &B::Device,
) -> Tensor<B, 1> {
    let rows = targets.labels.len();
    // A matrix [sequences, rows] of weights does the segment sum as one product.
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

/// Loss of each pair from summed log-probabilities of its replies.
///
/// With `h = (log pi_w - log ref_w) - (log pi_l - log ref_l)` for chosen `w` and rejected `l`, and `m = beta h`:
///
/// ```text
/// sigmoid            -log sigmoid(m)                                         DPO, arXiv 2305.18290
/// ipo                (h - 1 / (2 beta))^2                                    IPO, arXiv 2310.12036
/// hinge              max(0, 1 - m)                                           SLiC, arXiv 2305.10425, on DPO's margin
/// robust             (-(1 - e) log sigmoid(m) + e log sigmoid(-m)) / (1 - 2 e)      rDPO, arXiv 2403.00409
/// length-normalized  -log sigmoid(m), where m = beta ((log pi_w - log ref_w) / |w| - (log pi_l - log ref_l) / |l|)
///                                                                            SimPO, arXiv 2405.14734, with a reference
///                                                                            as in Tulu 3, arXiv 2411.15124
/// ```
///
/// - `policy`, `reference`: log-probabilities; `tokens`: scored tokens of each reply
pub fn dpo_loss<B: Backend>(
    policy: PairValues<B>,
    reference: PairValues<B>,
    tokens: PairValues<B>,
    plan: &DpoPlan,
) -> DpoLoss<B> {
    let mut chosen = policy.chosen - reference.chosen;
    let mut rejected = policy.rejected - reference.rejected;
    if plan.loss == PreferenceLoss::LengthNormalized {
        chosen = chosen / tokens.chosen;
        rejected = rejected / tokens.rejected;
    }
    let log_ratios = chosen - rejected;
    let margins = log_ratios.clone().mul_scalar(plan.beta);
    let per_pair = match plan.loss {
        PreferenceLoss::Sigmoid | PreferenceLoss::LengthNormalized => {
            log_sigmoid(margins.clone()).neg()
        }
        PreferenceLoss::Ipo => {
            let error = log_ratios.sub_scalar(0.5 / plan.beta);
            error.clone() * error
        }
        PreferenceLoss::Hinge => relu(margins.clone().neg().add_scalar(1.0)),
        PreferenceLoss::Robust { label_smoothing } => {
            let right = log_sigmoid(margins.clone()).mul_scalar(1.0 - label_smoothing);
            let wrong = log_sigmoid(margins.clone().neg()).mul_scalar(label_smoothing);
            (wrong - right).div_scalar(1.0 - 2.0 * label_smoothing)
        }
    };
    DpoLoss { per_pair, margins }
}

#[cfg(test)]
mod tests;
