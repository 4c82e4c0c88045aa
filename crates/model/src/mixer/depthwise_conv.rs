//! The short causal convolution of the SSM mixers.

use burn::module::{Module, Param};
use burn::tensor::{Tensor, backend::Backend};
use kernels::{CausalConv1dInputs, CausalConv1dOutput, SsmBackend, causal_conv1d};

use crate::params::lazy;

/// One filter a channel over the current and the last inputs, then SiLU (method 3.3).
#[derive(Module, Debug)]
pub struct DepthwiseConv<B: Backend> {
    weight: Param<Tensor<B, 2>>, // [channels, width]
    bias: Param<Tensor<B, 1>>,   // [channels]
}

impl<B: Backend> DepthwiseConv<B> {
    pub(super) fn skeleton(channels: usize, width: usize, device: &B::Device) -> Self {
        Self {
            weight: lazy([channels, width], device),
            bias: lazy([channels], device),
        }
    }
}

impl<B: Backend> DepthwiseConv<B> {
    /// Filters and biases.
    pub(super) fn weights(&self) -> (Tensor<B, 2>, Tensor<B, 1>) {
        (self.weight.val(), self.bias.val())
    }
}

impl<B: SsmBackend> DepthwiseConv<B> {
    /// `x` and the result: `[batch, seq, channels]`; `window` is the raw inputs before `x`, `reset` as in [`PassContext`].
    ///
    /// [`PassContext`]: super::PassContext
    pub(super) fn forward(
        &self,
        x: Tensor<B, 3>,
        window: Option<Tensor<B, 3>>,
        reset: Option<Tensor<B, 2>>,
    ) -> CausalConv1dOutput<B> {
        let inputs = CausalConv1dInputs {
            x,
            weight: self.weight.val(),
            bias: Some(self.bias.val()),
            initial_window: window,
            reset,
        };
        causal_conv1d(inputs, true)
            .expect("channels and window follow from the configuration, resets from the tokens")
    }
}
