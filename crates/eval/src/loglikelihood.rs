//! How likely a model finds a continuation after a context, as lm-evaluation-harness defines it.
use std::collections::HashMap;

use burn::tensor::{Int, Tensor, TensorData};
use kernels::SsmBackend;
use model::{HybridModel, Tokenizer};

use crate::EvalError;
use crate::batching::BatchLimits;
use crate::token_scores::{check_ids, token_scores};

/// What is asked: how likely `continuation` is after `context`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Request {
    /// Tokens that are given; at least one, as nothing predicts a first token.
    pub context: Vec<u32>,
    /// Tokens that are scored.
    pub continuation: Vec<u32>,
}

impl Request {
    /// The two texts as tokens.
    ///
    /// White space at the end of the context counts with the continuation. Both are encoded in one piece, of whose tokens
    /// those after as many as the context alone has are the continuation's. `first_token`, where there is one, comes before
    /// the context.
    pub fn encode(
        tokenizer: &Tokenizer,
        first_token: Option<u32>,
        context: &str,
        continuation: &str,
    ) -> Self {
        let kept = context.trim_end();
        let whole = format!("{context}{continuation}");
        let before = tokenizer.encode(kept);
        let ids = tokenizer.encode(&whole);
        let continuation = ids.get(before.len()..).unwrap_or_default().to_vec();
        let context = first_token.into_iter().chain(before).collect();
        Self {
            context,
            continuation,
        }
    }

    /// Without the first of its tokens, as many as do not fit into `max_context`, and their number.
    ///
    /// The last token is not fed, so that `max_context + 1` tokens fit.
    fn fitted(&self, max_context: usize) -> (Self, usize) {
        let tokens = self.context.len() + self.continuation.len();
        let cut = tokens.saturating_sub(max_context + 1);
        let fitted = Self {
            context: self.context[cut.min(self.context.len())..].to_vec(),
            continuation: self.continuation.clone(),
        };
        (fitted, cut)
    }

    /// Tokens that are fed.
    fn input(&self) -> Vec<u32> {
        let mut input = self.context.clone();
        input.extend_from_slice(&self.continuation[..self.continuation.len() - 1]);
        input
    }
}

/// What a model says of a continuation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LogLikelihood {
    /// Sum of `log p(token | before)` over the continuation, nats.
    pub total: f64,
    /// Tokens of the continuation.
    pub tokens: usize,
    /// Whether greedy decoding would have written it.
    pub is_greedy: bool,
    /// Tokens of the context that were left out at its start, because the context was too long.
    pub truncated: usize,
}

/// Scores every request; answers in the order of `requests`.
///
/// Requests of like length run together, padded on the right, and those that feed the same tokens (such as lettered answers to
/// one question) run once. `max_context` is the most tokens that are fed; `progress` is told the number of requests done.
///
/// # Errors
/// [`EvalError::Request`] for one without context or continuation, or whose continuation alone is too long;
/// [`EvalError::TokenOutOfRange`], [`EvalError::NotFinite`].
pub fn log_likelihoods<B: SsmBackend>(
    model: &HybridModel<B>,
    requests: &[Request],
    max_context: usize,
    limits: BatchLimits,
    mut progress: impl FnMut(usize),
) -> Result<Vec<LogLikelihood>, EvalError> {
    let vocab_size = model.config().llama.vocab_size;
    let mut answers = Vec::with_capacity(requests.len());
    let mut rows: Vec<Row> = Vec::new();
    let mut known: HashMap<Vec<u32>, usize> = HashMap::new();
    for (index, request) in requests.iter().enumerate() {
        let (fitted, truncated) = request.fitted(max_context);
        let problem = match (fitted.context.is_empty(), fitted.continuation.is_empty()) {
            (_, true) => Some("its continuation has no tokens"),
            (true, _) if request.context.is_empty() => Some("its context has no tokens"),
            (true, _) => Some("its continuation is longer than the context of the model"),
            _ => None,
        };
        if let Some(problem) = problem {
            return Err(EvalError::Request { index, problem });
        }
        let input = fitted.input();
        check_ids(&input, vocab_size)?;
        check_ids(&fitted.continuation, vocab_size)?;
        answers.push(LogLikelihood {
            total: 0.0,
            tokens: fitted.continuation.len(),
            is_greedy: true,
            truncated,
        });
        let row = *known.entry(input.clone()).or_insert_with(|| {
            rows.push(Row {
                input,
                asked: Vec::new(),
            });
            rows.len() - 1
        });
        rows[row].asked.push((index, fitted.continuation));
    }
    let lengths: Vec<usize> = rows.iter().map(|row| row.input.len()).collect();
    let mut done = 0;
    for batch in limits.batches(&lengths) {
        let rows: Vec<&Row> = batch.iter().map(|index| &rows[*index]).collect();
        score_rows(model, &rows, limits, &mut answers)?;
        done += rows.iter().map(|row| row.asked.len()).sum::<usize>();
        progress(done);
    }
    Ok(answers)
}

/// Tokens that are fed once, and the continuations that end there with the index of their request.
struct Row {
    input: Vec<u32>,
    asked: Vec<(usize, Vec<u32>)>,
}

fn score_rows<B: SsmBackend>(
    model: &HybridModel<B>,
    rows: &[&Row],
    limits: BatchLimits,
    answers: &mut [LogLikelihood],
) -> Result<(), EvalError> {
    let longest = rows.iter().map(|row| row.input.len()).max().unwrap_or(0);
    let seq = limits.padded(longest);
    let mut ids = vec![0; rows.len() * seq];
    let (mut owners, mut positions, mut targets) = (Vec::new(), Vec::new(), Vec::new());
    for (index, row) in rows.iter().enumerate() {
        for (t, id) in row.input.iter().enumerate() {
            ids[index * seq + t] = *id as i32;
        }
        for (owner, continuation) in &row.asked {
            // The last token that is fed predicts the last one that is scored.
            let first = row.input.len() - continuation.len();
            for (t, id) in continuation.iter().enumerate() {
                owners.push(*owner);
                positions.push((index * seq + first + t) as i32);
                targets.push(*id);
            }
        }
    }
    let device = model.device();
    let tokens = Tensor::<B, 2, Int>::from_data(TensorData::new(ids, [rows.len(), seq]), &device);
    let hidden = model.hidden(tokens);
    let d_model = hidden.dims()[2];
    let count = positions.len();
    let positions = Tensor::<B, 1, Int>::from_data(TensorData::new(positions, [count]), &device);
    let hidden = hidden
        .reshape([rows.len() * seq, d_model])
        .select(0, positions);
    let scores = token_scores(model, hidden, &targets)?;
    for (owner, score) in owners.into_iter().zip(scores) {
        let answer = &mut answers[owner];
        answer.total -= score.nll;
        answer.is_greedy &= score.is_top;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
