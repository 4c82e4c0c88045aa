//! A drafter without a model: what followed the last time.

use std::marker::PhantomData;

use burn::tensor::backend::Backend;

use super::{Drafter, Drafts};
use crate::decode::Sampler;
use crate::decode::sampler::token_tensor;

/// Prompt look-up: finds where the last tokens of a sequence stood before and guesses that the same tokens follow.
#[derive(Debug)]
pub struct NGramDrafter<B: Backend> {
    texts: Vec<Vec<u32>>,
    shortest: usize,
    device: B::Device,
    backend: PhantomData<B>,
}

/// Tokens that are looked for, the most first.
const LONGEST: usize = 4;
const SHORTEST: usize = 2;

impl<B: Backend> NGramDrafter<B> {
    /// For verifiers on `device`.
    pub fn new(device: &B::Device) -> Self {
        Self::with_shortest(SHORTEST, device)
    }

    /// As [`new`](Self::new), where at least the last `shortest` tokens, 1 to 4, must have stood before.
    pub(super) fn with_shortest(shortest: usize, device: &B::Device) -> Self {
        Self {
            texts: Vec::new(),
            shortest,
            device: device.clone(),
            backend: PhantomData,
        }
    }
}

impl<B: Backend> Drafter<B> for NGramDrafter<B> {
    fn vocab_size(&self) -> Option<usize> {
        None
    }

    fn start(&mut self, beginnings: &[&[u32]], capacity: usize) {
        let text = |beginning: &&[u32]| {
            let mut text = Vec::with_capacity(capacity);
            text.extend_from_slice(beginning);
            text
        };
        self.texts = beginnings.iter().map(text).collect();
    }

    fn draft(&mut self, unread: &[Vec<u32>], draft_len: usize, _: &mut Sampler) -> Drafts<B> {
        let shortest = self.shortest;
        let rows = self.texts.iter_mut().zip(unread);
        let found = rows.map(|(text, unread)| {
            text.extend_from_slice(unread);
            match unread.is_empty() {
                true => Vec::new(),
                false => look_up(text, shortest, draft_len),
            }
        });
        let mut drafts: Vec<Vec<u32>> = found.collect();
        let counts: Vec<usize> = drafts.iter().map(Vec::len).collect();
        let longest = counts.iter().copied().max().unwrap_or(0).max(1);
        drafts.iter_mut().for_each(|row| row.resize(longest, 0));
        Drafts {
            tokens: token_tensor(&drafts, &self.device),
            counts,
            logits: None,
        }
    }

    fn state_bytes(&self) -> usize {
        self.texts
            .iter()
            .map(|text| size_of_val(text.as_slice()))
            .sum()
    }
}

/// The `count` tokens that followed the last earlier place of the longest ending found, of `shortest` tokens or more, repeating themselves
/// where the text is over; none if no ending stood before.
fn look_up(text: &[u32], shortest: usize, count: usize) -> Vec<u32> {
    for length in (shortest..=LONGEST).rev() {
        let Some(end) = text.len().checked_sub(length) else {
            continue;
        };
        let ending = &text[end..];
        let earlier = (0..end).rev().find(|at| &text[*at..*at + length] == ending);
        if let Some(at) = earlier {
            let mut drafts: Vec<u32> = Vec::with_capacity(count);
            for from in (at + length..).take(count) {
                drafts.push(match text.get(from) {
                    Some(token) => *token,
                    None => drafts[from - text.len()],
                });
            }
            return drafts;
        }
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_ending_decides_and_the_last_place_of_it() {
        let text = [1, 2, 3, 9, 5, 2, 3, 8, 1, 2, 3, 7, 4, 1, 2, 3];
        assert_eq!(look_up(&text, 2, 2), [7, 4]);
        assert_eq!(look_up(&text[..7], 2, 3), [9, 5, 2]);
        assert_eq!(look_up(&[1, 2, 3], 2, 2), [] as [u32; 0]);
        assert_eq!(look_up(&[4], 2, 2), [] as [u32; 0]);
    }

    #[test]
    fn endings_shorter_than_asked_for_do_not_count() {
        let text = [7, 1, 2, 3, 9, 5, 2, 3];
        assert_eq!(look_up(&text, 2, 2), [9, 5]);
        assert_eq!(look_up(&text, 3, 2), [] as [u32; 0]);
    }

    #[test]
    fn a_repetition_goes_on_past_the_end() {
        assert_eq!(look_up(&[1, 2, 1, 2], 2, 5), [1, 2, 1, 2, 1]);
        assert_eq!(look_up(&[6, 6, 6], 2, 4), [6, 6, 6, 6]);
    }
}
