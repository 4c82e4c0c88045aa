//! One step of AdamW for one tensor (method 4.2).
//!
//! ```text
//! m <- beta_1 m + (1 - beta_1) g          v <- beta_2 v + (1 - beta_2) g^2
//! p <- (1 - lr decay) p - lr (m / (1 - beta_1^t)) / (sqrt(v / (1 - beta_2^t)) + epsilon)
//! ```
//!
//! As tensor operations that is some twenty launches for each tensor of a model, most of a GPU's time between the
//! backward pass and the next step; here it is one.

#[cfg(feature = "cube")]
mod kernel;
#[cfg(feature = "cube")]
pub(crate) mod launch;
pub mod reference;
pub(crate) mod self_test;

use crate::backend::SsmBackend;
use crate::error::{Check, KernelError};
use crate::primitive::{unwrap, wrap};
use burn::tensor::{Tensor, ops::FloatTensor};

/// Primitives in a fixed order: parameter, gradient, first and second moment.
pub type AdamwOperands<B> = [FloatTensor<B>; 4];
/// Primitives in a fixed order: parameter, first and second moment.
pub type AdamwResults<B> = [FloatTensor<B>; 3];

/// Numbers of one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamwStep {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the first moment.
    pub beta_1: f32,
    /// Decay of the second moment.
    pub beta_2: f32,
    /// Added to the root of the second moment.
    pub epsilon: f32,
    /// Decoupled weight decay.
    pub weight_decay: f32,
    /// Steps taken with this one, from 1.
    pub time: usize,
}

impl AdamwStep {
    /// What the parameter is multiplied with.
    pub(crate) fn kept(&self) -> f64 {
        1.0 - self.lr * f64::from(self.weight_decay)
    }

    /// Divisors of both moments, which began as zeros.
    pub(crate) fn corrections(&self) -> [f32; 2] {
        let time = i32::try_from(self.time).unwrap_or(i32::MAX);
        [self.beta_1, self.beta_2].map(|beta| 1.0 - beta.powi(time))
    }
}

/// A parameter after a step, with the moments that the next one takes.
#[derive(Clone, Debug)]
pub struct AdamwOutput<B: SsmBackend, const D: usize> {
    /// The parameter.
    pub parameter: Tensor<B, D>,
    /// Mean of the gradients.
    pub moment_1: Tensor<B, D>,
    /// Mean of their squares.
    pub moment_2: Tensor<B, D>,
}

/// One step of AdamW (method 4.2) for one tensor, computed in f32.
/// - `parameter`, `gradient`, `moments`: of one shape; the moments are zeros before the first step.
///
/// Not differentiable.
///
/// # Errors
/// [`KernelError`] if the tensor is empty or the shapes disagree.
pub fn adamw<B: SsmBackend, const D: usize>(
    parameter: Tensor<B, D>,
    gradient: Tensor<B, D>,
    moments: [Tensor<B, D>; 2],
    step: &AdamwStep,
) -> Result<AdamwOutput<B, D>, KernelError> {
    let check = Check::new("adamw");
    let dims = parameter.dims();
    check.not_empty(&[("elements", dims.iter().product())])?;
    let shape = "the parameter's";
    check.shape("gradient", shape, &gradient.dims(), &dims)?;
    for moment in &moments {
        check.shape("moments", shape, &moment.dims(), &dims)?;
    }
    let [moment_1, moment_2] = moments;
    let operands = [parameter, gradient, moment_1, moment_2].map(unwrap);
    let [parameter, moment_1, moment_2] = B::adamw(operands, step).map(wrap);
    Ok(AdamwOutput {
        parameter,
        moment_1,
        moment_2,
    })
}
