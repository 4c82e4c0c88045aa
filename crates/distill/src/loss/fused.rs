//! Cross-entropy plus a divergence from hidden states to a number and its gradients, block by block.
//!
//! The loss is a scalar, so its gradients are known, up to one factor, as soon as it is: one pass over the rows gives the
//! value, the gradient of the hidden states and that of the head. Of the logits, `[rows, vocab]` for teacher and student,
//! only a block exists at a time, and none is on the tape.

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::tensor::backend::Backend;
use burn::tensor::{IndexingUpdateOp, Int, Tensor, TensorPrimitive};

use kernels::{CrossEntropyKlInputs, SsmBackend, cross_entropy_kl};

use super::head::{HeadGradients, blocks};
use super::targets::{Targets, floats};
use super::{
    DistillationLoss, Distribution, DivergenceParts, HeadRows, TeacherRows, divergence, total,
};
use crate::recipe::{Divergence, LossPlan};

/// The loss of `plan` at the rows of `targets`; `rows_at_a_time` bounds what is in memory and does not change the result.
///
/// Without a teacher the divergence is left out.
pub fn fused_loss<B: SsmBackend>(
    student: HeadRows<Autodiff<B>>,
    teacher: Option<&TeacherRows<B>>,
    targets: &Targets,
    plan: &LossPlan,
    rows_at_a_time: usize,
) -> DistillationLoss<B> {
    let sums = over_blocks(
        &student.inner(),
        teacher,
        targets,
        plan,
        HeadGradients::new(student.wanted()),
        rows_at_a_time,
    );
    let value = sums.ce.clone().mul_scalar(plan.ce_weight)
        + sums.divergence.clone().mul_scalar(plan.kl_weight);
    // Held until the output is on the tape: a tape drops what no tensor holds, at the backward pass of any thread.
    let parents = [student.hidden, student.weight].map(|tensor| tensor.into_primitive().tensor());
    let nodes = parents.each_ref().map(|parent| parent.node.clone());
    let prepared = Backward::<B, 2>::prepare::<NoCheckpointing>(FusedLoss, nodes);
    let value = value.into_primitive().tensor();
    let loss = match prepared.compute_bound().stateful() {
        OpsKind::Tracked(prepared) => prepared.finish(sums.gradients, value),
        OpsKind::UnTracked(prepared) => prepared.finish(value),
    };
    drop(parents);
    DistillationLoss {
        loss: Tensor::from_primitive(TensorPrimitive::Float(loss)),
        ce: sums.ce,
        kl: sums.divergence,
        blocks: None,
    }
}

/// The loss's parts and gradients.
struct Sums<B: Backend> {
    /// Weighted cross-entropy, `[1]`.
    ce: Tensor<B, 1>,
    /// Weighted divergence, `[1]`.
    divergence: Tensor<B, 1>,
    /// Of the hidden states, `[rows, d_model]`, and of the head, `[vocab, d_model]`.
    gradients: [Option<Tensor<B, 2>>; 2],
}

fn over_blocks<B: SsmBackend>(
    student: &HeadRows<B>,
    teacher: Option<&TeacherRows<B>>,
    targets: &Targets,
    plan: &LossPlan,
    mut gradients: HeadGradients<B>,
    rows_at_a_time: usize,
) -> Sums<B> {
    let device = student.hidden.device();
    let mut ce = Tensor::zeros([1], &device);
    let mut divergence = Tensor::zeros([1], &device);
    let columns = Columns::new(targets, &device);
    for block in blocks(targets.labels.len(), rows_at_a_time) {
        let columns = columns.block(&block);
        let part = match teacher {
            Some(TeacherRows::TopK(teacher)) => {
                let teacher = teacher.block(&block);
                let divergence = |student: &Distribution<B>| teacher.divergence(student);
                of_block(student.logits(&block), divergence, &columns, plan)
            }
            Some(TeacherRows::Head(teacher)) if !has_kernel(plan) => {
                let teacher = teacher.logits(&block);
                let teacher = Distribution::at_temperature(teacher, plan.temperature);
                let divergence = |student: &Distribution<B>| {
                    divergence::divergence(plan.divergence, &teacher, student)
                };
                of_block(student.logits(&block), divergence, &columns, plan)
            }
            Some(TeacherRows::Head(teacher)) => {
                let (student, teacher) = (student.products(&block), teacher.products(&block));
                by_kernel(
                    student,
                    Some(teacher),
                    columns,
                    plan,
                    gradients.are_wanted(),
                )
            }
            None => {
                let student = student.products(&block);
                by_kernel(student, None, columns, plan, gradients.are_wanted())
            }
        };
        ce = ce + part.ce;
        divergence = divergence + part.divergence;
        if let Some(gradient) = part.gradient {
            gradients.add(student, &block, gradient);
        }
    }
    Sums {
        ce,
        divergence,
        gradients: gradients.finish(),
    }
}

