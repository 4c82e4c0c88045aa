//! The fixed-size memory of an SSM layer.

use burn::tensor::{Tensor, backend::Backend};
use kernels::{DecodeState, DecodeStep};

/// Memory of a Mamba1 layer.
#[derive(Clone, Debug)]
pub struct Mamba1State<B: Backend> {
    /// Last raw inputs of the convolution, oldest first, `[batch, d_conv - 1, channels]`
    pub conv_window: Tensor<B, 3>,
    /// State after the last token, `[batch, d_inner, d_state]`
    pub ssm_state: Tensor<B, 3>,
    /// Made at the first single token
    pub(crate) step: Option<Mamba1Step<B>>,
}

/// Memory of a Mamba2 layer.
#[derive(Clone, Debug)]
pub struct Mamba2State<B: Backend> {
    /// Last raw inputs of the convolution, oldest first, `[batch, d_conv - 1, channels]`
    pub conv_window: Tensor<B, 3>,
    /// State after the last token, `[batch, nheads, headdim, d_state]`
    pub ssm_state: Tensor<B, 4>,
    /// Made at the first single token
    pub(crate) step: Option<DecodeStep<B>>,
}

/// What a Mamba1 layer keeps between single tokens beside its memory.
#[derive(Clone, Debug)]
pub(crate) struct Mamba1Step<B: Backend> {
    /// All projections of the layer's input side by side, `[d_model, row_width]`
    pub(crate) in_proj: Tensor<B, 2>,
    pub(crate) step: DecodeStep<B>,
}

impl<B: Backend> Mamba1State<B> {
    pub(crate) fn new(conv_window: Tensor<B, 3>, ssm_state: Tensor<B, 3>) -> Self {
        Self {
            conv_window,
            ssm_state,
            step: None,
        }
    }

    /// Moves the memory out, so that a step may overwrite it, until [`put`](Self::put).
    pub(crate) fn take(&mut self) -> DecodeState<B> {
        DecodeState {
            conv_window: take(&mut self.conv_window),
            ssm_state: take(&mut self.ssm_state),
        }
    }

    pub(crate) fn put(&mut self, state: DecodeState<B>) {
        self.conv_window = state.conv_window;
        self.ssm_state = state.ssm_state;
    }
}

impl<B: Backend> Mamba2State<B> {
    pub(crate) fn new(conv_window: Tensor<B, 3>, ssm_state: Tensor<B, 4>) -> Self {
        Self {
            conv_window,
            ssm_state,
            step: None,
        }
    }

    /// Moves the memory out, so that a step may overwrite it, until [`put`](Self::put).
    pub(crate) fn take(&mut self) -> DecodeState<B> {
        let [batch, nheads, headdim, d_state] = self.ssm_state.dims();
        DecodeState {
            conv_window: take(&mut self.conv_window),
            ssm_state: take(&mut self.ssm_state).reshape([batch, nheads * headdim, d_state]),
        }
    }

    /// As [`take`](Self::take) left it, in heads of `headdim` channels.
    pub(crate) fn put(&mut self, state: DecodeState<B>, headdim: usize) {
        let [batch, d_inner, d_state] = state.ssm_state.dims();
        let by_head = [batch, d_inner / headdim, headdim, d_state];
        self.conv_window = state.conv_window;
        self.ssm_state = state.ssm_state.reshape(by_head);
    }
}

fn take<B: Backend, const D: usize>(tensor: &mut Tensor<B, D>) -> Tensor<B, D> {
    let nothing = Tensor::empty([1; D], &tensor.device());
    std::mem::replace(tensor, nothing)
}
