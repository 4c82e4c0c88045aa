//! Cross-entropy plus a divergence from the teacher on one micro-batch.

use burn::backend::Autodiff;
use burn::tensor::Tensor;
use kernels::SsmBackend;
use model::{CheckpointedBlocks, HybridModel};

use super::{Denominators, HeadRows, Targets, TeacherRows, fused_loss};
use crate::data::Batch;
use crate::recipe::LossPlan;

/// One micro-batch's share of the loss of a step.
pub struct DistillationLoss<B: SsmBackend> {
    /// `ce_weight * ce + kl_weight * kl`, `[1]`, on the tape.
    pub loss: Tensor<Autodiff<B>, 1>,
    /// Cross-entropy, `[1]`.
    pub ce: Tensor<B, 1>,
    /// Divergence from the teacher, `[1]`; zero when its weight is zero.
    pub kl: Tensor<B, 1>,
    /// The student's blocks, where they are not on the tape.
    pub blocks: Option<CheckpointedBlocks<B>>,
}

/// Loss of `student` on `batch`.
///
/// Summed over the micro-batches that `over` was counted from, it is the loss of the whole step. The teacher runs without
/// a tape, and only when the divergence's weight is not zero. Logits are computed at scored positions only.
pub fn distillation_loss<B: SsmBackend>(
    student: &HybridModel<Autodiff<B>>,
    teacher: Option<&HybridModel<B>>,
    batch: &Batch,
    plan: &LossPlan,
    over: Denominators,
    device: &B::Device,
) -> DistillationLoss<B> {
    let targets = Targets::new(batch, plan, over);
    let teacher = teacher.filter(|_| plan.kl_weight != 0.0);
    let teacher =
        teacher.map(|teacher| TeacherRows::Head(teacher_rows(teacher, batch, &targets, device)));
    loss_beside(student, teacher.as_ref(), batch, &targets, plan, device)
}

/// The rows of `batch` at which a loss is taken, under a model without a tape.
pub fn teacher_rows<B: SsmBackend>(
    teacher: &HybridModel<B>,
    batch: &Batch,
    targets: &Targets,
    device: &B::Device,
) -> HeadRows<B> {
    let hidden = batch.hidden(teacher, device).flatten::<2>(0, 1);
    HeadRows::of(teacher, targets.rows.select(hidden))
}

/// As [`distillation_loss`], where what the teacher makes of `batch` is known.
pub fn loss_beside<B: SsmBackend>(
    student: &HybridModel<Autodiff<B>>,
    teacher: Option<&TeacherRows<B>>,
    batch: &Batch,
    targets: &Targets,
    plan: &LossPlan,
    device: &B::Device,
) -> DistillationLoss<B> {
    let pass = batch.training_pass(student, device);
    let hidden = pass.hidden.flatten::<2>(0, 1);
    let hidden = targets.rows.select_tracked(hidden);
    let student = HeadRows::of(student, hidden);
    let rows_at_a_time = student.rows_at_a_time();
    DistillationLoss {
        blocks: pass.blocks,
        ..fused_loss(student, teacher, targets, plan, rows_at_a_time)
    }
}
