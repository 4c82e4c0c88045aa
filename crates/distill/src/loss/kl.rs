//! Forward Kullback-Leibler divergence from teacher to student (method, section 4.3).

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

/// `sum_v p_T (log p_T - log p_S)` of each row, `[rows]`.
/// - `teacher`, `student`: log-probabilities `[rows, vocab]`, normalised
pub fn kl_per_row<B: Backend>(teacher: Tensor<B, 2>, student: Tensor<B, 2>) -> Tensor<B, 1> {
    (teacher.clone().exp() * (teacher - student))
        .sum_dim(1)
        .squeeze_dim(1)
}

/// Weighted sum of [`kl_per_row`], `[1]`.
///
/// Weights of `1 / targets` give the token mean; `1 / batch` at every position is the published batchmean, which grows
/// with the length.
pub fn forward_kl<B: Backend>(
    teacher: Tensor<B, 2>,
    student: Tensor<B, 2>,
    weights: Tensor<B, 1>,
) -> Tensor<B, 1> {
    (kl_per_row(teacher, student) * weights).sum()
}
