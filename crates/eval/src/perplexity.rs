//! Teacher-forced likelihood: of masked examples (only replies are scored) and of windows over a text.
use burn::tensor::{Int, Tensor, TensorData};
use kernels::SsmBackend;
use model::HybridModel;
use serde::{Deserialize, Serialize};

use crate::EvalError;
use crate::token_scores::{check_ids, token_scores};

/// Tokens that run through the blocks at once: bounds activations and attention scores.
const FORWARD_TOKENS: usize = 4096;
/// A window longer than this runs in pieces of this length against a cache: attention scores grow with the square.
const PIECE_TOKENS: usize = 1024;

/// Negative log-likelihood in nats, summed over scored tokens.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Nll {
    /// Sum of `-log p(token | before)`.
    pub total: f64,
    /// Tokens in the sum.
    pub scored_tokens: usize,
}

impl Nll {
    /// Mean per scored token; NaN when there is none.
    pub fn mean(&self) -> f64 {
        self.total / self.scored_tokens as f64
    }

    /// `exp` of the mean.
    pub fn perplexity(&self) -> f64 {
        self.mean().exp()
    }

    fn add(&mut self, nll: f64) {
        self.total += nll;
        self.scored_tokens += 1;
    }
}

impl std::iter::Sum for Nll {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::default(), |sum, part| Self {
            total: sum.total + part.total,
            scored_tokens: sum.scored_tokens + part.scored_tokens,
        })
    }
}

/// A token sequence of which some tokens are scored, such as the replies of a chat.
#[derive(Debug, Clone, Copy)]
pub struct MaskedExample<'a> {
    /// Token ids.
    pub ids: &'a [u32],
    /// One flag a token: whether its likelihood counts. That of the first token is ignored: nothing predicts it.
    pub is_scored: &'a [bool],
}

/// The likelihood of each example by itself, in the order given; sum them for the whole.
///
/// Examples of like length run together, padded on the right: every mixer is causal, so padding changes nothing.
/// `max_rows` bounds the examples in one batch.
///
/// # Errors
/// [`EvalError::Empty`] when no token at all is scored, [`EvalError::MaskLength`], [`EvalError::TokenOutOfRange`],
/// [`EvalError::NotFinite`].
pub fn masked_examples<B: SsmBackend>(
    model: &HybridModel<B>,
    examples: &[MaskedExample],
    max_rows: usize,
) -> Result<Vec<Nll>, EvalError> {
    for (index, example) in examples.iter().enumerate() {
        let (tokens, flags) = (example.ids.len(), example.is_scored.len());
        if tokens != flags {
            return Err(EvalError::MaskLength {
                index,
                flags,
                tokens,
            });
        }
        check_ids(example.ids, model.config().llama.vocab_size)?;
    }
    let is_scored = |example: &MaskedExample| example.is_scored.iter().skip(1).any(|flag| *flag);
    let mut order: Vec<usize> = (0..examples.len())
        .filter(|index| is_scored(&examples[*index]))
        .collect();
    if order.is_empty() {
        return Err(EvalError::Empty {
            found: format!("{} examples", examples.len()),
            expected: "an example with a scored token after its first",
        });
    }
    order.sort_by_key(|index| examples[*index].ids.len());

    let mut nlls = vec![Nll::default(); examples.len()];
    let mut left = order.as_slice();
    while let Some(first) = left.first() {
        let fits = |rows: usize| rows * examples[left[rows - 1]].ids.len() <= FORWARD_TOKENS;
        let rows = (1..=left.len().min(max_rows))
            .take_while(|rows| fits(*rows))
            .last()
            .unwrap_or(1);
        let (batch, rest) = left.split_at(rows);
        left = rest;
        debug_assert!(examples[*first].ids.len() >= 2);
        score_batch(model, examples, batch, &mut nlls)?;
    }
    Ok(nlls)
}

/// Scores the examples at the indices `batch`, the last of which is the longest.
fn score_batch<B: SsmBackend>(
    model: &HybridModel<B>,
    examples: &[MaskedExample],
    batch: &[usize],
    nlls: &mut [Nll],
) -> Result<(), EvalError> {
    let seq = batch
        .iter()
        .map(|index| examples[*index].ids.len())
        .max()
        .unwrap_or(0);
    let mut ids = vec![0; batch.len() * seq];
    let (mut owners, mut rows, mut targets) = (Vec::new(), Vec::new(), Vec::new());
    for (row, index) in batch.iter().enumerate() {
        let example = &examples[*index];
        for (t, (id, flag)) in example.ids.iter().zip(example.is_scored).enumerate() {
            ids[row * seq + t] = *id as i32;
            if *flag && t > 0 {
                owners.push(*index);
                rows.push((row * seq + t - 1) as i32);
                targets.push(*id);
            }
        }
    }
    let device = model.device();
    let tokens = Tensor::<B, 2, Int>::from_data(TensorData::new(ids, [batch.len(), seq]), &device);
    let hidden = model.hidden(tokens);
    let d_model = hidden.dims()[2];
    let count = rows.len();
    let rows = Tensor::<B, 1, Int>::from_data(TensorData::new(rows, [count]), &device);
    let hidden = hidden.reshape([batch.len() * seq, d_model]).select(0, rows);
    let scores = token_scores(model, hidden, &targets)?;
    for (owner, score) in owners.into_iter().zip(scores) {
        nlls[owner].add(score.nll);
    }
    Ok(())
}

