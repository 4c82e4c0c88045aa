//! The loss in plain tensor operations (method 4.3).

use super::{CrossEntropyKlOperands, CrossEntropyKlProblem, CrossEntropyKlResults, Distribution};
use crate::primitive::{unwrap, wrap};
use burn::tensor::{FloatDType, IndexingUpdateOp, Int, Tensor, backend::Backend};

/// [`cross_entropy_kl`](super::cross_entropy_kl()) on primitives.
pub fn forward<B: Backend>(
    operands: CrossEntropyKlOperands<B>,
    p: &CrossEntropyKlProblem,
) -> CrossEntropyKlResults<B> {
    let logits = wrap::<B, 2>(operands.student);
    let dtype = FloatDType::from(logits.dtype());
    let column = |weight| wrap::<B, 1>(weight).cast(FloatDType::F32).unsqueeze_dim(1);
    let [ce_weight, kl_weight]: [Tensor<B, 2>; 2] = operands.weights.map(column);
    let labels = Tensor::<B, 1, Int>::from_primitive(operands.labels).unsqueeze_dim::<2>(1);

    let student = Distribution::new(logits.cast(FloatDType::F32));
    let ce = student.label_log_probs(labels.clone()).neg();
    let (kl, gradient) = match operands.teacher {
        Some(teacher) => {
            let teacher = Distribution::new(wrap::<B, 2>(teacher).cast(FloatDType::F32));
            let kl = (teacher.probs() * teacher.log_ratio(&student)).sum_dim(1);
            let gradient = p.with_gradient.then(|| {
                let both = ce_weight.clone() + kl_weight.clone();
                student.probs() * both - teacher.probs() * kl_weight
            });
            (kl, gradient)
        }
        None => {
            let gradient = p.with_gradient.then(|| student.probs() * ce_weight.clone());
            (ce.zeros_like(), gradient)
        }
    };
    let gradient = gradient.map(|gradient| {
        let gradient = gradient.scatter(1, labels, ce_weight.neg(), IndexingUpdateOp::Add);
        unwrap(gradient.cast(dtype))
    });
    (unwrap(Tensor::cat(vec![ce, kl], 1)), gradient)
}
