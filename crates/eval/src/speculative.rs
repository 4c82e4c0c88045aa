//! Speculative against plain decoding of one model on the same prompts, in the same run (method 5.5).

use std::ops::ControlFlow;
use std::time::Instant;

use burn::tensor::{Int, Tensor, TensorData};
use kernels::SsmBackend;
use model::decode::speculative::{
    DraftLen, Drafter, Speculation, SpeculationReport, generate_speculative,
};
use model::{HybridModel, Reply, Sampling, generate_batch};
use serde::{Deserialize, Serialize};

use crate::EvalError;
use crate::speed::median;

/// What is decoded, and how often it is timed.
#[derive(Debug, Clone, PartialEq)]
pub struct SpeculativeOptions {
    /// Answered one after the other, or some together.
    pub prompts: Vec<Vec<u32>>,
    /// Prompts that are decoded together.
    pub batch: usize,
    /// How tokens are drawn. Without stop tokens every reply is as long, but of much that nobody would read.
    pub sampling: Sampling,
    /// Timed rounds after one warm-up; the median is reported.
    pub rounds: usize,
}

/// Plain decoding: what speculation is measured against.
#[derive(Debug, Clone, PartialEq)]
pub struct PlainSpeed {
    /// Tokens decoded after the first, per second, all sequences together.
    pub tokens_per_s: f64,
    /// The replies of the last round.
    pub replies: Vec<Reply>,
}

/// Speculative decoding.
#[derive(Debug, Clone, PartialEq)]
pub struct SpeculativeSpeed {
    /// Tokens decoded after both models read the prompts, per second, all sequences together.
    pub tokens_per_s: f64,
    /// Over plain decoding, which every round does too: the median of the rounds' ratios, so that what else a machine does meets both.
    pub speedup: f64,
    /// The same of the time from the prompt to the last token.
    pub end_to_end_speedup: f64,
    /// The replies of the last round.
    pub replies: Vec<Reply>,
    /// Counts of the last timed round.
    pub report: SpeculationReport,
    /// Times of the parts, of a round of its own in which the device waits between them.
    pub parts: SpeculationReport,
}

/// How far greedy replies are those of plain decoding.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// Tokens up to the first difference of each reply, which is included, or to its end.
    pub compared: usize,
    /// Replies that differ somewhere.
    pub differing: usize,
    /// Of the tokens that differ first, the largest distance of their logits, as a share of the largest logit: a tie within rounding
    /// is near the precision of the arithmetic.
    pub largest_gap: f64,
}

/// Times plain decoding.
///
/// # Errors
/// [`EvalError::Empty`] without a prompt or a round, or what decoding reports.
pub fn plain<B: SsmBackend>(
    model: &HybridModel<B>,
    options: &SpeculativeOptions,
) -> Result<PlainSpeed, EvalError> {
    options.check()?;
    plain_run(model, options)?;
    let runs = (0..options.rounds).map(|_| plain_run(model, options));
    let mut runs = runs.collect::<Result<Vec<Run>, EvalError>>()?;
    Ok(PlainSpeed {
        tokens_per_s: median_of(&runs, Run::rate),
        replies: runs.pop().map_or_else(Vec::new, |run| run.replies),
    })
}

fn plain_run<B: SsmBackend>(
    model: &HybridModel<B>,
    options: &SpeculativeOptions,
) -> Result<Run, EvalError> {
    let mut run = Run::default();
    for prompts in options.prompts.chunks(options.batch) {
        let started = Instant::now();
        let replies = generate_batch(model, prompts, &options.sampling)?;
        // The first token of the shortest prompt comes with the prefill, those of the others while it goes on.
        run.take(replies, 1, started);
    }
    Ok(run)
}

