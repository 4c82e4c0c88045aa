use super::VerifyState;
use crate::decode_step::DecodeStepProblem;
use crate::error::{Check, KernelError};
use burn::tensor::{Tensor, backend::Backend};

const OP: &str = "verify";

/// Sizes and flags of one call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VerifyProblem {
    /// Of one token of the batch.
    pub step: DecodeStepProblem,
    /// Tokens of this call.
    pub tokens: usize,
    /// Tokens of the last call, of which each sequence kept some; 0 if there was none.
    pub cached: usize,
}

impl VerifyProblem {
    pub(super) fn validate<B: Backend>(
        step: &DecodeStepProblem,
        rows: &Tensor<B, 3>,
        state: &VerifyState<B>,
        kept: &[usize],
    ) -> Result<Self, KernelError> {
        let check = Check::new(OP);
        let [batch, tokens, _] = rows.dims();
        check.not_empty(&[("batch", batch), ("tokens", tokens)])?;
        let expected = [batch, tokens, step.row_width()];
        let layout = "[batch, tokens, row_width]";
        check.shape("rows", layout, &rows.dims(), &expected)?;

        let found = state.conv_inputs.dims();
        let cached = found[1].saturating_sub(step.d_conv - 1);
        let expected = [batch, step.d_conv - 1 + cached, step.conv_channels()];
        let layout = "[batch, d_conv - 1 + tokens, conv_channels]";
        check.shape("conv_inputs", layout, &found, &expected)?;
        let expected = [2, batch, step.d_inner(), step.shape.d_state];
        let layout = "[2, batch, d_inner, d_state]";
        check.shape("states", layout, &state.states.dims(), &expected)?;
        let expected = [batch, cached.max(1), cache_width(step)];
        let layout = "[batch, tokens, d_inner + 2 c_width + nheads]";
        check.shape("cache", layout, &state.cache.dims(), &expected)?;
        check.shape("kept", "[batch]", &[kept.len()], &[batch])?;
        if let Some(row) = kept.iter().position(|&kept| kept > cached) {
            return Err(KernelError::Kept {
                op: OP,
                row,
                found: kept[row],
                tokens: cached,
            });
        }
        Ok(Self {
            step: DecodeStepProblem { batch, ..*step },
            tokens,
            cached,
        })
    }

    /// Raw inputs of the convolution that the call before left.
    #[cfg(feature = "flex")]
    pub(super) fn conv_lines(&self) -> usize {
        self.step.d_conv - 1 + self.cached
    }

    /// Raw inputs of the convolution that this call leaves.
    #[cfg(any(feature = "cube", feature = "flex"))]
    pub(crate) fn next_conv_lines(&self) -> usize {
        self.step.d_conv - 1 + self.tokens
    }

    /// Elements of what a token brings to the states.
    #[cfg(any(feature = "cube", feature = "flex"))]
    pub(crate) fn cache_width(&self) -> usize {
        cache_width(&self.step)
    }
}

/// Widths of what a token brings to the states: x, b, c, dt.
pub(super) fn cache_widths(step: &DecodeStepProblem) -> [usize; 4] {
    let c_width = step.shape.c_width;
    [step.d_inner(), c_width, c_width, step.nheads]
}

/// All of [`cache_widths`].
pub(super) fn cache_width(step: &DecodeStepProblem) -> usize {
    cache_widths(step).iter().sum()
}
