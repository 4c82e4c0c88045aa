use super::CrossEntropyKlInputs;
use crate::error::{Check, KernelError};
use burn::tensor::backend::Backend;

/// Sizes and flags of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrossEntropyKlProblem {
    /// Rows.
    pub rows: usize,
    /// Tokens in the vocabulary.
    pub vocab: usize,
    /// Whether the gradient is wanted.
    pub with_gradient: bool,
}

impl CrossEntropyKlProblem {
    /// Reads the sizes off the inputs and checks every shape.
    pub(super) fn validate<B: Backend>(
        inputs: &CrossEntropyKlInputs<B>,
        with_gradient: bool,
    ) -> Result<Self, KernelError> {
        let check = Check::new("cross_entropy_kl");
        let [rows, vocab] = inputs.student.dims();
        check.not_empty(&[("rows", rows), ("vocab", vocab)])?;
        if let Some(teacher) = &inputs.teacher {
            check.shape("teacher", "[rows, vocab]", &teacher.dims(), &[rows, vocab])?;
        }
        check.shape("labels", "[rows]", &inputs.labels.dims(), &[rows])?;
        check.shape("ce_weight", "[rows]", &inputs.ce_weight.dims(), &[rows])?;
        check.shape("kl_weight", "[rows]", &inputs.kl_weight.dims(), &[rows])?;
        Ok(Self {
            rows,
            vocab,
            with_gradient,
        })
    }
}
