//! Causal depthwise convolution, optionally followed by SiLU (method 3.3).
//!
//! ```text
//! v_t = bias + sum over j of weight_j x_{t - (width - 1) + j},    y_t = silu(v_t)
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
mod window;

pub use problem::CausalConv1dProblem;

use crate::backend::SsmBackend;
use crate::error::KernelError;
use crate::primitive::{unwrap, unwrap_or_placeholder, wrap};
use burn::tensor::{Tensor, backend::Backend, ops::FloatTensor};

/// Primitives in a fixed order: x, weight, bias, initial_window.
/// An absent one is a placeholder; the problem says which are.
pub type CausalConv1dOperands<B> = [FloatTensor<B>; 4];

/// Inputs of [`causal_conv1d`].
#[derive(Clone, Debug)]
pub struct CausalConv1dInputs<B: Backend> {
    /// Input, `[batch, seq, channels]`.
    pub x: Tensor<B, 3>,
    /// One filter a channel, the last tap is the current step, `[channels, width]`.
    pub weight: Tensor<B, 2>,
    /// `[channels]`.
    pub bias: Option<Tensor<B, 1>>,
    /// Raw inputs before the first step, oldest first, `[batch, width - 1, channels]`; zero when
    /// absent.
    pub initial_window: Option<Tensor<B, 3>>,
    /// 1.0 where a document starts, else 0.0, `[batch, seq]`: no filter looks back across it. No
    /// gradient flows to it.
    pub reset: Option<Tensor<B, 2>>,
}

/// Outputs of [`causal_conv1d`].
#[derive(Clone, Debug)]
pub struct CausalConv1dOutput<B: Backend> {
    /// `[batch, seq, channels]`.
    pub y: Tensor<B, 3>,
    /// The last raw inputs, oldest first, for the next call, `[batch, width - 1, channels]`; zero
    /// where they precede the start of the last document.
    pub last_window: Tensor<B, 3>,
}

/// Convolves every channel with its own causal filter (method 3.3).
///
/// Differentiable in every float input but `reset`, through `y` and through `last_window`.
///
/// # Errors
/// [`KernelError`] if a size is zero or a shape disagrees.
pub fn causal_conv1d<B: SsmBackend>(
    inputs: CausalConv1dInputs<B>,
    silu: bool,
) -> Result<CausalConv1dOutput<B>, KernelError> {
    let problem = CausalConv1dProblem::validate(&inputs, silu)?;
    let device = inputs.x.device();
    let last_window = window::last(&inputs, &problem);
    let operands = [
        unwrap(inputs.x),
        unwrap(inputs.weight),
        unwrap_or_placeholder(inputs.bias, &device),
        unwrap_or_placeholder(inputs.initial_window, &device),
    ];
    let y = B::causal_conv1d_forward(operands, inputs.reset.map(unwrap), &problem);
    Ok(CausalConv1dOutput {
        y: wrap(y),
        last_window,
    })
}
