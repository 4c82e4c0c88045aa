//! Several tokens of a state-space mixer at once, after as many of the last ones as were kept: what
//! a verifier does with drafted tokens (method 5.1).
//!
//! A recurrent state cannot be rewound. So a call leaves two states behind, the one before its
//! tokens and the one after them, and what each token brought to the states. The next call says how
//! many of these tokens each sequence kept. With `S` and `F` the two states, `n` the tokens of the
//! last call, `k` those kept, `m` new tokens and `step` the decode step of
//! [`decode_step`](crate::decode_step()):
//!
//! ```text
//! S' = F                                       if k = n
//! S' = S, and for i in 0..k                    otherwise
//!      S'[p, j] = exp(dt_i a_j) S'[p, j] + dt_i x_i[p] b_i[j]
//! F' = S', and for i in 0..m
//!      (y_i, F') = step(row_i, F')
//! ```
//!
//! What a token brought is `x | b | c | dt` after the convolution and the softplus, in f32, so that
//! a replayed state is bit for bit the one that was passed before. The convolution reads its raw
//! inputs, those of the window before the last call and of its tokens; keeping `k` tokens starts
//! `k` lines later. Nothing else is undone: however few tokens are kept, no state is copied aside
//! or back.
//!
//! All heads of a group read one b. A call therefore never writes over the cache that it replays,
//! but into another one; a caller that drops the old memory gives its buffers to the call after.
//!
//! The operation serves inference, as [`decode_step`](crate::decode_step()) does.

#[cfg(feature = "flex")]
pub(crate) mod host;
mod kept;
#[cfg(feature = "cube")]
mod kernel;
#[cfg(feature = "cube")]
pub(crate) mod launch;
mod problem;
pub mod reference;
pub(crate) mod self_test;
mod state;
#[cfg(all(test, feature = "flex"))]
mod tests;

pub use kept::Kept;
pub use problem::VerifyProblem;
pub use state::VerifyState;

use crate::backend::SsmBackend;
use crate::decode_step::DecodeStep;
use crate::error::KernelError;
use crate::primitive::{unwrap, wrap};
use burn::tensor::{Tensor, ops::FloatTensor};

/// Primitives in a fixed order: rows, states, conv_inputs, cache, kept (f32), weights (packed,
/// f32).
pub type VerifyOperands<B> = [FloatTensor<B>; 6];

/// Replays what each sequence kept of the last call, then runs new tokens.
/// - `rows`: `[batch, tokens, row_width]`; result: `[batch, tokens, d_inner]` and the memory of
///   this call
///
/// # Errors
/// [`KernelError`] if there is no sequence or token, a shape disagrees, or more tokens are kept
/// than the last call had.
pub fn verify<B: SsmBackend>(
    step: &DecodeStep<B>,
    rows: Tensor<B, 3>,
    state: VerifyState<B>,
    kept: &Kept<B>,
) -> Result<(Tensor<B, 3>, VerifyState<B>), KernelError> {
    let problem = VerifyProblem::validate(step.sizes(), &rows, &state, kept.counts())?;
    let operands = [
        unwrap(rows),
        unwrap(state.states),
        unwrap(state.conv_inputs),
        unwrap(state.cache),
        unwrap(kept.tensor()),
        unwrap(step.packed()),
    ];
    let [y, states, conv_inputs, cache] = B::verify(operands, &problem);
    let state = VerifyState {
        states: wrap(states),
        conv_inputs: wrap(conv_inputs),
        cache: wrap(cache),
    };
    Ok((wrap(y), state))
}
