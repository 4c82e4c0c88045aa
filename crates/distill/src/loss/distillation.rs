//! Cross-entropy plus KL to the teacher on one micro-batch.

use burn::backend::Autodiff;
use burn::tensor::Tensor;
use burn::tensor::activation::log_softmax;
use kernels::SsmBackend;
use model::HybridModel;

use super::targets::floats;
use super::{Denominators, Targets, cross_entropy, forward_kl};
use crate::data::Batch;
use crate::recipe::LossPlan;

/// One micro-batch's share of the loss of a step.
pub struct DistillationLoss<B: SsmBackend> {
    /// `ce_weight * ce + kl_weight * kl`, `[1]`, on the tape.
    pub loss: Tensor<Autodiff<B>, 1>,
    /// Cross-entropy, `[1]`.
    pub ce: Tensor<B, 1>,
    /// KL, `[1]`; zero when its weight is zero.
    pub kl: Tensor<B, 1>,
}

/// Loss of `student` on `batch`.
///
/// Summed over the micro-batches that `over` was counted from, it is the loss of the whole step. The teacher runs without
/// a tape, and only when the KL weight is not zero. Logits are computed at scored positions only.
pub fn distillation_loss<B: SsmBackend>(
    student: &HybridModel<Autodiff<B>>,
    teacher: Option<&HybridModel<B>>,
    batch: &Batch,
    plan: &LossPlan,
    over: Denominators,
    device: &B::Device,
) -> DistillationLoss<B> {
    let targets = Targets::new(batch, plan, over);
    let hidden = batch.hidden(student, device).flatten::<2>(0, 1);
    let hidden = targets.rows.select_tracked(hidden);
    let student_logits = head(student, hidden);
    let teacher_logits = teacher.filter(|_| plan.kl_weight != 0.0).map(|teacher| {
        let hidden = batch.hidden(teacher, device).flatten::<2>(0, 1);
        head(teacher, targets.rows.select(hidden))
    });
    from_logits(student_logits, teacher_logits, &targets, plan, device)
}

/// Logits `[rows, vocab]` of hidden states `[rows, d_model]`.
pub(crate) fn head<B: SsmBackend>(model: &HybridModel<B>, hidden: Tensor<B, 2>) -> Tensor<B, 2> {
    model.logits(hidden.unsqueeze_dim(0)).squeeze_dim(0)
}

/// The loss from logits `[rows, vocab]` at the target rows.
pub fn from_logits<B: SsmBackend>(
    student: Tensor<Autodiff<B>, 2>,
    teacher: Option<Tensor<B, 2>>,
    targets: &Targets,
    plan: &LossPlan,
    device: &B::Device,
) -> DistillationLoss<B> {
    let student = log_softmax(student, 1);
    let ce = cross_entropy(
        student.clone(),
        targets.labels(device),
        floats(&targets.ce_weights, device),
    );
    let kl = match teacher {
        Some(teacher) => {
            let teacher = Tensor::from_inner(log_softmax(teacher, 1));
            forward_kl(teacher, student, floats(&targets.kl_weights, device))
        }
        None => Tensor::zeros([1], device),
    };
    let loss = ce.clone().mul_scalar(plan.ce_weight) + kl.clone().mul_scalar(plan.kl_weight);
    DistillationLoss {
        loss,
        ce: ce.inner(),
        kl: kl.inner(),
    }
}
