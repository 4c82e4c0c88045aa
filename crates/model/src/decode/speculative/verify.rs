//! One round at the verifier: drafts in, verdicts out.

use std::time::Instant;

use burn::tensor::{Int, Tensor, Transaction};
use kernels::SsmBackend;
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::accept::{Verdict, accept_greedy, accept_sampled};
use super::choices::Choices;
use super::draft::Drafts;
use super::report::SpeculationReport;
use crate::cache::Cache;
use crate::decode::Sampler;
use crate::decode::batch::last_logits;
use crate::decode::sampler::{most_likely, read_ids, token_tensor};
use crate::hybrid::HybridModel;

/// What one row of a round adds.
pub(super) struct RowVerdict {
    /// The drafts accepted and the token after them
    pub(super) tokens: Vec<u32>,
    /// Drafts of the row
    pub(super) drafted: usize,
}

/// What a round needs of the call it is part of.
pub(super) struct Verifier<'a, B: SsmBackend> {
    pub(super) model: &'a HybridModel<B>,
    pub(super) cache: Cache<B>,
    pub(super) sampler: Sampler,
    pub(super) rng: ChaCha8Rng,
    /// The last token of each row, `[batch, 1]`, where a plain step has left it on the device
    pub(super) drawn: Option<Tensor<B, 2, Int>>,
    /// Whether to wait for the device where times are taken
    pub(super) profile: bool,
}

impl<B: SsmBackend> Verifier<'_, B> {
    /// A plain step after `last`, the last token of each row.
    pub(super) fn step(&mut self, last: &[u32]) -> Vec<RowVerdict> {
        let tokens = self.column(last);
        // Tokens dropped in the last round are made up for by a pass that can replay; after it they are settled.
        let hidden = match self.cache.keeps_all() {
            true => self.model.hidden_cached(tokens, &mut self.cache),
            false => self.model.hidden_verify(tokens, &mut self.cache),
        };
        let drawn = self.sampler.draw(last_logits(self.model, hidden));
        self.drawn = Some(drawn.clone());
        let verdict = |token| RowVerdict {
            tokens: vec![token],
            drafted: 0,
        };
        read_ids(drawn).into_iter().map(verdict).collect()
    }

    /// Reads `last` and the drafts in one pass and judges them.
    pub(super) fn round(
        &mut self,
        last: &[u32],
        drafts: Drafts<B>,
        report: &mut SpeculationReport,
    ) -> Vec<RowVerdict> {
        let started = Instant::now();
        let tokens = Tensor::cat(vec![self.column(last), drafts.tokens.clone()], 1);
        let hidden = self.model.hidden_verify(tokens, &mut self.cache);
        let logits = self.model.logits(hidden);
        self.wait();
        report.verify_ms += ms_since(started);
        let started = Instant::now();
        let counts = drafts.counts.clone();
        let verdicts = match self.sampler.is_greedy() {
            true => greedy(drafts, logits),
            false => self.sampled(drafts, logits),
        };
        report.accept_ms += ms_since(started);
        let rows = verdicts.into_iter().zip(counts);
        rows.map(|((mut tokens, verdict), drafted)| {
            tokens.truncate(verdict.accepted);
            tokens.push(verdict.token);
            RowVerdict { tokens, drafted }
        })
        .collect()
    }

    /// Waits until the device is idle, where times are wanted.
    pub(super) fn wait(&self) {
        if self.profile {
            // A device that fails here fails at the next read, which says so.
            let _ = B::sync(&self.model.device());
        }
    }

    /// `last` as `[batch, 1]`. A row that is over may be given another token: nobody hears what follows.
    fn column(&mut self, last: &[u32]) -> Tensor<B, 2, Int> {
        if let Some(drawn) = self.drawn.take() {
            return drawn;
        }
        let rows: Vec<Vec<u32>> = last.iter().map(|token| vec![*token]).collect();
        token_tensor(&rows, &self.model.device())
    }

    fn sampled(&mut self, drafts: Drafts<B>, logits: Tensor<B, 3>) -> Vec<(Vec<u32>, Verdict)> {
        match self.sampler.temperature_alone() {
            Some(temperature) => {
                let drafted = drafts.logits.clone();
                let choices = Choices::new(&drafts, logits, drafted, temperature);
                choices.judge(&mut || self.rng.random())
            }
            None => self.sampled_on_host(drafts, logits),
        }
    }

    /// Reads the logits of both sides and judges each row.
    fn sampled_on_host(
        &mut self,
        drafts: Drafts<B>,
        logits: Tensor<B, 3>,
    ) -> Vec<(Vec<u32>, Verdict)> {
        let [batch, positions, vocab] = logits.dims();
        let mut read = Transaction::default()
            .register(drafts.tokens)
            .register(logits);
        if let Some(drafted) = drafts.logits {
            read = read.register(drafted);
        }
        let mut read = read.execute().into_iter();
        let ids = read
            .next()
            .map_or(Vec::new(), |ids| ids.iter::<i64>().collect());
        let mut floats = || {
            let data = read.next()?.convert::<f32>();
            Some(data.into_vec::<f32>().expect("converted to it"))
        };
        let (verified, drafted) = (floats().unwrap_or_default(), floats());
        let mut verdicts = Vec::with_capacity(batch);
        for (row, ids) in ids.chunks_exact(positions - 1).enumerate() {
            let count = drafts.counts[row];
            let ids: Vec<u32> = ids[..count].iter().map(|id| *id as u32).collect();
            let rows = |values: &[f32], length: usize, used: usize| {
                let values = &values[row * length * vocab..][..used * vocab];
                let rows = values.chunks_exact(vocab);
                rows.map(|row| self.sampler.on_host(row))
                    .collect::<Vec<_>>()
            };
            let verified = rows(&verified, positions, count + 1);
            let drafted = drafted.as_deref();
            let drafted = drafted.map(|values| rows(values, positions - 1, count));
            let uniform = || self.rng.random();
            let verdict = accept_sampled(&ids, drafted.as_deref(), &verified, uniform);
            verdicts.push((ids, verdict));
        }
        verdicts
    }
}

/// Reads the drafts and the most likely tokens back together and judges each row.
fn greedy<B: SsmBackend>(drafts: Drafts<B>, logits: Tensor<B, 3>) -> Vec<(Vec<u32>, Verdict)> {
    let [batch, positions, vocab] = logits.dims();
    let best = most_likely(logits.reshape([batch * positions, vocab]));
    let best = best.reshape([batch, positions]);
    let ids = read_ids(Tensor::cat(vec![drafts.tokens, best], 1));
    let rows = ids.chunks_exact(2 * positions - 1).zip(drafts.counts);
    rows.map(|(ids, count)| {
        let (drafts, best) = (&ids[..count], &ids[positions - 1..]);
        (drafts.to_vec(), accept_greedy(drafts, best))
    })
    .collect()
}

pub(super) fn ms_since(started: Instant) -> f64 {
    started.elapsed().as_secs_f64() * 1e3
}