/// Likelihood of a text in disjoint windows, each run alone from position 0, its first token not scored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WindowedNll {
    /// Tokens in a window; the last may be shorter.
    pub window: usize,
    /// One sum a window, in order.
    pub windows: Vec<Nll>,
}

impl WindowedNll {
    /// The sum over all windows.
    pub fn total(&self) -> Nll {
        self.windows.iter().copied().sum()
    }
}

/// Scores `ids` in disjoint windows of `window` tokens; a rest of one token is left out.
///
/// `progress` is called after each batch of windows with the number of windows done.
///
/// # Errors
/// [`EvalError::Window`], [`EvalError::Empty`] when there are fewer than two tokens, [`EvalError::TokenOutOfRange`],
/// [`EvalError::NotFinite`].
pub fn windows<B: SsmBackend>(
    model: &HybridModel<B>,
    ids: &[u32],
    window: usize,
    mut progress: impl FnMut(usize),
) -> Result<WindowedNll, EvalError> {
    if window < 2 {
        return Err(EvalError::Window { found: window });
    }
    if ids.len() < 2 {
        return Err(EvalError::Empty {
            found: format!("{} tokens", ids.len()),
            expected: "at least 2: the first of a window is not scored",
        });
    }
    check_ids(ids, model.config().llama.vocab_size)?;
    let mut windows = Vec::new();
    let (full, rest) = ids.split_at(ids.len() / window * window);
    // A long window runs alone: its pieces come in the order of its targets.
    let rows = if window > PIECE_TOKENS {
        1
    } else {
        FORWARD_TOKENS / window
    };
    for batch in full
        .chunks(rows * window)
        .chain([rest])
        .filter(|batch| batch.len() >= 2)
    {
        let seq = window.min(batch.len());
        let nlls = score_rows(model, batch, seq)?;
        windows.extend(nlls.chunks(seq - 1).map(|nlls| Nll {
            total: nlls.iter().sum(),
            scored_tokens: nlls.len(),
        }));
        progress(windows.len());
    }
    Ok(WindowedNll { window, windows })
}

/// The likelihood of the last `tail` tokens of each of the first `count` windows of `window` tokens of `ids`, all after
/// `window - tail` tokens: how a model uses more context, or breaks beyond the one that it was trained with (method 7,
/// figure 4).
///
/// # Errors
/// [`EvalError::Window`] for a window not longer than its tail, [`EvalError::Empty`] when there is no whole window;
/// [`EvalError::TokenOutOfRange`], [`EvalError::NotFinite`].
pub fn window_ends<B: SsmBackend>(
    model: &HybridModel<B>,
    ids: &[u32],
    window: usize,
    [tail, count]: [usize; 2],
) -> Result<Vec<Nll>, EvalError> {
    if window <= tail || tail == 0 {
        return Err(EvalError::Window { found: window });
    }
    check_ids(ids, model.config().llama.vocab_size)?;
    let windows = ids.chunks_exact(window).take(count);
    if windows.len() == 0 {
        return Err(EvalError::Empty {
            found: format!("{} tokens", ids.len()),
            expected: "a text of at least one window",
        });
    }
    let score = |ids: &[u32]| {
        let nlls = score_rows(model, ids, window)?;
        Ok(Nll {
            total: nlls[nlls.len() - tail..].iter().sum(),
            scored_tokens: tail,
        })
    };
    windows.map(score).collect()
}

/// The likelihoods of rows of `seq` tokens, `seq - 1` a row.
fn score_rows<B: SsmBackend>(
    model: &HybridModel<B>,
    ids: &[u32],
    seq: usize,
) -> Result<Vec<f64>, EvalError> {
    let device = model.device();
    let rows = ids.len() / seq;
    let data: Vec<i32> = ids.iter().map(|id| *id as i32).collect();
    let tokens = Tensor::<B, 2, Int>::from_data(TensorData::new(data, [rows, seq]), &device);
    let targets: Vec<u32> = ids.chunks(seq).flat_map(|row| &row[1..]).copied().collect();
    let d_model = model.config().llama.d_model;
    if seq <= PIECE_TOKENS {
        let hidden = model.hidden(tokens).narrow(1, 0, seq - 1);
        return nlls_of(model, hidden.reshape([rows * (seq - 1), d_model]), &targets);
    }
    debug_assert_eq!(rows, 1, "pieces of several rows would interleave");
    let mut nlls = Vec::with_capacity(targets.len());
    let mut cache = model.new_cache(rows, seq);
    let mut from = 0;
    while from < seq - 1 {
        let length = PIECE_TOKENS.min(seq - 1 - from);
        let hidden = model.hidden_cached(tokens.clone().narrow(1, from, length), &mut cache);
        let hidden = hidden.reshape([rows * length, d_model]);
        nlls.extend(nlls_of(model, hidden, &targets[from..from + length])?);
        from += length;
    }
    Ok(nlls)
}

/// The negative log-likelihood of each target alone.
fn nlls_of<B: SsmBackend>(
    model: &HybridModel<B>,
    hidden: Tensor<B, 2>,
    targets: &[u32],
) -> Result<Vec<f64>, EvalError> {
    let scores = token_scores(model, hidden, targets)?;
    Ok(scores.into_iter().map(|score| score.nll).collect())
}

#[cfg(test)]
mod tests;
