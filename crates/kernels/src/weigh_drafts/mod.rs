//! What sampled speculative decoding asks of a round (method 5.3): how likely each draft was on both sides, and the token that would
//! follow it if it were refused.
//!
//! With `p = softmax(verified / temperature)`, `q = softmax(drafted / temperature)`, or 1 at the draft where drafts are certain, and
//! `u` uniform in `(0, 1)`, each position gives
//!
//! ```text
//! [draft, p(draft), q(draft), argmax max(p - q, 0) / -ln u]      [0, 0, 0, argmax p / -ln u] after the last draft
//! ```
//!
//! The last number is a draw from what the verifier gives more than the drafter: the largest of weights over exponential draws is
//! distributed as the weights are. What leaves the device is four numbers a position, where a general softmax alone gives a row of the
//! vocabulary to few units and writes it.

#[cfg(feature = "cube")]
mod kernel;
#[cfg(feature = "cube")]
pub(crate) mod launch;
pub(crate) mod reference;
pub(crate) mod self_test;
#[cfg(all(test, feature = "flex"))]
mod tests;

use crate::backend::SsmBackend;
use crate::error::{Check, KernelError};
use crate::primitive::{unwrap, wrap};
use burn::tensor::ops::{FloatTensor, IntTensor};
use burn::tensor::{Int, Tensor, backend::Backend};

/// Weight of `p` beside what is left of it after a draft was refused: decides only where nothing is left but rounding.
pub(crate) const NOTHING_LEFT: f32 = 1e-12;
/// Uniform draws are kept within, so that their logarithm is neither 0 nor infinite.
pub(crate) const UNIFORM: [f32; 2] = [1e-9, 1.0 - 1e-7];

/// What a round of speculative decoding has: drafts, and the logits of both models.
#[derive(Clone, Debug)]
pub struct WeighDraftsInputs<B: Backend> {
    /// Logits of the verifier, `[batch, drafts + 1, vocab]`.
    pub verified: Tensor<B, 3>,
    /// Logits that the drafts were drawn from, `[batch, drafts, vocab]`; without them drafts are certain.
    pub drafted: Option<Tensor<B, 3>>,
    /// Drafts, `[batch, drafts]`, each in `0..vocab`.
    pub drafts: Tensor<B, 2, Int>,
    /// Drafts of each sequence, `[batch]`, where some have fewer.
    pub counts: Option<Tensor<B, 1, Int>>,
    /// Uniform draws from `(0, 1)`, `[batch, drafts + 1, vocab]`, f32.
    pub uniform: Tensor<B, 3>,
    /// Logits are divided by it.
    pub temperature: f32,
}

/// Primitives of [`WeighDraftsInputs`].
#[derive(Clone, Debug)]
pub struct WeighDraftsOperands<B: Backend> {
    /// `[batch, drafts + 1, vocab]`.
    pub verified: FloatTensor<B>,
    /// `[batch, drafts, vocab]`.
    pub drafted: Option<FloatTensor<B>>,
    /// `[batch, drafts]`.
    pub drafts: IntTensor<B>,
    /// `[batch]`.
    pub counts: Option<IntTensor<B>>,
    /// `[batch, drafts + 1, vocab]`.
    pub uniform: FloatTensor<B>,
}

/// Sizes and scalars.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WeighDraftsProblem {
    /// Sequences.
    pub batch: usize,
    /// Drafts of a sequence, at most.
    pub drafts: usize,
    /// Tokens of the vocabulary.
    pub vocab: usize,
    /// Logits are divided by it.
    pub temperature: f32,
}

/// Of each position its draft, how likely the verifier and the drafter held it, and the token to take in its place: `[batch, drafts + 1, 4]`, f32.
///
/// # Errors
/// [`KernelError`] if a size is zero or a shape disagrees.
pub fn weigh_drafts<B: SsmBackend>(
    inputs: WeighDraftsInputs<B>,
) -> Result<Tensor<B, 3>, KernelError> {
    let [batch, drafts] = inputs.drafts.dims();
    let vocab = inputs.verified.dims()[2];
    let check = Check::new("weigh_drafts");
    check.not_empty(&[("batch", batch), ("drafts", drafts), ("vocab", vocab)])?;
    let positions = [batch, drafts + 1, vocab];
    let layout = "[batch, drafts + 1, vocab]";
    check.shape("verified", layout, &inputs.verified.dims(), &positions)?;
    check.shape("uniform", layout, &inputs.uniform.dims(), &positions)?;
    if let Some(drafted) = &inputs.drafted {
        let expected = [batch, drafts, vocab];
        check.shape(
            "drafted",
            "[batch, drafts, vocab]",
            &drafted.dims(),
            &expected,
        )?;
    }
    if let Some(counts) = &inputs.counts {
        check.shape("counts", "[batch]", &counts.dims(), &[batch])?;
    }
    let problem = WeighDraftsProblem {
        batch,
        drafts,
        vocab,
        temperature: inputs.temperature,
    };
    let operands = WeighDraftsOperands {
        verified: unwrap(inputs.verified),
        drafted: inputs.drafted.map(unwrap),
        drafts: inputs.drafts.into_primitive(),
        counts: inputs.counts.map(Tensor::into_primitive),
        uniform: unwrap(inputs.uniform),
    };
    Ok(wrap(B::weigh_drafts(operands, &problem)))
}
