//! Accepting on the device (method 5.3): what leaves it is a few numbers for each draft, not distributions over the vocabulary.

use burn::tensor::{IndexingUpdateOp, Tensor, TensorData, Transaction};
use kernels::SsmBackend;

use super::accept::{Verdict, is_accepted};
use super::draft::Drafts;
use crate::decode::sampler::draw_by;

/// Weight of the verifier's distribution beside what is left of it after a draft was refused: decides only where nothing is left but rounding.
const NOTHING_LEFT: f32 = 1e-12;

/// For each draft how likely it was on both sides, and for each position the token that would follow if the round ended there.
pub(super) struct Choices {
    /// Drafts of each row
    drafts: Vec<Vec<u32>>,
    /// Of each row and draft position, at the verifier and at the drafter
    verified: Vec<f32>,
    drafted: Vec<f32>,
    /// Of each row, one more than drafts
    next: Vec<u32>,
}

impl Choices {
    /// From the verifier's distributions, `[batch, drafts + 1, vocab]`, and those that the drafts were drawn from, `[batch, drafts, vocab]`, or none where
    /// drafts are certain.
    ///
    /// After a refused draft the token comes from what the verifier gives more than the drafter, after the last one from the
    /// verifier alone, as in [`accept_sampled`](super::accept::accept_sampled).
    pub(super) fn new<B: SsmBackend>(
        drafts: &Drafts<B>,
        verified: Tensor<B, 3>,
        drafted: Option<Tensor<B, 3>>,
    ) -> Self {
        let [batch, positions, vocab] = verified.dims();
        let (most, device) = (positions - 1, verified.device());
        let ids = drafts.tokens.clone().unsqueeze_dim::<3>(2);
        let before = verified.clone().narrow(1, 0, most);
        let drafted = drafted.unwrap_or_else(|| {
            let ones = Tensor::ones([batch, most, 1], &device);
            Tensor::zeros([batch, most, vocab], &device).scatter(
                2,
                ids.clone(),
                ones,
                IndexingUpdateOp::Add,
            )
        });
        let p = before.clone().gather(2, ids.clone());
        let q = drafted.clone().gather(2, ids);
        // A row with fewer drafts than others ends at its own last one, with a token of the verifier.
        let is_draft = |&count: &usize| (0..most).map(move |at| f32::from(u8::from(at < count)));
        let drafted = match drafts.counts.iter().all(|count| *count == most) {
            true => drafted,
            false => {
                let mask: Vec<f32> = drafts.counts.iter().flat_map(is_draft).collect();
                let mask = TensorData::new(mask, [batch, most, 1]);
                drafted * Tensor::<B, 3>::from_data(mask, &device)
            }
        };
        let left = (before.clone() - drafted).clamp_min(0.0) + before * NOTHING_LEFT;
        let weights = Tensor::cat(vec![left, verified.narrow(1, most, 1)], 1);
        let next = draw_by(weights.reshape([batch * positions, vocab]));
        let read = Transaction::default()
            .register(drafts.tokens.clone())
            .register(next)
            .register(p)
            .register(q);
        let mut read = read.execute().into_iter();
        let mut ints = || -> Vec<u32> {
            let data = read.next().expect("four were registered");
            data.iter::<i64>().map(|id| id as u32).collect()
        };
        let (ids, next) = (ints(), ints());
        let mut floats = || -> Vec<f32> {
            let data = read.next().expect("four were registered");
            data.iter::<f32>().collect()
        };
        let rows = ids.chunks_exact(most).zip(&drafts.counts);
        Self {
            drafts: rows.map(|(ids, count)| ids[..*count].to_vec()).collect(),
            verified: floats(),
            drafted: floats(),
            next,
        }
    }

    /// The drafts of each row and what becomes of them; `uniform` draws from `[0, 1)`.
    pub(super) fn judge(self, uniform: &mut impl FnMut() -> f64) -> Vec<(Vec<u32>, Verdict)> {
        let positions = self.next.len() / self.drafts.len().max(1);
        let rows = self.drafts.into_iter().enumerate();
        rows.map(|(row, drafts)| {
            let first = row * (positions - 1);
            let refused = (0..drafts.len()).find(|at| {
                let [p, q] = [&self.verified, &self.drafted].map(|all| f64::from(all[first + at]));
                !is_accepted(p, q, uniform())
            });
            let accepted = refused.unwrap_or(drafts.len());
            let token = self.next[row * positions + accepted];
            (drafts, Verdict { accepted, token })
        })
        .collect()
    }
}

#[cfg(test)]
mod tests;
