//! What a teacher said before: at each row of a loss its likeliest tokens and the mass of all others.

use std::ops::Range;

use burn::tensor::backend::Backend;
use burn::tensor::{IndexingUpdateOp, Int, Tensor, TensorData};

use super::divergence::{Bucketed, bucketed_kl};
use super::targets::floats;
use super::{Distribution, DivergenceParts, HeadRows};
use crate::teacher_cache::Records;

/// What the divergence of a loss is taken from.
#[derive(Debug, Clone)]
pub enum TeacherRows<B: Backend> {
    /// Whole distributions, made block by block.
    Head(HeadRows<B>),
    /// Likeliest tokens that were kept: the divergence is that of `top-k`.
    TopK(CachedTopK<B>),
}

/// Likeliest tokens of rows, and the mass of all others.
#[derive(Debug, Clone)]
pub struct CachedTopK<B: Backend> {
    /// `[rows, k]`, no token twice in a row.
    ids: Tensor<B, 2, Int>,
    /// `[rows, k]`.
    log_probs: Tensor<B, 2>,
    /// `[rows, 1]`.
    log_residuals: Tensor<B, 2>,
}

impl<B: Backend> CachedTopK<B> {
    /// Of `records` with `k` tokens each.
    pub fn new(records: &Records, k: usize, device: &B::Device) -> Self {
        let rows = records.log_residuals.len();
        let ids = TensorData::new(records.ids.clone(), [rows, k]);
        Self {
            ids: Tensor::from_data(ids, device),
            log_probs: floats(&records.log_probs, device).reshape([rows, k]),
            log_residuals: floats(&records.log_residuals, device).unsqueeze_dim(1),
        }
    }

    /// Some of the rows.
    pub(super) fn block(&self, block: &Range<usize>) -> Self {
        let (start, len) = (block.start, block.len());
        Self {
            ids: self.ids.clone().narrow(0, start, len),
            log_probs: self.log_probs.clone().narrow(0, start, len),
            log_residuals: self.log_residuals.clone().narrow(0, start, len),
        }
    }

    /// Divergence of `student` from these rows.
    pub(super) fn divergence(&self, student: &Distribution<B>) -> DivergenceParts<B> {
        let zeros = || Tensor::zeros_like(&student.logits());
        let spread = |values: Tensor<B, 2>| {
            zeros().scatter(1, self.ids.clone(), values, IndexingUpdateOp::Add)
        };
        let log_ratios = self.log_probs.clone() - student.label_log_probs(self.ids.clone());
        let probs = self.log_probs.clone().exp();
        bucketed_kl(
            Bucketed {
                is_top: spread(Tensor::ones_like(&probs)).greater_elem(0.5),
                probs: spread(probs.clone()),
                inside: (probs * log_ratios).sum_dim(1),
                outside: self.log_residuals.clone().exp(),
            },
            student,
        )
    }
}
