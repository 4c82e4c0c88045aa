//! One token of a state-space mixer, everything between its two projections (methods 2.4, 2.5, 3).
//!
//! A step takes one row a sequence, `[z | x | b | c | dt]`, as the in-projection leaves it. With
//! `S` the state of a head, `h` a head, `p` one of its channels, `n` a state and `g(h)` the group
//! of a head:
//!
//! ```text
//! x, b, c  = silu(bias + sum over j of weight_j window_j)     each, or x alone
//! dt_h     = softplus((dt_weight^T dt)_h + dt_bias_h)
//! S[p, n]  = exp(dt_h a_hn) S[p, n] + dt_h x[p] b[g(h), n]
//! y[p]     = (sum over n of S[p, n] c[g(h), n] + d_h x[p]) * silu(z[p])
//! y[p]     = norm_weight[p] y[p] / sqrt(mean over the head of y^2 + eps)      if there is a norm
//! ```
//!
//! Mamba2 convolves x, b and c, has one `a` a head and a norm. Mamba1 convolves x alone; its heads
//! are single channels, each with its own `a` for every state.
//!
//! With grouped queries x and b are narrower than the states and the c that they meet: they are cut
//! into pieces of `repeat_width` and each piece is repeated in place, before or after the
//! convolution.
//!
//! The operation serves inference. Under autodiff it is the reference, in tensor operations that
//! burn's tape follows at their usual price; nothing is saved or recomputed for a backward pass.

#[cfg(feature = "flex")]
pub(crate) mod host;
#[cfg(feature = "cube")]
pub(crate) mod kernel;
#[cfg(feature = "cube")]
pub(crate) mod launch;
mod problem;
pub mod reference;
pub(crate) mod self_test;
#[cfg(all(test, feature = "flex"))]
mod tests;
mod weights;

pub use problem::{DecodeStepProblem, DecodeStepShape};
pub use weights::{DecodeStep, DecodeStepWeights};

use crate::backend::SsmBackend;
use crate::error::KernelError;
use crate::primitive::{unwrap, wrap};
use burn::tensor::{Tensor, backend::Backend, ops::FloatTensor};

/// Primitives in a fixed order: rows, conv_window, ssm_state, weights (packed, f32).
pub type DecodeStepOperands<B> = [FloatTensor<B>; 4];

/// What a mixer remembers of a batch of sequences.
///
/// A backend may write the next memory over the one it is given; a clone that is still held keeps
/// its values.
#[derive(Clone, Debug)]
pub struct DecodeState<B: Backend> {
    /// Last raw inputs of the convolution, oldest first, `[batch, d_conv - 1, conv_channels]`.
    pub conv_window: Tensor<B, 3>,
    /// `[batch, d_inner, d_state]`; the channels of a head lie together.
    pub ssm_state: Tensor<B, 3>,
}

/// Runs one step for every sequence of a batch.
/// - `rows`: `[batch, row_width]`; result: `[batch, d_inner]` and the memory after the step
///
/// # Errors
/// [`KernelError`] if the batch is empty or a shape disagrees.
pub fn decode_step<B: SsmBackend>(
    step: &DecodeStep<B>,
    rows: Tensor<B, 2>,
    state: DecodeState<B>,
) -> Result<(Tensor<B, 2>, DecodeState<B>), KernelError> {
    let problem = step.problem(&rows, &state)?;
    let operands = [
        unwrap(rows),
        unwrap(state.conv_window),
        unwrap(state.ssm_state),
        unwrap(step.packed()),
    ];
    let [y, conv_window, ssm_state] = B::decode_step(operands, &problem);
    let state = DecodeState {
        conv_window: wrap(conv_window),
        ssm_state: wrap(ssm_state),
    };
    Ok((wrap(y), state))
}
