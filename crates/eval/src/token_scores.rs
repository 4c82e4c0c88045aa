//! How likely each of some target tokens is, from the residual stream before it.
//!
//! Blocks run in the backend's precision; of the logits only the maximum, partial sums of the exponentials and the
//! target's entry are read back, and added in f64. One f32 sum over a large vocabulary is off by about 1e-5.
use burn::tensor::{Int, Tensor, TensorData};
use kernels::SsmBackend;
use model::HybridModel;

use crate::EvalError;

/// Most elements of a logits tensor: 128 MiB in f32.
pub(crate) const LOGITS_ELEMENTS: usize = 1 << 25;

/// What a model says of one token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct TokenScore {
    /// `-log p(token | before)`, nats.
    pub(crate) nll: f64,
    /// Whether no other token is more likely.
    pub(crate) is_top: bool,
}

/// The score of the target of every row of `hidden`, `[rows, d_model]` after the final norm.
///
/// # Errors
/// [`EvalError::NotFinite`].
pub(crate) fn token_scores<B: SsmBackend>(
    model: &HybridModel<B>,
    hidden: Tensor<B, 2>,
    targets: &[u32],
) -> Result<Vec<TokenScore>, EvalError> {
    let rows_at_once = (LOGITS_ELEMENTS / model.config().llama.vocab_size).max(1);
    let mut scores = Vec::with_capacity(targets.len());
    for (chunk, targets) in targets.chunks(rows_at_once).enumerate() {
        let hidden = hidden
            .clone()
            .narrow(0, chunk * rows_at_once, targets.len());
        let logits = model
            .logits(hidden.unsqueeze_dim::<3>(0))
            .squeeze_dim::<2>(0);
        for score in logits_scores(logits, targets) {
            if !score.nll.is_finite() {
                return Err(EvalError::NotFinite {
                    index: scores.len(),
                    found: score.nll,
                });
            }
            scores.push(score);
        }
    }
    Ok(scores)
}

/// `-log softmax(logits)[target]` of every row of `logits`, `[rows, vocab]`, and whether the target is their largest.
pub(crate) fn logits_scores<B: SsmBackend>(
    logits: Tensor<B, 2>,
    targets: &[u32],
) -> Vec<TokenScore> {
    let [rows, vocab] = logits.dims();
    let ids: Vec<i32> = targets.iter().map(|id| *id as i32).collect();
    let ids = Tensor::<B, 2, Int>::from_data(TensorData::new(ids, [rows, 1]), &logits.device());
    let picked = read(logits.clone().gather(1, ids));
    let max = logits.clone().max_dim(1);
    let parts = sum_parts(vocab);
    let exponentials = (logits - max.clone())
        .exp()
        .reshape([rows, parts, vocab / parts]);
    let sums = read(exponentials.sum_dim(2));
    let max = read(max);
    let score = |row: usize| {
        let sum: f64 = sums[row * parts..(row + 1) * parts].iter().sum();
        TokenScore {
            nll: max[row] + sum.ln() - picked[row],
            is_top: picked[row] >= max[row],
        }
    };
    (0..rows).map(score).collect()
}

/// Into how many equal parts a sum over `vocab` entries is cut: the most up to 512, so that parts are short.
fn sum_parts(vocab: usize) -> usize {
    (1..=vocab.min(512))
        .rev()
        .find(|parts| vocab.is_multiple_of(*parts))
        .unwrap_or(1)
}

/// The values of a tensor, row-major.
pub(crate) fn read<B: SsmBackend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

/// Whether all of `ids` are in the vocabulary.
///
/// # Errors
/// [`EvalError::TokenOutOfRange`].
pub(crate) fn check_ids(ids: &[u32], vocab_size: usize) -> Result<(), EvalError> {
    match ids.iter().position(|id| *id as usize >= vocab_size) {
        Some(index) => Err(EvalError::TokenOutOfRange {
            index,
            id: ids[index],
            vocab_size,
        }),
        None => Ok(()),
    }
}