/// Times speculative decoding, each round beside one of plain decoding; `draft_len` keeps what it learns.
///
/// # Errors
/// [`EvalError::Empty`] without a prompt or a round, or what decoding reports.
pub fn speculative<B: SsmBackend>(
    model: &HybridModel<B>,
    drafter: &mut dyn Drafter<B>,
    draft_len: DraftLen,
    options: &SpeculativeOptions,
) -> Result<SpeculativeSpeed, EvalError> {
    options.check()?;
    let mut speculation = Speculation::new(draft_len);
    let mut run = |speculation: &mut Speculation| {
        let (mut run, mut sum) = (Run::default(), SpeculationReport::default());
        for prompts in options.prompts.chunks(options.batch) {
            let started = Instant::now();
            let (replies, report) = generate_speculative(
                model,
                drafter,
                prompts,
                &options.sampling,
                speculation,
                &mut |_, _| ControlFlow::Continue(()),
            )?;
            run.take(replies, 0, started);
            sum.add(&report);
        }
        Ok::<_, EvalError>((run, sum))
    };
    run(&mut speculation)?;
    let (mut runs, mut report) = (Vec::new(), SpeculationReport::default());
    for _ in 0..options.rounds {
        let plain = plain_run(model, options)?;
        let (run, counted) = run(&mut speculation)?;
        runs.push([plain, run]);
        report = counted;
    }
    speculation.profile = true;
    let (_, parts) = run(&mut speculation)?;
    Ok(SpeculativeSpeed {
        tokens_per_s: median_of(&runs, |[_, run]| run.rate()),
        speedup: median_of(&runs, |[plain, run]| run.rate() / plain.rate()),
        end_to_end_speedup: median_of(&runs, |[plain, run]| plain.wall_ms / run.wall_ms),
        replies: runs.pop().map_or_else(Vec::new, |[_, run]| run.replies),
        report,
        parts,
    })
}

impl SpeculativeOptions {
    fn check(&self) -> Result<(), EvalError> {
        let Self {
            prompts,
            batch,
            sampling,
            rounds,
        } = self;
        if !prompts.is_empty() && *batch > 0 && sampling.max_tokens > 1 && *rounds > 0 {
            return Ok(());
        }
        let found = format!(
            "{} prompts, {batch} together, {} tokens each, {rounds} rounds",
            prompts.len(),
            sampling.max_tokens
        );
        let expected = "at least 1 prompt, 1 together, 2 tokens and 1 round";
        Err(EvalError::Empty { found, expected })
    }
}

/// All prompts answered once.
#[derive(Default)]
struct Run {
    replies: Vec<Reply>,
    tokens: usize,
    decode_ms: f64,
    wall_ms: f64,
}

impl Run {
    /// Takes in replies that were decoded together from `started` on; the first `earlier` tokens of each came with the prefill.
    fn take(&mut self, replies: Vec<Reply>, earlier: usize, started: Instant) {
        self.wall_ms += started.elapsed().as_secs_f64() * 1e3;
        let decoded = replies.iter().map(|reply| reply.decode_ms);
        self.decode_ms += decoded.fold(0.0, f64::max);
        let tokens = replies.iter().map(|reply| reply.tokens.len());
        self.tokens += tokens.map(|len| len.saturating_sub(earlier)).sum::<usize>();
        self.replies.extend(replies);
    }

    /// Tokens decoded per second.
    fn rate(&self) -> f64 {
        self.tokens as f64 * 1e3 / self.decode_ms.max(1e-6)
    }
}

fn median_of<T>(runs: &[T], number: impl Fn(&T) -> f64) -> f64 {
    median(runs.iter().map(number).collect())
}

/// Compares greedy replies with those of plain decoding, and weighs the first difference of each by the model's own logits.
pub fn agreement<B: SsmBackend>(
    model: &HybridModel<B>,
    prompts: &[Vec<u32>],
    plain: &[Reply],
    speculative: &[Reply],
) -> Agreement {
    let mut agreement = Agreement::default();
    for (prompt, (plain, speculative)) in prompts.iter().zip(plain.iter().zip(speculative)) {
        let mut pairs = plain.tokens.iter().zip(&speculative.tokens);
        let Some(at) = pairs.position(|(plain, speculative)| plain != speculative) else {
            agreement.compared += plain.tokens.len().min(speculative.tokens.len());
            agreement.differing += usize::from(plain.tokens.len() != speculative.tokens.len());
            continue;
        };
        agreement.compared += at + 1;
        agreement.differing += 1;
        let context: Vec<i32> = prompt
            .iter()
            .chain(&plain.tokens[..at])
            .map(|id| *id as i32)
            .collect();
        let length = context.len();
        let context = TensorData::new(context, [1, length]);
        let context = Tensor::<B, 2, Int>::from_data(context, &model.device());
        let hidden = model.hidden(context).narrow(1, length - 1, 1);
        let logits: Vec<f64> = model.logits(hidden).into_data().iter::<f64>().collect();
        let [a, b] = [plain, speculative].map(|reply| logits[reply.tokens[at] as usize]);
        let largest = logits
            .iter()
            .fold(0.0_f64, |largest, logit| largest.max(logit.abs()));
        agreement.largest_gap = agreement
            .largest_gap
            .max((a - b).abs() / largest.max(1e-30));
    }
    agreement
}

