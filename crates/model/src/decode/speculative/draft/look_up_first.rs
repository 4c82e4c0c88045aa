//! Prompt look-up where a text repeats itself, another drafter where it does not.

use burn::tensor::backend::Backend;

use super::{Drafter, Drafts, NGramDrafter};
use crate::decode::Sampler;

/// Tokens at the end of a text that must have stood before: of fewer the other drafter knows more.
const ENDING: usize = 3;

/// Guesses by prompt look-up, which costs nothing, in rounds in which every sequence ends as it did before, and by another drafter in all
/// other rounds.
pub struct LookUpFirst<B: Backend> {
    look_up: NGramDrafter<B>,
    other: Box<dyn Drafter<B>>,
    /// What the other drafter has not read of each sequence
    behind: Vec<Vec<u32>>,
}

impl<B: Backend> LookUpFirst<B> {
    /// Asks `other` where look-up finds nothing, for verifiers on `device`.
    pub fn new(other: Box<dyn Drafter<B>>, device: &B::Device) -> Self {
        Self {
            look_up: NGramDrafter::with_shortest(ENDING, device),
            other,
            behind: Vec::new(),
        }
    }
}

impl<B: Backend> Drafter<B> for LookUpFirst<B> {
    fn vocab_size(&self) -> Option<usize> {
        self.other.vocab_size()
    }

    fn start(&mut self, beginnings: &[&[u32]], capacity: usize) {
        self.look_up.start(beginnings, capacity);
        self.other.start(beginnings, capacity);
        self.behind = vec![Vec::new(); beginnings.len()];
    }

    fn draft(&mut self, unread: &[Vec<u32>], draft_len: usize, sampler: &mut Sampler) -> Drafts<B> {
        for (behind, unread) in self.behind.iter_mut().zip(unread) {
            match unread.is_empty() {
                // The sequence is over.
                true => behind.clear(),
                false => behind.extend_from_slice(unread),
            }
        }
        let found = self.look_up.draft(unread, draft_len, sampler);
        let mut rows = found.counts.iter().zip(unread);
        if rows.all(|(count, unread)| *count > 0 || unread.is_empty()) {
            return found;
        }
        let drafts = self.other.draft(&self.behind, draft_len, sampler);
        self.behind.iter_mut().for_each(Vec::clear);
        drafts
    }

    fn state_bytes(&self) -> usize {
        self.look_up.state_bytes() + self.other.state_bytes()
    }
}
