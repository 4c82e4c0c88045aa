//! Reading prompts, in pieces that bound the memory they take.

use burn::tensor::Tensor;
use kernels::SsmBackend;

use super::sampler::token_tensor;
use crate::cache::Cache;
use crate::hybrid::HybridModel;

/// Most tokens in one prefill call, over all rows: bounds the activations.
const PREFILL_TOKENS: usize = 8_192;
/// Most tokens a row in one prefill call: bounds the attention scores, `piece` x context.
pub(super) const PREFILL_MOST: usize = 1_024;
/// Least tokens a row in one prefill call: shorter pieces only cost launches.
pub(super) const PREFILL_LEAST: usize = 64;

/// Tokens a row in one call for `batch` rows.
pub(super) fn prefill_piece(batch: usize) -> usize {
    (PREFILL_TOKENS / batch).clamp(PREFILL_LEAST, PREFILL_MOST)
}

/// Feeds the first `length` tokens of every row, `piece` at a time; the residual stream of the last piece, if there is any.
pub(super) fn prefill<B: SsmBackend, R: AsRef<[u32]>>(
    model: &HybridModel<B>,
    rows: &[R],
    length: usize,
    piece: usize,
    cache: &mut Cache<B>,
) -> Option<Tensor<B, 3>> {
    let device = model.device();
    let mut hidden = None;
    for from in (0..length).step_by(piece) {
        let to = (from + piece).min(length);
        let part = |row: &R| row.as_ref()[from..to].to_vec();
        let tokens: Vec<Vec<u32>> = rows.iter().map(part).collect();
        hidden = Some(model.hidden_cached(token_tensor(&tokens, &device), cache));
    }
    hidden
}
