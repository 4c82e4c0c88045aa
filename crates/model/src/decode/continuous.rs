//! Replies drawn together, which prompts join and leave between steps (continuous batching).
//!
//! A prompt is read alone, a piece at a time between the steps of the others, so that nobody waits for a long one. Then its states
//! and keys are appended to those of the batch; when its reply is over they are taken out.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::time::Instant;

use kernels::SsmBackend;

use super::batch::{check, last_logits};
use super::prefill::{PREFILL_MOST, prefill, prefill_piece};
use super::row::Row;
use super::row_sampler::{RowSampler, draw_rows};
use super::sampler::token_tensor;
use super::{Reply, Sampling};
use crate::cache::Cache;
use crate::error::ModelError;
use crate::hybrid::HybridModel;

/// Names a reply of one [`ContinuousBatch`]; never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(u64);

/// A batch whose rows come and go.
pub struct ContinuousBatch<'a, B: SsmBackend> {
    model: &'a HybridModel<B>,
    /// One sequence without tokens, and the packed weights that single tokens are decoded with
    blank: Cache<B>,
    /// Of `streams`, in order; none if there are none
    cache: Option<Cache<B>>,
    streams: Vec<Stream>,
    unread: VecDeque<Unread<B>>,
    next_id: u64,
}

/// A reply in the making.
struct Stream {
    id: StreamId,
    row: Row,
    sampler: RowSampler,
    sampling: Sampling,
    /// Drawn, not yet read by the model
    last: u32,
    started: Instant,
    prefill_ms: f64,
}

/// A prompt that is not read to its end.
struct Unread<B: SsmBackend> {
    id: StreamId,
    prompt: Vec<u32>,
    read: usize,
    cache: Cache<B>,
    sampling: Sampling,
    started: Instant,
}

impl<'a, B: SsmBackend> ContinuousBatch<'a, B> {
    /// An empty batch of replies of `model`; it runs one token, for what is made at the first one.
    pub fn new(model: &'a HybridModel<B>) -> Self {
        let mut blank = model.new_cache(1, 0);
        let mark = blank.mark();
        model.hidden_cached(token_tensor(&[vec![0]], &model.device()), &mut blank);
        blank.return_to(mark);
        Self {
            model,
            blank,
            cache: None,
            streams: Vec::new(),
            unread: VecDeque::new(),
            next_id: 0,
        }
    }

