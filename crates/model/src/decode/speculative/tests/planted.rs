//! A drafter that knows the reply, and is wrong where it is told to be.

use crate::decode::sampler::token_tensor;
use crate::decode::speculative::{Drafter, Drafts};
use crate::decode::{Reply, Sampler};
use crate::tests::fixtures::Inner;

/// Drafts the script of each row, with wrong tokens after the right ones.
pub(super) struct Planted<P> {
    scripts: Vec<Vec<u32>>,
    /// Tokens of the script that each row has
    told: Vec<usize>,
    /// Drafts and right drafts of a row in a round
    plan: P,
    round: usize,
}

impl<P: Fn(usize, usize) -> (usize, usize)> Planted<P> {
    pub(super) fn new(script: &[Reply], plan: P) -> Self {
        Self {
            scripts: script.iter().map(|reply| reply.tokens.clone()).collect(),
            told: Vec::new(),
            plan,
            round: 0,
        }
    }
}

impl<P: Fn(usize, usize) -> (usize, usize)> Drafter<Inner> for Planted<P> {
    fn vocab_size(&self) -> Option<usize> {
        None
    }

    fn start(&mut self, beginnings: &[&[u32]], _: usize) {
        self.told = vec![0; beginnings.len()];
        self.round = 0;
    }

    fn draft(&mut self, unread: &[Vec<u32>], draft_len: usize, _: &mut Sampler) -> Drafts<Inner> {
        let mut rows = Vec::new();
        let mut counts = Vec::new();
        for (row, unread) in unread.iter().enumerate() {
            // The first call brings the last token of the prompt.
            let new = unread.len().saturating_sub(usize::from(self.round == 0));
            let script = &self.scripts[row];
            assert_eq!(
                unread[unread.len() - new..],
                script[self.told[row]..][..new]
            );
            self.told[row] += new;
            let (count, right) = (self.plan)(row, self.round);
            let count = if unread.is_empty() {
                0
            } else {
                count.min(draft_len)
            };
            let draft = |at: usize| match at < right {
                true => script[self.told[row] + at],
                false => (script[self.told[row] + at] + 1) % 97,
            };
            let mut drafts: Vec<u32> = (0..count).map(draft).collect();
            drafts.resize(draft_len, 0);
            rows.push(drafts);
            counts.push(count);
        }
        self.round += 1;
        Drafts {
            tokens: token_tensor(&rows, &Default::default()),
            counts,
            logits: None,
        }
    }

    fn state_bytes(&self) -> usize {
        0
    }
}
