//! Cross-entropy on labels (method, section 4.3).

use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor};

/// Log-probability of each row's label, `[rows]`.
/// - `log_probs`: `[rows, vocab]`, normalised; `labels`: `[rows]`
pub fn label_log_probs<B: Backend>(
    log_probs: Tensor<B, 2>,
    labels: Tensor<B, 1, Int>,
) -> Tensor<B, 1> {
    log_probs.gather(1, labels.unsqueeze_dim(1)).squeeze_dim(1)
}

/// Weighted sum of `-log p(label)`, `[1]`; weights of `1 / count` make it a mean.
/// - `log_probs`: `[rows, vocab]`; `labels`, `weights`: `[rows]`
pub fn cross_entropy<B: Backend>(
    log_probs: Tensor<B, 2>,
    labels: Tensor<B, 1, Int>,
    weights: Tensor<B, 1>,
) -> Tensor<B, 1> {
    (label_log_probs(log_probs, labels) * weights).sum().neg()
}