    /// Replies that are not over, those included whose prompt is not read yet.
    pub fn len(&self) -> usize {
        self.streams.len() + self.unread.len()
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of decode state of all replies together.
    pub fn state_bytes(&self) -> usize {
        let unread = self.unread.iter().map(|unread| &unread.cache);
        self.cache
            .iter()
            .chain(unread)
            .map(Cache::state_bytes)
            .sum()
    }

    /// Adds a reply to `prompt`, which the next steps read and continue as [`HybridModel::generate`] does.
    ///
    /// # Errors
    /// [`ModelError::Prompt`] when the prompt is empty or holds an id outside the vocabulary.
    pub fn join(&mut self, prompt: Vec<u32>, sampling: Sampling) -> Result<StreamId, ModelError> {
        check(
            std::slice::from_ref(&prompt),
            self.model.config().llama.vocab_size,
        )?;
        let id = StreamId(self.next_id);
        self.next_id += 1;
        self.unread.push_back(Unread {
            id,
            prompt,
            read: 0,
            cache: self.blank.clone(),
            sampling,
            started: Instant::now(),
        });
        Ok(id)
    }

    /// Gives a reply up, wherever it is; one that is over is gone already.
    pub fn leave(&mut self, id: StreamId) {
        self.unread.retain(|unread| unread.id != id);
        self.retain(|stream| stream.id != id);
    }

    /// Reads prompts, up to a bound on their tokens, then gives every reply whose prompt is read one token more.
    ///
    /// `each` is told of every token; `Break` ends that reply. Returns the replies that are over, which have left.
    pub fn step(
        &mut self,
        each: &mut dyn FnMut(StreamId, u32) -> ControlFlow<()>,
    ) -> Vec<(StreamId, Reply)> {
        let mut over = self.read(each);
        if let Some(cache) = &mut self.cache {
            let last: Vec<Vec<u32>> = self.streams.iter().map(|s| vec![s.last]).collect();
            let tokens = token_tensor(&last, &self.model.device());
            let logits = last_logits(self.model, self.model.hidden_cached(tokens, cache));
            let drawn = draw_rows(logits, self.streams.iter_mut().map(|s| &mut s.sampler));
            for (stream, token) in self.streams.iter_mut().zip(drawn) {
                stream.take(token, each);
            }
        }
        let ended = self.retain(|stream| !stream.row.is_over());
        over.extend(ended.into_iter().map(Stream::into_reply));
        over
    }

    /// Reads pieces of prompts in the order they came, and draws the first token of those read; those that are over with it.
    fn read(
        &mut self,
        each: &mut dyn FnMut(StreamId, u32) -> ControlFlow<()>,
    ) -> Vec<(StreamId, Reply)> {
        let (mut left, mut joining, mut over) = (PREFILL_MOST, Vec::new(), Vec::new());
        while left > 0
            && let Some(unread) = self.unread.front_mut()
        {
            if unread.sampling.max_tokens == 0 {
                let unread = self.unread.pop_front().expect("seen above");
                over.push((unread.id, Row::default().into_reply(0.0)));
                continue;
            }
            let rest = &unread.prompt[unread.read..];
            let piece = &rest[..rest.len().min(prefill_piece(1))];
            let count = piece.len();
            let hidden = prefill(self.model, &[piece], count, count, &mut unread.cache);
            unread.read += count;
            left = left.saturating_sub(count);
            if unread.read < unread.prompt.len() {
                continue;
            }
            let unread = self.unread.pop_front().expect("seen above");
            let logits = last_logits(self.model, hidden.expect("a piece has a token"));
            let mut stream = Stream {
                id: unread.id,
                row: Row::default(),
                sampler: RowSampler::new(&unread.sampling),
                sampling: unread.sampling,
                last: 0,
                started: unread.started,
                prefill_ms: 0.0,
            };
            let token = draw_rows(logits, std::iter::once(&mut stream.sampler))[0];
            stream.prefill_ms = stream.wall_ms();
            stream.take(token, each);
            match stream.row.is_over() {
                true => over.push(stream.into_reply()),
                false => {
                    self.streams.push(stream);
                    joining.push(unread.cache);
                }
            }
        }
        match &mut self.cache {
            _ if joining.is_empty() => {}
            Some(cache) => cache.append(joining),
            None => {
                let mut cache = joining.remove(0);
                if !joining.is_empty() {
                    cache.append(joining);
                }
                self.cache = Some(cache);
            }
        }
        over
    }

    /// Takes out the replies that are not to be kept.
    fn retain(&mut self, keep: impl Fn(&Stream) -> bool) -> Vec<Stream> {
        let kept: Vec<usize> = (0..self.streams.len())
            .filter(|at| keep(&self.streams[*at]))
            .collect();
        if kept.len() == self.streams.len() {
            return Vec::new();
        }
        match &mut self.cache {
            Some(cache) if !kept.is_empty() => cache.select(&kept),
            cache => *cache = None,
        }
        let all = std::mem::take(&mut self.streams);
        let (kept, ended) = all.into_iter().partition(keep);
        self.streams = kept;
        ended
    }
}

impl Stream {
    fn wall_ms(&self) -> f64 {
        self.started.elapsed().as_secs_f64() * 1e3
    }

    fn take(&mut self, token: u32, each: &mut dyn FnMut(StreamId, u32) -> ControlFlow<()>) {
        let (id, now_ms) = (self.id, self.wall_ms());
        let tell = |token| each(id, token);
        self.last = self.row.take(token, &self.sampling, now_ms, tell);
    }

    fn into_reply(self) -> (StreamId, Reply) {
        (self.id, self.row.into_reply(self.prefill_ms))
    }
}

#[cfg(test)]
mod tests;
