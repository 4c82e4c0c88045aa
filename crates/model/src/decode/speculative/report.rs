//! What speculation did, counted.

use super::draft_len::Round;

/// Counts and times of a call, all sequences together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SpeculationReport {
    /// Rounds with drafts
    pub rounds: usize,
    /// Rounds without: plain steps
    pub plain_rounds: usize,
    /// Tokens drafted for sequences that were not over
    pub drafted: usize,
    /// Drafts accepted
    pub accepted: usize,
    /// Tokens that rounds with drafts added, stop tokens included
    pub emitted: usize,
    /// Sequences not over, summed over rounds with drafts
    pub sequence_rounds: usize,
    /// Rounds with each number of drafts, from 0 on
    pub draft_lens: Vec<usize>,
    /// Time of the rounds with drafts, in milliseconds, until drafts were there
    pub draft_ms: f64,
    /// Until the verifier's logits were there
    pub verify_ms: f64,
    /// Until verdicts were read back
    pub accept_ms: f64,
    /// For what the host did with them
    pub host_ms: f64,
    /// Time of the rounds without drafts, in milliseconds
    pub plain_ms: f64,
    /// Bytes that one sequence's decode state took in the verifier, on average, after the longest round
    pub state_bytes: usize,
    /// As `state_bytes`, in the drafter
    pub drafter_bytes: usize,
}

impl SpeculationReport {
    /// Tokens that a round with drafts adds to a sequence, on average.
    pub fn tokens_per_round(&self) -> f64 {
        self.emitted as f64 / self.sequence_rounds.max(1) as f64
    }

    /// Share of the drafts that were accepted.
    pub fn acceptance(&self) -> f64 {
        self.accepted as f64 / self.drafted.max(1) as f64
    }

    /// Takes in what another call counted.
    pub fn add(&mut self, other: &Self) {
        let Self {
            rounds,
            plain_rounds,
            drafted,
            accepted,
            emitted,
            sequence_rounds,
            draft_lens,
            draft_ms,
            verify_ms,
            accept_ms,
            host_ms,
            plain_ms,
            state_bytes,
            drafter_bytes,
        } = other;
        self.rounds += rounds;
        self.plain_rounds += plain_rounds;
        self.drafted += drafted;
        self.accepted += accepted;
        self.emitted += emitted;
        self.sequence_rounds += sequence_rounds;
        let lengths = self.draft_lens.len().max(draft_lens.len());
        self.draft_lens.resize(lengths, 0);
        for (sum, count) in self.draft_lens.iter_mut().zip(draft_lens) {
            *sum += count;
        }
        self.draft_ms += draft_ms;
        self.verify_ms += verify_ms;
        self.accept_ms += accept_ms;
        self.host_ms += host_ms;
        self.plain_ms += plain_ms;
        self.state_bytes = self.state_bytes.max(*state_bytes);
        self.drafter_bytes = self.drafter_bytes.max(*drafter_bytes);
    }

    pub(super) fn count(&mut self, round: &Round) {
        let draft_len = round.draft_len;
        if self.draft_lens.len() <= draft_len {
            self.draft_lens.resize(draft_len + 1, 0);
        }
        self.draft_lens[draft_len] += 1;
        if draft_len == 0 {
            self.plain_rounds += 1;
            self.plain_ms += round.wall_ms;
            return;
        }
        self.rounds += 1;
        self.sequence_rounds += round.sequences.len();
        for [drafted, accepted] in &round.sequences {
            self.drafted += drafted;
            self.accepted += accepted;
            self.emitted += accepted + 1;
        }
    }
}
