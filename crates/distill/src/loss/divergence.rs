//! Divergences between teacher and student, each with its gradient written out.
//!
//! With teacher `p` and student `q = softmax(s)` the gradients with respect to the student's logits `s` are
//!
//! ```text
//! forward KL   sum p (log p - log q)                    q - p
//! reverse KL   sum q (log q - log p)                    q (log q - log p - reverse KL)
//! JSD(beta)    beta KL(p | m) + (1 - beta) KL(q | m)    (1 - beta) q (log q - log m - KL(q | m))
//!              with m = beta p + (1 - beta) q
//! top-k        forward KL over the teacher's k likeliest tokens and one bucket for all others:
//!              sum_top p (log p - log q) + P (log P - log Q)
//!                                                       q - p on the top-k, q - q P / Q elsewhere
//! ```
//!
//! where `P` and `Q` are the masses of teacher and student outside the teacher's top-k. Forward KL is the published loss
//! (method, section 4.3); reverse KL is that of MiniLLM (arXiv 2306.08543), JSD(beta) that of GKD (arXiv 2306.13649), and
//! the residual bucket keeps top-k from being biased towards the head of the distribution (method, section 9).

use burn::tensor::activation::relu;
use burn::tensor::backend::Backend;
use burn::tensor::{Bool, Tensor};

use super::Distribution;
use super::top_k::top_k_mask;
use crate::recipe::Divergence;

/// Masses are kept above this before their logarithm is taken.
const LEAST_MASS: f32 = 1e-30;

/// A divergence of each row.
pub struct DivergenceParts<B: Backend> {
    /// Value, `[rows, 1]`.
    pub value: Tensor<B, 2>,
    /// Gradient with respect to the student's logits, `[rows, vocab]`.
    pub gradient: Tensor<B, 2>,
}

/// Divergence of `student` from `teacher`, row by row.
pub fn divergence<B: Backend>(
    kind: Divergence,
    teacher: &Distribution<B>,
    student: &Distribution<B>,
) -> DivergenceParts<B> {
    match kind {
        Divergence::ForwardKl => forward_kl(teacher, student),
        Divergence::ReverseKl => reverse_kl(teacher, student),
        Divergence::Jsd { beta } => jsd(beta, teacher, student),
        Divergence::TopK { k } if k >= teacher.vocab() => forward_kl(teacher, student),
        Divergence::TopK { k } => top_k_kl(k, teacher, student),
    }
}

fn forward_kl<B: Backend>(
    teacher: &Distribution<B>,
    student: &Distribution<B>,
) -> DivergenceParts<B> {
    DivergenceParts {
        value: (teacher.probs() * teacher.log_ratio(student)).sum_dim(1),
        gradient: student.probs() - teacher.probs(),
    }
}

fn reverse_kl<B: Backend>(
    teacher: &Distribution<B>,
    student: &Distribution<B>,
) -> DivergenceParts<B> {
    let weighted = student.probs() * student.log_ratio(teacher);
    let value = weighted.clone().sum_dim(1);
    DivergenceParts {
        gradient: weighted - student.probs() * value.clone(),
        value,
    }
}

fn jsd<B: Backend>(
    beta: f64,
    teacher: &Distribution<B>,
    student: &Distribution<B>,
) -> DivergenceParts<B> {
    // With d = log(beta p) - log((1 - beta) q): log m = log((1 - beta) q) + softplus(d).
    let d = teacher.log_ratio(student) + (beta / (1.0 - beta)).ln();
    let softplus = softplus(d.clone());
    let student_over_mean = softplus.clone().neg() - (1.0 - beta).ln();
    let teacher_over_mean = d - softplus - beta.ln();
    let weighted = student.probs() * student_over_mean;
    let from_student = weighted.clone().sum_dim(1);
    let from_teacher = (teacher.probs() * teacher_over_mean).sum_dim(1);
    let gradient = weighted - student.probs() * from_student.clone();
    DivergenceParts {
        value: from_teacher.mul_scalar(beta) + from_student.mul_scalar(1.0 - beta),
        gradient: gradient.mul_scalar(1.0 - beta),
    }
}

/// `log(1 + exp(x))` without overflow.
fn softplus<B: Backend>(x: Tensor<B, 2>) -> Tensor<B, 2> {
    relu(x.clone()) + x.abs().neg().exp().log1p()
}

fn top_k_kl<B: Backend>(
    k: usize,
    teacher: &Distribution<B>,
    student: &Distribution<B>,
) -> DivergenceParts<B> {
    let is_top = top_k_mask(teacher.logits(), k);
    let probs = teacher.probs();
    let inside = (probs.clone() * teacher.log_ratio(student))
        .mask_fill(is_top.clone().bool_not(), 0.0)
        .sum_dim(1);
    let outside = probs.clone().mask_fill(is_top.clone(), 0.0).sum_dim(1);
    let teacher = Bucketed {
        is_top,
        probs,
        inside,
        outside,
    };
    bucketed_kl(teacher, student)
}

/// A teacher's likeliest tokens and one bucket for all others.
pub(super) struct Bucketed<B: Backend> {
    /// Which tokens stand for themselves, `[rows, vocab]`.
    pub is_top: Tensor<B, 2, Bool>,
    /// Probabilities of those tokens, anything elsewhere, `[rows, vocab]`.
    pub probs: Tensor<B, 2>,
    /// Their share of the divergence, `[rows, 1]`.
    pub inside: Tensor<B, 2>,
    /// Mass of the bucket, `[rows, 1]`.
    pub outside: Tensor<B, 2>,
}

/// Forward KL over buckets.
pub(super) fn bucketed_kl<B: Backend>(
    teacher: Bucketed<B>,
    student: &Distribution<B>,
) -> DivergenceParts<B> {
    let Bucketed {
        is_top,
        probs,
        inside,
        outside,
    } = teacher;
    let q = student.probs();
    let q_outside = q.clone().mask_fill(is_top.clone(), 0.0).sum_dim(1);
    let q_outside = q_outside.clamp_min(LEAST_MASS);
    let log_masses = outside.clone().clamp_min(LEAST_MASS).log() - q_outside.clone().log();
    // The teacher's tail, spread as the student spreads its own.
    let spread = q.clone() * (outside.clone() / q_outside);
    DivergenceParts {
        value: inside + outside * log_masses,
        gradient: q - spread.mask_where(is_top, probs),
    }
}

#[cfg(test)]
mod tests;
