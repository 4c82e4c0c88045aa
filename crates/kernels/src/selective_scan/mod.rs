//! Selective scan, the recurrence of Mamba1 (method 3.1).
//!
//! Each channel of `d_inner` carries `d_state` states. With `dt = softplus(dt_raw + dt_bias)`:
//!
//! ```text
//! h_t = exp(dt_t a) h_{t-1} + dt_t b_t u_t
//! y_t = (c_t . h_t + d u_t) * silu(z_t)
//! ```

#[cfg(feature = "flex")]
pub(crate) mod host;
#[cfg(feature = "cube")]
mod kernel;
#[cfg(feature = "cube")]
pub(crate) mod launch;
#[cfg(feature = "cube")]
mod layout;
#[cfg(feature = "cube")]
mod prepared;
mod problem;
pub mod reference;
pub(crate) mod self_test;
#[cfg(all(test, feature = "flex"))]
mod tests;

pub use problem::SelectiveScanProblem;

use crate::backend::SsmBackend;
use crate::error::KernelError;
use crate::primitive::{unwrap, unwrap_or_placeholder, wrap};
use burn::tensor::{Tensor, backend::Backend, ops::FloatTensor};

/// Primitives in a fixed order: u, dt, a, b, c, d, z, dt_bias, initial_state.
/// An absent one is a placeholder; the problem says which are.
pub type SelectiveScanOperands<B> = [FloatTensor<B>; 9];

/// Inputs of [`selective_scan`].
#[derive(Clone, Debug)]
pub struct SelectiveScanInputs<B: Backend> {
    /// Input, `[batch, seq, d_inner]`.
    pub u: Tensor<B, 3>,
    /// Step size before bias and softplus, `[batch, seq, d_inner]`.
    pub dt: Tensor<B, 3>,
    /// Decay rates, negative, `[d_inner, d_state]`.
    pub a: Tensor<B, 2>,
    /// Input projection, `[batch, seq, ngroups, d_state]`; channel `i` uses group
    /// `i / (d_inner / ngroups)`.
    pub b: Tensor<B, 4>,
    /// Output projection, `[batch, seq, ngroups, d_state]`.
    pub c: Tensor<B, 4>,
    /// Skip weight, `[d_inner]`.
    pub d: Option<Tensor<B, 1>>,
    /// Gate, `[batch, seq, d_inner]`.
    pub z: Option<Tensor<B, 3>>,
    /// Bias of the step size, `[d_inner]`.
    pub dt_bias: Option<Tensor<B, 1>>,
    /// State before the first step, `[batch, d_inner, d_state]`; zero when absent.
    pub initial_state: Option<Tensor<B, 3>>,
    /// 1.0 where a document starts, else 0.0, `[batch, seq]`: the state is zeroed before that step.
    /// No gradient flows to it.
    pub reset: Option<Tensor<B, 2>>,
}

/// Outputs of [`selective_scan`].
#[derive(Clone, Debug)]
pub struct SelectiveScanOutput<B: Backend> {
    /// `[batch, seq, d_inner]`.
    pub y: Tensor<B, 3>,
    /// State after the last step, `[batch, d_inner, d_state]`.
    pub last_state: Tensor<B, 3>,
}

/// Runs the selective scan over whole sequences (method 3.1).
///
/// Differentiable in every float input but `reset`, through `y` and through `last_state`.
///
/// # Errors
/// [`KernelError`] if a size is zero, a shape disagrees, or `ngroups` does not divide `d_inner`.
pub fn selective_scan<B: SsmBackend>(
    inputs: SelectiveScanInputs<B>,
    dt_softplus: bool,
) -> Result<SelectiveScanOutput<B>, KernelError> {
    let problem = SelectiveScanProblem::validate(&inputs, dt_softplus)?;
    let device = inputs.u.device();
    let operands = [
        unwrap(inputs.u),
        unwrap(inputs.dt),
        unwrap(inputs.a),
        unwrap(inputs.b),
        unwrap(inputs.c),
        unwrap_or_placeholder(inputs.d, &device),
        unwrap_or_placeholder(inputs.z, &device),
        unwrap_or_placeholder(inputs.dt_bias, &device),
        unwrap_or_placeholder(inputs.initial_state, &device),
    ];
    let output = B::selective_scan_forward(operands, inputs.reset.map(unwrap), &problem, false);
    Ok(SelectiveScanOutput {
        y: wrap(output.y),
        last_state: wrap(output.last_state),
    })
}
