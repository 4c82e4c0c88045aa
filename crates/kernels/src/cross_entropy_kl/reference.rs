//! The loss in plain tensor operations (method 4.3).

use super::{CrossEntropyKlOperands, CrossEntropyKlProblem, CrossEntropyKlResults};
use crate::primitive::{unwrap, wrap};
use burn::tensor::activation::softmax;
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

    let student = Rows::new(logits);
    let ce = student.log_normalizer.clone() - student.logits.clone().gather(1, labels.clone());
    let (kl, gradient) = match operands.teacher {
        Some(teacher) => {
            let teacher = Rows::new(wrap(teacher));
            let normalizers = teacher.log_normalizer - student.log_normalizer;
            let log_ratio = teacher.logits - student.logits - normalizers;
            let kl = (teacher.probs.clone() * log_ratio).sum_dim(1);
            let gradient = p.with_gradient.then(|| {
                student.probs * (ce_weight.clone() + kl_weight.clone()) - teacher.probs * kl_weight
            });
            (kl, gradient)
        }
        None => {
            let gradient = p.with_gradient.then(|| student.probs * ce_weight.clone());
            (ce.zeros_like(), gradient)
        }
    };
    let gradient = gradient.map(|gradient| {
        let gradient = gradient.scatter(1, labels, ce_weight.neg(), IndexingUpdateOp::Add);
        unwrap(gradient.cast(dtype))
    });
    (unwrap(Tensor::cat(vec![ce, kl], 1)), gradient)
}

/// Distributions in f32.
struct Rows<B: Backend> {
    /// `[rows, vocab]`.
    logits: Tensor<B, 2>,
    /// Logarithm of the sum of their exponentials, `[rows, 1]`.
    log_normalizer: Tensor<B, 2>,
    /// `[rows, vocab]`.
    probs: Tensor<B, 2>,
}

impl<B: Backend> Rows<B> {
    fn new(logits: Tensor<B, 2>) -> Self {
        let logits = logits.cast(FloatDType::F32);
        let probs = softmax(logits.clone(), 1);
        // The largest probability is exp(max - log_normalizer): no second pass of exponentials.
        let log_normalizer = logits.clone().max_dim(1) - probs.clone().max_dim(1).log();
        Self {
            logits,
            log_normalizer,
            probs,
        }
    }
}
