//! Accepting on the device (method 5.3): what leaves it is a few numbers for each draft, not distributions over the vocabulary.

use burn::tensor::{Distribution, Int, Tensor, TensorData};
use kernels::{SsmBackend, WeighDraftsInputs, weigh_drafts};

use super::accept::{Verdict, is_accepted};
use super::draft::Drafts;

/// For each draft how likely it was on both sides, and for each position the token that would follow if the round ended there.
pub(super) struct Choices {
    /// Drafts of each row
    drafts: Vec<Vec<u32>>,
    /// Of each row and position, at the verifier and at the drafter
    verified: Vec<f32>,
    drafted: Vec<f32>,
    /// Of each row, one more than drafts
    next: Vec<u32>,
}

impl Choices {
    /// From the verifier's logits, `[batch, drafts + 1, vocab]`, and those that the drafts were drawn from, `[batch, drafts, vocab]`, or none
    /// where drafts are certain.
    ///
    /// After a refused draft the token comes from what the verifier gives more than the drafter, after the last one from the
    /// verifier alone, as in [`accept_sampled`](super::accept::accept_sampled).
    pub(super) fn new<B: SsmBackend>(
        drafts: &Drafts<B>,
        verified: Tensor<B, 3>,
        drafted: Option<Tensor<B, 3>>,
        temperature: f32,
    ) -> Self {
        let ([batch, positions, vocab], device) = (verified.dims(), verified.device());
        let most = positions - 1;
        // A row with fewer drafts than others ends at its own last one, with a token of the verifier.
        let is_ragged = drafts.counts.iter().any(|count| *count != most);
        let counts = is_ragged.then(|| {
            let counts: Vec<i32> = drafts.counts.iter().map(|count| *count as i32).collect();
            Tensor::<B, 1, Int>::from_data(TensorData::new(counts, [batch]), &device)
        });
        let uniform = Tensor::random([batch, positions, vocab], Distribution::Default, &device);
        let weighed = weigh_drafts(WeighDraftsInputs {
            verified,
            drafted,
            drafts: drafts.tokens.clone(),
            counts,
            uniform,
            temperature,
        });
        let weighed = weighed
            .expect("the shapes are those of a round")
            .into_data();
        let weighed: Vec<f32> = weighed.iter::<f32>().collect();
        let number = |position: usize, at: usize| weighed[position * 4 + at];
        let row = |(row, count): (usize, &usize)| {
            let drafts = (0..*count).map(|at| number(row * positions + at, 0) as u32);
            drafts.collect()
        };
        let all = |at: usize| (0..batch * positions).map(move |position| number(position, at));
        Self {
            drafts: drafts.counts.iter().enumerate().map(row).collect(),
            verified: all(1).collect(),
            drafted: all(2).collect(),
            next: all(3).map(|id| id as u32).collect(),
        }
    }

    /// The drafts of each row and what becomes of them; `uniform` draws from `[0, 1)`.
    pub(super) fn judge(self, uniform: &mut impl FnMut() -> f64) -> Vec<(Vec<u32>, Verdict)> {
        let positions = self.next.len() / self.drafts.len().max(1);
        let rows = self.drafts.into_iter().enumerate();
        rows.map(|(row, drafts)| {
            let first = row * positions;
            let refused = (0..drafts.len()).find(|at| {
                let [p, q] = [&self.verified, &self.drafted].map(|all| f64::from(all[first + at]));
                !is_accepted(p, q, uniform())
            });
            let accepted = refused.unwrap_or(drafts.len());
            let token = self.next[first + accepted];
            (drafts, Verdict { accepted, token })
        })
        .collect()
    }
}

#[cfg(test)]
mod tests;
