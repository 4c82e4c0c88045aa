//! State-space duality, the recurrence of Mamba2 (method 3.2).
//!
//! Each head carries a state of `[headdim, d_state]` with one decay. With
//! `dt = softplus(dt_raw + dt_bias)`:
//!
//! ```text
//! S_t = exp(dt_t a) S_{t-1} + dt_t x_t b_t^T
//! y_t = (S_t c_t + d x_t) * silu(z_t)
//! ```

#[cfg(feature = "flex")]
pub(crate) mod host;
#[cfg(feature = "cube")]
mod kernel;
#[cfg(feature = "cube")]
pub(crate) mod launch;
mod problem;
pub mod reference;
pub(crate) mod self_test;
#[cfg(all(test, feature = "flex"))]
mod tests;

pub use problem::SsdProblem;

use crate::backend::SsmBackend;
use crate::error::KernelError;
use crate::primitive::{unwrap, unwrap_or_placeholder, wrap};
use burn::tensor::{Tensor, backend::Backend, ops::FloatTensor};

/// Primitives in a fixed order: x, dt, a, b, c, d, z, dt_bias, initial_state.
/// An absent one is a placeholder; the problem says which are.
pub type SsdOperands<B> = [FloatTensor<B>; 9];

/// Inputs of [`ssd`].
#[derive(Clone, Debug)]
pub struct SsdInputs<B: Backend> {
    /// Input, `[batch, seq, nheads, headdim]`.
    pub x: Tensor<B, 4>,
    /// Step size before bias and softplus, `[batch, seq, nheads]`.
    pub dt: Tensor<B, 3>,
    /// Decay rates, negative, `[nheads]`.
    pub a: Tensor<B, 1>,
    /// Input projection, `[batch, seq, ngroups, d_state]`; head `i` uses group
    /// `i / (nheads / ngroups)`.
    pub b: Tensor<B, 4>,
    /// Output projection, `[batch, seq, ngroups, d_state]`.
    pub c: Tensor<B, 4>,
    /// Skip weight, `[nheads]`.
    pub d: Option<Tensor<B, 1>>,
    /// Gate, `[batch, seq, nheads, headdim]`.
    pub z: Option<Tensor<B, 4>>,
    /// Bias of the step size, `[nheads]`.
    pub dt_bias: Option<Tensor<B, 1>>,
    /// State before the first step, `[batch, nheads, headdim, d_state]`; zero when absent.
    pub initial_state: Option<Tensor<B, 4>>,
    /// 1.0 where a document starts, else 0.0, `[batch, seq]`: the state is zeroed before that step.
    /// No gradient flows to it.
    pub reset: Option<Tensor<B, 2>>,
}

/// How [`ssd`] is to be computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SsdOptions {
    /// Apply softplus to `dt + dt_bias`.
    pub dt_softplus: bool,
    /// Steps in each chunk of the matrix form. Changes speed and rounding, not the result.
    pub chunk_size: usize,
}

impl Default for SsdOptions {
    fn default() -> Self {
        Self {
            dt_softplus: true,
            chunk_size: 64,
        }
    }
}

/// Outputs of [`ssd`].
#[derive(Clone, Debug)]
pub struct SsdOutput<B: Backend> {
    /// `[batch, seq, nheads, headdim]`.
    pub y: Tensor<B, 4>,
    /// State after the last step, `[batch, nheads, headdim, d_state]`.
    pub last_state: Tensor<B, 4>,
}

/// Runs the Mamba2 recurrence over whole sequences (method 3.2).
///
/// Differentiable in every float input but `reset`, through `y` and through `last_state`.
///
/// # Errors
/// [`KernelError`] if a size is zero, a shape disagrees, or `ngroups` does not divide `nheads`.
pub fn ssd<B: SsmBackend>(
    inputs: SsdInputs<B>,
    options: SsdOptions,
) -> Result<SsdOutput<B>, KernelError> {
    let problem = SsdProblem::validate(&inputs, options)?;
    let device = inputs.x.device();
    let operands = [
        unwrap(inputs.x),
        unwrap(inputs.dt),
        unwrap(inputs.a),
        unwrap(inputs.b),
        unwrap(inputs.c),
        unwrap_or_placeholder(inputs.d, &device),
        unwrap_or_placeholder(inputs.z, &device),
        unwrap_or_placeholder(inputs.dt_bias, &device),
        unwrap_or_placeholder(inputs.initial_state, &device),
    ];
    let output = B::ssd_forward(operands, inputs.reset.map(unwrap), &problem, false);
    Ok(SsdOutput {
        y: wrap(output.y),
        last_state: wrap(output.last_state),
    })
}
