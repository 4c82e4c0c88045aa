//! A drafter with a model of its own, or with some layers of the verifier.

use burn::tensor::{Int, Tensor, TensorData};
use kernels::SsmBackend;

use super::{Drafter, Drafts};
use crate::cache::Cache;
use crate::decode::Sampler;
use crate::decode::prefill::{PREFILL_LEAST, prefill, prefill_piece};
use crate::decode::sampler::token_tensor;
use crate::hybrid::HybridModel;

/// Guesses what a smaller model with the verifier's vocabulary would say: a Transformer or a hybrid.
#[derive(Debug)]
pub struct ModelDrafter<B: SsmBackend> {
    model: HybridModel<B>,
    cache: Cache<B>,
}

impl<B: SsmBackend> ModelDrafter<B> {
    /// Drafts with `model`; [`HybridModel::shrink`] makes one of a verifier's own layers.
    pub fn new(model: HybridModel<B>) -> Self {
        let cache = model.new_cache(1, 0);
        Self { model, cache }
    }
}

impl<B: SsmBackend> Drafter<B> for ModelDrafter<B> {
    fn vocab_size(&self) -> Option<usize> {
        Some(self.model.config().llama.vocab_size)
    }

    fn start(&mut self, beginnings: &[&[u32]], capacity: usize) {
        self.cache = self.model.new_cache(beginnings.len(), capacity);
        read(&self.model, &mut self.cache, beginnings);
    }

    fn draft(&mut self, unread: &[Vec<u32>], draft_len: usize, sampler: &mut Sampler) -> Drafts<B> {
        let (model, cache) = (&self.model, &mut self.cache);
        let hidden = read_last(model, cache, unread);
        let mut logits = vec![model.logits(hidden)];
        let mut tokens = vec![sampler.draw(logits[0].clone().squeeze_dim(1))];
        if draft_len > 1 {
            let mark = cache.mark();
            for at in 1..draft_len {
                let hidden = model.hidden_verify(tokens[at - 1].clone(), cache);
                logits.push(model.logits(hidden));
                tokens.push(sampler.draw(logits[at].clone().squeeze_dim(1)));
            }
            cache.return_to(mark);
        }
        let count = |unread: &Vec<u32>| if unread.is_empty() { 0 } else { draft_len };
        Drafts {
            tokens: Tensor::cat(tokens, 1),
            counts: unread.iter().map(count).collect(),
            logits: (!sampler.is_greedy()).then(|| Tensor::cat(logits, 1)),
        }
    }

    fn state_bytes(&self) -> usize {
        self.cache.state_bytes()
    }
}

/// Reads `rows`, which may differ in length, after what is in the cache.
pub(in crate::decode::speculative) fn read<B: SsmBackend>(
    model: &HybridModel<B>,
    cache: &mut Cache<B>,
    rows: &[&[u32]],
) {
    let mut shared = rows.iter().map(|row| row.len()).min().unwrap_or(0);
    if !cache.keeps_all() {
        shared = 0;
    }
    prefill(model, rows, shared, prefill_piece(rows.len()), cache);
    let longest = rows.iter().map(|row| row.len()).max().unwrap_or(0);
    for from in (shared..longest).step_by(PREFILL_LEAST) {
        let part = |row: &&[u32]| {
            let to = row.len().min(from + PREFILL_LEAST);
            row.get(from..to).unwrap_or_default().to_vec()
        };
        read_piece(model, cache, rows.iter().map(part).collect());
    }
}

/// As [`read`], and the residual stream at the last token of each row, `[batch, 1, d_model]`; any where a row is empty.
fn read_last<B: SsmBackend>(
    model: &HybridModel<B>,
    cache: &mut Cache<B>,
    rows: &[Vec<u32>],
) -> Tensor<B, 3> {
    let split = |row: &'_ Vec<u32>| row.len().saturating_sub(PREFILL_LEAST);
    let heads: Vec<&[u32]> = rows.iter().map(|row| &row[..split(row)]).collect();
    read(model, cache, &heads);
    let tails: Vec<Vec<u32>> = rows.iter().map(|row| row[split(row)..].to_vec()).collect();
    let counts: Vec<usize> = tails.iter().map(Vec::len).collect();
    let hidden = read_piece(model, cache, tails);
    let [batch, seq, d_model] = hidden.dims();
    if counts.iter().all(|count| *count == seq) {
        return hidden.narrow(1, seq - 1, 1);
    }
    let last = |(row, count): (usize, &usize)| (row * seq + count.saturating_sub(1)) as i32;
    let last: Vec<i32> = counts.iter().enumerate().map(last).collect();
    let last = Tensor::<B, 1, Int>::from_data(TensorData::new(last, [batch]), &hidden.device());
    let hidden = hidden.reshape([batch * seq, d_model]);
    hidden.select(0, last).reshape([batch, 1, d_model])
}

/// One pass over rows of up to [`PREFILL_LEAST`] tokens, at least one in some row.
fn read_piece<B: SsmBackend>(
    model: &HybridModel<B>,
    cache: &mut Cache<B>,
    mut rows: Vec<Vec<u32>>,
) -> Tensor<B, 3> {
    let counts: Vec<usize> = rows.iter().map(Vec::len).collect();
    let longest = counts.iter().copied().max().unwrap_or(0);
    rows.iter_mut().for_each(|row| row.resize(longest, 0));
    let hidden = model.hidden_verify(token_tensor(&rows, &model.device()), cache);
    cache.keep(&counts);
    hidden
}
