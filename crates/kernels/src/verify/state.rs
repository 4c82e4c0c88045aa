use crate::decode_step::{DecodeState, DecodeStep};
use burn::tensor::{DType, FloatDType, Tensor, backend::Backend};

use super::problem::cache_width;

/// What a mixer remembers of a batch of sequences of which it may still drop the last tokens.
///
/// As in [`DecodeState`], a clone that is still held keeps its values.
#[derive(Clone, Debug)]
pub struct VerifyState<B: Backend> {
    /// States before the tokens of the last call, then after all of them,
    /// `[2, batch, d_inner, d_state]`.
    pub states: Tensor<B, 4>,
    /// Raw inputs of the convolution, oldest first: the window before the last call, then its
    /// tokens, `[batch, d_conv - 1 + tokens, conv_channels]`.
    pub conv_inputs: Tensor<B, 3>,
    /// What each token of the last call brought to the states, `x | b | c | dt` in f32,
    /// `[batch, tokens, d_inner + 2 c_width + nheads]`; one unread line if there was no call.
    pub cache: Tensor<B, 3>,
}

impl<B: Backend> VerifyState<B> {
    /// Starts after a prefill or a decode step, with no tokens that could be dropped.
    pub fn new(step: &DecodeStep<B>, state: DecodeState<B>) -> Self {
        let [batch, _, _] = state.ssm_state.dims();
        let dims = [batch, 1, cache_width(step.sizes())];
        let cache = Tensor::<B, 3>::zeros(dims, &state.ssm_state.device());
        let cache = match cache.dtype() {
            DType::F32 => cache,
            _ => cache.cast(FloatDType::F32),
        };
        Self {
            states: Tensor::stack(vec![state.ssm_state.clone(), state.ssm_state], 0),
            conv_inputs: state.conv_window,
            cache,
        }
    }

    /// The memory with all tokens of the last call kept, for single steps.
    pub fn into_decode_state(self, step: &DecodeStep<B>) -> DecodeState<B> {
        let [_, batch, d_inner, d_state] = self.states.dims();
        let earlier = step.sizes().d_conv - 1;
        let first = self.conv_inputs.dims()[1] - earlier;
        let last = self.states.narrow(0, 1, 1);
        DecodeState {
            conv_window: self.conv_inputs.narrow(1, first, earlier),
            ssm_state: last.reshape([batch, d_inner, d_state]),
        }
    }
}
