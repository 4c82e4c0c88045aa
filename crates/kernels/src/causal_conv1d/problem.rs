use super::CausalConv1dInputs;
use crate::error::{Check, KernelError};
use burn::tensor::backend::Backend;

/// Sizes and flags of one causal convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CausalConv1dProblem {
    /// Sequences.
    pub batch: usize,
    /// Steps in each sequence.
    pub seq: usize,
    /// Channels, each with its own filter.
    pub channels: usize,
    /// Filter taps (`d_conv`).
    pub width: usize,
    /// Whether there is a bias.
    pub has_bias: bool,
    /// Whether inputs before the first step are given instead of zero.
    pub has_initial_window: bool,
    /// Whether SiLU follows.
    pub silu: bool,
}

impl CausalConv1dProblem {
    /// Reads the sizes off the inputs and checks every shape.
    pub(super) fn validate<B: Backend>(
        inputs: &CausalConv1dInputs<B>,
        silu: bool,
    ) -> Result<Self, KernelError> {
        let check = Check::new("causal_conv1d");
        let [batch, seq, channels] = inputs.x.dims();
        let [_, width] = inputs.weight.dims();
        check.not_empty(&[
            ("batch", batch),
            ("seq", seq),
            ("channels", channels),
            ("width", width),
        ])?;
        let weight = inputs.weight.dims();
        check.shape("weight", "[channels, width]", &weight, &[channels, width])?;
        if let Some(bias) = &inputs.bias {
            check.shape("bias", "[channels]", &bias.dims(), &[channels])?;
        }
        if let Some(window) = &inputs.initial_window {
            let expected = [batch, width - 1, channels];
            let layout = "[batch, width - 1, channels]";
            check.shape("initial_window", layout, &window.dims(), &expected)?;
        }
        if let Some(reset) = &inputs.reset {
            check.shape("reset", "[batch, seq]", &reset.dims(), &[batch, seq])?;
        }
        Ok(Self {
            batch,
            seq,
            channels,
            width,
            has_bias: inputs.bias.is_some(),
            // A filter of one tap looks at no earlier input.
            has_initial_window: inputs.initial_window.is_some() && width > 1,
            silu,
        })
    }
}