/// Labels and weights of rows, `[rows, 1]` each.
struct Columns<B: Backend> {
    labels: Tensor<B, 2, Int>,
    ce_weights: Tensor<B, 2>,
    kl_weights: Tensor<B, 2>,
}

impl<B: Backend> Columns<B> {
    fn new(targets: &Targets, device: &B::Device) -> Self {
        Self {
            labels: targets.labels(device).unsqueeze_dim(1),
            ce_weights: floats(&targets.ce_weights, device).unsqueeze_dim(1),
            kl_weights: floats(&targets.kl_weights, device).unsqueeze_dim(1),
        }
    }

    fn block(&self, block: &std::ops::Range<usize>) -> Self {
        let (start, len) = (block.start, block.len());
        Self {
            labels: self.labels.clone().narrow(0, start, len),
            ce_weights: self.ce_weights.clone().narrow(0, start, len),
            kl_weights: self.kl_weights.clone().narrow(0, start, len),
        }
    }
}

/// Loss of a block and its gradient.
struct BlockLoss<B: Backend> {
    /// `[1]`.
    ce: Tensor<B, 1>,
    /// `[1]`.
    divergence: Tensor<B, 1>,
    /// Of the whole loss with respect to the student's logits, `[block, vocab]`, where it was wanted.
    gradient: Option<Tensor<B, 2>>,
}

/// Whether the divergence is the published one, which is one operation with the cross-entropy, as that is without a
/// teacher: every other is made of tensor operations.
fn has_kernel(plan: &LossPlan) -> bool {
    plan.divergence == Divergence::ForwardKl && plan.temperature == 1.0
}

fn by_kernel<B: SsmBackend>(
    student: Tensor<B, 2>,
    teacher: Option<Tensor<B, 2>>,
    columns: Columns<B>,
    plan: &LossPlan,
    with_gradient: bool,
) -> BlockLoss<B> {
    let Columns {
        labels,
        ce_weights,
        kl_weights,
    } = columns;
    let scaled = |weights: &Tensor<B, 2>, by| weights.clone().mul_scalar(by).squeeze_dim(1);
    let inputs = CrossEntropyKlInputs {
        student,
        teacher,
        labels: labels.squeeze_dim(1),
        ce_weight: scaled(&ce_weights, plan.ce_weight),
        kl_weight: scaled(&kl_weights, plan.kl_weight),
    };
    let output = cross_entropy_kl(inputs, with_gradient)
        .expect("blocks have rows, and their columns are as long as they are");
    let sums = (output.values * Tensor::cat(vec![ce_weights, kl_weights], 1)).sum_dim(0);
    BlockLoss {
        ce: sums.clone().narrow(1, 0, 1).squeeze_dim(0),
        divergence: sums.narrow(1, 1, 1).squeeze_dim(0),
        gradient: output.gradient,
    }
}

/// By tensor operations; `divergence_of` is told the student at the plan's temperature.
fn of_block<B: Backend>(
    student: Tensor<B, 2>,
    divergence_of: impl FnOnce(&Distribution<B>) -> DivergenceParts<B>,
    columns: &Columns<B>,
    plan: &LossPlan,
) -> BlockLoss<B> {
    let temperature = plan.temperature;
    let student = Distribution::new(student);
    let Columns {
        labels,
        ce_weights,
        kl_weights,
    } = columns;
    let ce = student.label_log_probs(labels.clone()) * ce_weights.clone();
    let ce_scale = ce_weights.clone().mul_scalar(plan.ce_weight);
    let parts = divergence_of(&student.tempered(temperature));
    // T^2 keeps the size of the gradient (Hinton et al., arXiv 1503.02531); the logits are divided by T.
    let sum = total(parts.value * kl_weights.clone());
    let kl_scale = kl_weights.clone().mul_scalar(plan.kl_weight * temperature);
    let gradient = student.probs() * ce_scale.clone() + parts.gradient * kl_scale;
    BlockLoss {
        ce: total(ce).neg(),
        divergence: sum.mul_scalar(temperature * temperature),
        gradient: Some(gradient.scatter(1, labels.clone(), ce_scale.neg(), IndexingUpdateOp::Add)),
    }
}

#[derive(Debug)]
struct FusedLoss;

impl<B: Backend> Backward<B, 2> for FusedLoss {
    /// Gradients of hidden states and head for a loss whose own gradient is one.
    type State = [Option<Tensor<B, 2>>; 2];

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let scale = TensorPrimitive::Float(grads.consume::<B>(&ops.node));
        let scale = Tensor::<B, 1>::from_primitive(scale).reshape([1, 1]);
        for (parent, gradient) in ops.parents.into_iter().zip(ops.state) {
            if let (Some(parent), Some(gradient)) = (parent, gradient) {
                let gradient = gradient * scale.clone();
                grads.register::<B>(parent.id, gradient.into_primitive().tensor());
            }
        }
    }
}

#[cfg(test)]
mod tests;
