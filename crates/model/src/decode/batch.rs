//! Many prompts of different lengths in one batch, without padding.
//!
//! A recurrent layer cannot skip a padding token, so there is none: the part all prompts share in
//! length is prefilled, then every row steps. A row still inside its prompt is fed its own next
//! token, the others what they drew. Finished rows step along unheard. Once they are half of a greedy batch they leave
//! it; in a sampled one the draws of a row depend on how many there are, so there they stay until the last one ends.

use std::ops::ControlFlow;
use std::time::Instant;

use burn::tensor::Tensor;
use kernels::SsmBackend;

use super::prefill::{prefill, prefill_piece};
use super::row::Row;
use super::sampler::{Sampler, read_ids, token_tensor};
use super::{Reply, Sampling};
use crate::error::ModelError;
use crate::hybrid::HybridModel;

/// Answers every prompt, replies in the order of `prompts`.
///
/// One read-back of a token a row and step; the logits stay on the device unless `top_k` or `top_p`
/// asks for them. Rows do not see each other: with greedy sampling each reply is what
/// [`HybridModel::generate`] gives.
///
/// # Errors
/// [`ModelError::Prompt`] when a prompt is empty or holds an id outside the vocabulary.
pub fn generate_batch<B: SsmBackend>(
    model: &HybridModel<B>,
    prompts: &[Vec<u32>],
    sampling: &Sampling,
) -> Result<Vec<Reply>, ModelError> {
    generate_rows(model, prompts, sampling, &mut |_, _| {
        ControlFlow::Continue(())
    })
}

/// As [`generate_batch`], telling `each` the row and token of every token drawn for a reply; `Break` ends that reply.
pub(super) fn generate_rows<B: SsmBackend>(
    model: &HybridModel<B>,
    prompts: &[Vec<u32>],
    sampling: &Sampling,
    each: &mut dyn FnMut(usize, u32) -> ControlFlow<()>,
) -> Result<Vec<Reply>, ModelError> {
    check(prompts, model.config().llama.vocab_size)?;
    let (Some(shortest), Some(longest)) = (
        prompts.iter().map(Vec::len).min(),
        prompts.iter().map(Vec::len).max(),
    ) else {
        return Ok(Vec::new());
    };
    if sampling.max_tokens == 0 {
        return Ok(prompts
            .iter()
            .map(|_| Row::default().into_reply(0.0))
            .collect());
    }
    let device = model.device();
    let mut sampler = Sampler::new::<B>(sampling, &device);
    let mut cache = model.new_cache(prompts.len(), longest + sampling.max_tokens);
    let started = Instant::now();
    let piece = prefill_piece(prompts.len());
    let hidden = prefill(model, prompts, shortest, piece, &mut cache).expect("no prompt is empty");
    let mut logits = last_logits(model, hidden);
    let mut rows: Vec<Row> = prompts.iter().map(|_| Row::default()).collect();
    // Of the batch as it is; the others are over.
    let mut present: Vec<usize> = (0..rows.len()).collect();
    let mut prefill_ms = None;
    let mut position = shortest;
    loop {
        let drawn = sampler.draw(logits);
        let ids = read_ids(drawn.clone());
        let now_ms = started.elapsed().as_secs_f64() * 1e3;
        prefill_ms.get_or_insert(now_ms);
        let mut next = Vec::with_capacity(present.len());
        for (&index, token) in present.iter().zip(ids) {
            next.push(vec![match prompts[index].get(position) {
                Some(own) => *own,
                None => rows[index].take(token, sampling, now_ms, |token| each(index, token)),
            }]);
        }
        let is_over = |slot: &usize| rows[present[*slot]].is_over();
        let left: Vec<usize> = (0..present.len()).filter(|slot| !is_over(slot)).collect();
        if left.is_empty() {
            break;
        }
        let some_leave = sampler.is_greedy() && 2 * left.len() <= present.len();
        if some_leave {
            cache.select(&left);
            next = left.iter().map(|slot| next[*slot].clone()).collect();
            present = left.iter().map(|slot| present[*slot]).collect();
        }
        // What was drawn is on the device already.
        let tokens = match some_leave || position < longest {
            true => token_tensor(&next, &device),
            false => drawn,
        };
        logits = last_logits(model, model.hidden_cached(tokens, &mut cache));
        position += 1;
    }
    let prefill_ms = prefill_ms.unwrap_or_default();
    Ok(rows
        .into_iter()
        .map(|row| row.into_reply(prefill_ms))
        .collect())
}

/// Logits `[batch, vocab]` of the last position only: the head is the largest matrix there is.
pub(super) fn last_logits<B: SsmBackend>(
    model: &HybridModel<B>,
    hidden: Tensor<B, 3>,
) -> Tensor<B, 2> {
    let [_, seq, _] = hidden.dims();
    model.logits(hidden.narrow(1, seq - 1, 1)).squeeze_dim(1)
}

pub(super) fn check(prompts: &[Vec<u32>], vocab_size: usize) -> Result<(), ModelError> {
    for (index, prompt) in prompts.iter().enumerate() {
        if prompt.is_empty() {
            return Err(ModelError::Prompt {
                index,
                problem: "it is empty, needs a token".into(),
            });
        }
        if let Some(id) = prompt.iter().find(|id| **id as usize >= vocab_size) {
            let problem = format!("id {id} is outside the vocabulary of {vocab_size}");
            return Err(ModelError::Prompt { index, problem });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
