//! Replies one after the other, each read after what is in the cache already.

use std::ops::ControlFlow;
use std::time::Instant;

use kernels::SsmBackend;

use super::batch::{check, last_logits};
use super::prefill::{prefill, prefill_piece};
use super::row::Row;
use super::sampler::{Sampler, read_ids};
use super::{Reply, Sampling};
use crate::cache::Cache;
use crate::error::ModelError;
use crate::hybrid::HybridModel;

/// A growing text and the cache of what was read of it.
///
/// A prompt that begins with everything read so far costs its new tokens alone; any other is read from its start, as a state-space
/// layer cannot forget a part.
#[derive(Debug)]
pub struct Session<B: SsmBackend> {
    cache: Cache<B>,
    read: Vec<u32>,
}

impl<B: SsmBackend> Session<B> {
    /// Nothing read yet by `model`, which all calls must be given.
    pub fn new(model: &HybridModel<B>) -> Self {
        Self {
            cache: model.new_cache(1, 0),
            read: Vec::new(),
        }
    }

    /// Tokens in the cache.
    pub fn len(&self) -> usize {
        self.read.len()
    }

    /// Whether nothing was read yet.
    pub fn is_empty(&self) -> bool {
        self.read.is_empty()
    }

    /// Bytes of decode state.
    pub fn state_bytes(&self) -> usize {
        self.cache.state_bytes()
    }

    /// Continues `prompt` as [`generate_each`](HybridModel::generate_each) does, and says how many of its tokens had to be read.
    ///
    /// # Errors
    /// [`ModelError::Prompt`] when the prompt is empty or holds an id outside the vocabulary.
    pub fn reply(
        &mut self,
        model: &HybridModel<B>,
        prompt: &[u32],
        sampling: &Sampling,
        mut each: impl FnMut(u32) -> ControlFlow<()>,
    ) -> Result<(Reply, usize), ModelError> {
        check(&[prompt.to_vec()], model.config().llama.vocab_size)?;
        let mut row = Row::default();
        if sampling.max_tokens == 0 {
            return Ok((row.into_reply(0.0), 0));
        }
        let goes_on = prompt.len() > self.read.len() && prompt.starts_with(&self.read);
        if !goes_on {
            let capacity = prompt.len() + sampling.max_tokens;
            self.cache = model.new_cache(1, capacity);
            self.read.clear();
        }
        let started = Instant::now();
        let new = &prompt[self.read.len()..];
        let count = new.len();
        let hidden = prefill(model, &[new], count, prefill_piece(1), &mut self.cache);
        self.read.extend_from_slice(new);
        let mut logits = last_logits(model, hidden.expect("there is a token to read"));
        let mut sampler = Sampler::new::<B>(sampling, &model.device());
        let mut prefill_ms = None;
        loop {
            let drawn = sampler.draw(logits);
            let token = read_ids(drawn.clone())[0];
            let now_ms = started.elapsed().as_secs_f64() * 1e3;
            prefill_ms.get_or_insert(now_ms);
            row.take(token, sampling, now_ms, &mut each);
            if row.is_over() {
                break;
            }
            logits = last_logits(model, model.hidden_cached(drawn, &mut self.cache));
            self.read.push(token);
        }
        Ok((row.into_reply(prefill_ms.unwrap_or_default()), count))
    }
}

#[cfg(test)]
mod tests {
    use burn::backend::Flex;

    use super::*;
    use crate::tests::fixtures::model;

    #[test]
    fn replies_of_a_session_are_those_of_the_whole_text_and_only_new_tokens_are_read() {
        for name in ["teacher", "hybrid_mamba1", "hybrid_mamba2", "pure_mamba2"] {
            let model = model::<Flex>(name);
            let mut session = Session::new(&model);
            let sampling = Sampling::greedy(6);
            let mut text = vec![5, 17, 60, 3];
            let mut sum = 0;
            for turn in 0..4 {
                let (reply, new) = session
                    .reply(&model, &text, &sampling, |_| ControlFlow::Continue(()))
                    .unwrap();
                let alone = model.generate(&text, &sampling).unwrap();
                assert_eq!(reply.tokens, alone.tokens, "{name}, turn {turn}");
                // All but the last token of a reply were fed to find the next.
                assert_eq!(new, if turn == 0 { 4 } else { 3 }, "{name}");
                sum += new + 5;
                assert_eq!(session.len(), sum);
                text.extend(reply.tokens);
                text.extend([9, 40 + turn]);
            }
            // A reply that is cut short leaves what was read of it.
            let (cut, _) = session
                .reply(&model, &text, &sampling, |_| ControlFlow::Break(()))
                .unwrap();
            assert_eq!(cut.tokens.len(), 1);
            assert_eq!(session.len(), text.len());
            // Another text is read from its start.
            text[1] += 1;
            let (reply, new) = session
                .reply(&model, &text, &sampling, |_| ControlFlow::Continue(()))
                .unwrap();
            assert_eq!(new, text.len());
            assert_eq!(
                reply.tokens,
                model.generate(&text, &sampling).unwrap().tokens
            );
        }
    }
}
