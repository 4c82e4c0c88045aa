//! The loop: draft, verify, accept (method 5.2).

use std::ops::ControlFlow;
use std::time::Instant;

use kernels::SsmBackend;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::draft::{Drafter, Drafts, read};
use super::draft_len::{DraftLen, Round};
use super::report::SpeculationReport;
use super::verify::{RowVerdict, Verifier, ms_since};
use crate::decode::batch::check;
use crate::decode::row::Row;
use crate::decode::{Reply, Sampler, Sampling};
use crate::error::ModelError;
use crate::hybrid::HybridModel;

/// How to speculate.
#[derive(Clone, Debug)]
pub struct Speculation {
    /// Tokens drafted in each round
    pub draft_len: DraftLen,
    /// Wait for the device between the parts of a round, so that their times are their own; it costs a little
    pub profile: bool,
}

impl Speculation {
    /// Drafts as `draft_len` says.
    pub fn new(draft_len: DraftLen) -> Self {
        Self {
            draft_len,
            profile: false,
        }
    }
}

/// Answers every prompt as [`generate_batch`](crate::generate_batch) does, with the help of `drafter`; tells `each` the row and token of
/// every token of a reply in order, and `Break` ends that reply.
///
/// The prefill of the replies is the reading of the prompts, by both models; all tokens come after it. Greedy replies are those
/// of plain decoding. Sampled ones are distributed alike; equal seeds draw equal replies where `draft_len` does not depend
/// on measured times.
///
/// # Errors
/// [`ModelError::Prompt`] when a prompt is empty or holds an id outside the vocabulary, [`ModelError::Drafter`] when
/// the drafter's vocabulary is another.
pub fn generate_speculative<B: SsmBackend>(
    model: &HybridModel<B>,
    drafter: &mut dyn Drafter<B>,
    prompts: &[Vec<u32>],
    sampling: &Sampling,
    speculation: &mut Speculation,
    each: &mut dyn FnMut(usize, u32) -> ControlFlow<()>,
) -> Result<(Vec<Reply>, SpeculationReport), ModelError> {
    let vocab_size = model.config().llama.vocab_size;
    check(prompts, vocab_size)?;
    if let Some(found) = drafter.vocab_size().filter(|found| *found != vocab_size) {
        let expected = vocab_size;
        return Err(ModelError::Drafter { found, expected });
    }
    let mut report = SpeculationReport::default();
    let mut rows: Vec<Row> = prompts.iter().map(|_| Row::default()).collect();
    if prompts.is_empty() || sampling.max_tokens == 0 {
        let replies = rows.into_iter().map(|row| row.into_reply(0.0)).collect();
        return Ok((replies, report));
    }
    let draft_len = &mut speculation.draft_len;
    let device = model.device();
    let longest = prompts.iter().map(Vec::len).max().unwrap_or(0);
    let capacity = longest + sampling.max_tokens + draft_len.most();
    let mut verifier = Verifier {
        model,
        cache: model.new_cache(prompts.len(), capacity),
        sampler: Sampler::new::<B>(sampling, &device),
        rng: ChaCha8Rng::seed_from_u64(sampling.seed),
        drawn: None,
        profile: speculation.profile,
    };

    let started = Instant::now();
    let beginnings: Vec<&[u32]> = prompts.iter().map(|p| &p[..p.len() - 1]).collect();
    let mut last: Vec<u32> = prompts.iter().map(|p| p[p.len() - 1]).collect();
    read(model, &mut verifier.cache, &beginnings);
    drafter.start(&beginnings, capacity);
    // A device that fails here fails at the next read, which says so.
    let _ = B::sync(&device);
    let prefill_ms = ms_since(started);

    draft_len.begin(sampling.max_tokens);
    let mut unread: Vec<Vec<u32>> = last.iter().map(|token| vec![*token]).collect();
    while let Some(left) = most_left(&rows, sampling) {
        let round_started = Instant::now();
        // The last token needs no draft: the verifier draws one itself.
        let wanted = draft_len.next().min(left - 1);
        let drafts = (wanted > 0)
            .then(|| some_drafts(drafter, &mut unread, wanted, &mut verifier.sampler))
            .flatten();
        let drafted = drafts.as_ref().map_or(0, |drafts| drafts.tokens.dims()[1]);
        let verdicts = match drafts {
            Some(drafts) => {
                verifier.wait();
                report.draft_ms += ms_since(round_started);
                verifier.round(&last, drafts, &mut report)
            }
            None => verifier.step(&last),
        };

        let now_ms = ms_since(started);
        let host_started = Instant::now();
        let mut round = Round::new(drafted);
        let mut kept = vec![1; rows.len()];
        for (index, verdict) in verdicts.into_iter().enumerate() {
            let row = &mut rows[index];
            if row.is_over() {
                continue;
            }
            round.count(verdict.drafted, verdict.tokens.len() - 1);
            let RowVerdict { tokens, .. } = verdict;
            kept[index] = tokens.len();
            for token in tokens {
                if row.is_over() {
                    break;
                }
                last[index] = row.take(token, sampling, now_ms, |token| each(index, token));
                unread[index].push(token);
            }
            if row.is_over() {
                unread[index].clear();
            }
        }
        if drafted > 0 {
            verifier.cache.keep(&kept);
            report.host_ms += ms_since(host_started);
        }
        round.wall_ms = ms_since(round_started);
        let bytes = verifier.cache.state_bytes() / rows.len();
        report.state_bytes = report.state_bytes.max(bytes);
        report.drafter_bytes = drafter.state_bytes() / rows.len();
        report.count(&round);
        draft_len.observe(&round);
    }
    let replies = rows.into_iter().map(|row| row.into_reply(prefill_ms));
    Ok((replies.collect(), report))
}

/// Most tokens that a reply may still get; none if all are over.
fn most_left(rows: &[Row], sampling: &Sampling) -> Option<usize> {
    let going = rows.iter().filter(|row| !row.is_over());
    going.map(|row| sampling.max_tokens - row.len()).max()
}

/// Lets the drafter read what is `unread` and guess; none if it guesses nothing.
fn some_drafts<B: SsmBackend>(
    drafter: &mut dyn Drafter<B>,
    unread: &mut [Vec<u32>],
    wanted: usize,
    sampler: &mut Sampler,
) -> Option<Drafts<B>> {
    let drafts = drafter.draft(unread, wanted, sampler);
    unread.iter_mut().for_each(Vec::clear);
    drafts
        .counts
        .iter()
        .any(|count| *count > 0)
        .then_some(drafts)
}