/// Milliseconds of a verifying pass over `draft_len + 1` tokens of each of `prompts`, when all tokens of the last pass were kept and when
/// all but one were and have to be replayed; medians of `rounds`.
pub fn replay_ms<B: SsmBackend>(
    model: &HybridModel<B>,
    batch: usize,
    draft_len: usize,
    rounds: usize,
) -> [f64; 2] {
    let tokens = draft_len + 1;
    let device = model.device();
    let mut cache = model.new_cache(batch, (2 * rounds + 4) * tokens);
    let ids = Tensor::<B, 2, Int>::zeros([batch, tokens], &device);
    let mut pass = |kept: usize| {
        // A device that fails here fails at the next read, which says so.
        let _ = B::sync(&device);
        let started = Instant::now();
        model.hidden_verify(ids.clone(), &mut cache);
        let _ = B::sync(&device);
        let wall_ms = started.elapsed().as_secs_f64() * 1e3;
        cache.keep(&vec![kept; batch]);
        wall_ms
    };
    pass(tokens);
    // What is kept of a pass is replayed in the next.
    let mut times = [tokens, draft_len].map(|kept| {
        pass(kept);
        (0..rounds).map(|_| pass(kept)).collect::<Vec<f64>>()
    });
    times.each_mut().map(std::mem::take).map(median)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::decode::speculative::{ModelDrafter, NGramDrafter};

    fn options() -> SpeculativeOptions {
        SpeculativeOptions {
            prompts: vec![vec![3, 1, 4, 1, 5], vec![9, 2], vec![4, 4, 7]],
            batch: 2,
            sampling: Sampling::greedy(12),
            rounds: 1,
        }
    }

    #[test]
    fn both_ways_of_decoding_are_timed_and_agree() {
        let model = crate::tiny_model::tiny_model(97);
        let options = options();
        let plain = plain(&model, &options).unwrap();
        let mut ngram = NGramDrafter::new(&model.device());
        let mut same = ModelDrafter::new(model.clone());
        let drafters: [&mut dyn Drafter<_>; 2] = [&mut ngram, &mut same];
        for drafter in drafters {
            let found = speculative(&model, drafter, DraftLen::fixed(3), &options).unwrap();
            assert!(plain.tokens_per_s > 1.0 && found.tokens_per_s > 1.0);
            assert!(found.speedup > 0.0 && found.end_to_end_speedup > 0.0);
            let agreement = agreement(&model, &options.prompts, &plain.replies, &found.replies);
            let expected = Agreement {
                compared: 36,
                ..Agreement::default()
            };
            assert_eq!(agreement, expected);
        }
        let found = speculative(&model, &mut same, DraftLen::fixed(3), &options).unwrap();
        assert_eq!(found.report.acceptance(), 1.0);
        // Three rounds for two prompts, three for the last.
        assert_eq!((found.report.rounds, found.report.emitted), (6, 36));
        assert_eq!(found.report.tokens_per_round(), 4.0);
        let parts = &found.parts;
        assert!(parts.draft_ms > 0.0 && parts.verify_ms > 0.0 && parts.accept_ms > 0.0);
    }

    #[test]
    fn a_difference_is_weighed_by_the_logits() {
        let model = crate::tiny_model::tiny_model(97);
        let options = options();
        let plain = plain(&model, &options).unwrap();
        let mut other = plain.replies.clone();
        other[1].tokens[4] = (other[1].tokens[4] + 1) % 97;
        let found = agreement(&model, &options.prompts, &plain.replies, &other);
        assert_eq!((found.compared, found.differing), (29, 1));
        assert!(found.largest_gap > 1e-3, "{found:?}");
    }

    #[test]
    fn nothing_to_decode_is_an_error() {
        let model = crate::tiny_model::tiny_model(97);
        let options = SpeculativeOptions {
            prompts: Vec::new(),
            ..options()
        };
        assert!(matches!(
            plain(&model, &options),
            Err(EvalError::Empty { .. })
        ));
    }

    #[test]
    fn replays_are_timed() {
        let [all_kept, replayed] = replay_ms(&crate::tiny_model::tiny_model(97), 2, 3, 3);
        assert!(all_kept > 0.0 && replayed > 0.0);
    }
}
