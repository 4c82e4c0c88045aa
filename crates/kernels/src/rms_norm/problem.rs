use crate::error::{Check, KernelError};
use burn::tensor::{FloatDType, Tensor, backend::Backend};

/// Sizes of one RMS norm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RmsNormProblem {
    /// Sequences.
    pub batch: usize,
    /// Steps in each sequence.
    pub seq: usize,
    /// Channels.
    pub channels: usize,
    /// Added to the mean square.
    pub eps: f64,
    /// Type of the result.
    pub dtype: FloatDType,
}

impl RmsNormProblem {
    /// Reads the sizes off the inputs and checks every shape.
    pub(super) fn validate<B: Backend>(
        x: &Tensor<B, 3>,
        weight: &Tensor<B, 1>,
        eps: f64,
        dtype: Option<FloatDType>,
    ) -> Result<Self, KernelError> {
        const OP: &str = "rms_norm";
        let check = Check::new(OP);
        let [batch, seq, channels] = x.dims();
        check.not_empty(&[("batch", batch), ("seq", seq), ("channels", channels)])?;
        check.shape("weight", "[channels]", &weight.dims(), &[channels])?;
        if !eps.is_finite() || eps < 0.0 {
            return Err(KernelError::Epsilon { op: OP, found: eps });
        }
        Ok(Self {
            batch,
            seq,
            channels,
            eps,
            dtype: dtype.unwrap_or_else(|| FloatDType::from(x.dtype())),
        })
    }
}
