//! How many tokens to draft in the next round.

mod auto;

pub use auto::AutoDraftLen;

/// Chooses the draft length K of each round. Replies do not depend on it, their speed does.
#[derive(Clone, Debug)]
pub enum DraftLen {
    /// These lengths in turn, from the first again after the last; 0 is a plain step
    Cycle {
        /// At least one
        lengths: Vec<usize>,
        /// Index of the next
        next: usize,
    },
    /// The length that pays most on this device, by what was measured; 0 while none pays
    Auto(AutoDraftLen),
}

/// What was measured of one round.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Round {
    /// Drafts of the sequence that had most
    pub draft_len: usize,
    /// Time from the first draft to the last token on the host
    pub wall_ms: f64,
    /// Drafts and accepted drafts of each sequence that was not over
    pub sequences: Vec<[usize; 2]>,
}

impl DraftLen {
    /// The same length each time.
    pub fn fixed(draft_len: usize) -> Self {
        Self::cycle(vec![draft_len])
    }

    /// `lengths` in turn.
    pub fn cycle(lengths: Vec<usize>) -> Self {
        Self::Cycle { lengths, next: 0 }
    }

    /// Up to `most`, by measurement.
    pub fn auto(most: usize) -> Self {
        Self::Auto(AutoDraftLen::new(most))
    }

    /// No length is above this.
    pub fn most(&self) -> usize {
        match self {
            Self::Cycle { lengths, .. } => lengths.iter().copied().max().unwrap_or(0),
            Self::Auto(auto) => auto.most(),
        }
    }

    /// Starts a call that draws at most `max_tokens` for each sequence.
    pub(super) fn begin(&mut self, max_tokens: usize) {
        match self {
            Self::Cycle { next, .. } => *next = 0,
            Self::Auto(auto) => auto.begin(max_tokens),
        }
    }

    pub(super) fn next(&mut self) -> usize {
        match self {
            Self::Cycle { lengths, next } => {
                let length = lengths.get(*next).copied().unwrap_or(0);
                *next = (*next + 1) % lengths.len().max(1);
                length
            }
            Self::Auto(auto) => auto.choose(),
        }
    }

    pub(super) fn observe(&mut self, round: &Round) {
        if let Self::Auto(auto) = self {
            auto.observe(round);
        }
    }
}

impl Round {
    pub(super) fn new(draft_len: usize) -> Self {
        Self {
            draft_len,
            ..Self::default()
        }
    }

    pub(super) fn count(&mut self, drafted: usize, accepted: usize) {
        self.sequences.push([drafted, accepted]);
    }

    /// Tokens that the round added to a sequence, on average.
    pub fn tokens(&self) -> f64 {
        let accepted: usize = self.sequences.iter().map(|[_, accepted]| accepted).sum();
        1.0 + accepted as f64 / self.sequences.len().max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_come_in_turn_and_every_call_starts_with_the_first() {
        let mut draft_len = DraftLen::cycle(vec![2, 0, 5]);
        assert_eq!(draft_len.most(), 5);
        let drawn: Vec<usize> = (0..5).map(|_| draft_len.next()).collect();
        assert_eq!(drawn, [2, 0, 5, 2, 0]);
        draft_len.begin(10);
        assert_eq!(draft_len.next(), 2);
    }

    #[test]
    fn a_round_gives_each_sequence_a_token_and_what_was_accepted() {
        let mut round = Round::new(4);
        round.count(4, 4);
        round.count(2, 1);
        assert_eq!(round.tokens(), 3.5);
    }
}
