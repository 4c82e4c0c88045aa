use crate::error::{Check, KernelError};
use burn::tensor::{Tensor, backend::Backend};

/// Sizes of one gated norm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GatedRmsNormProblem {
    /// Sequences.
    pub batch: usize,
    /// Steps in each sequence.
    pub seq: usize,
    /// Channels.
    pub channels: usize,
    /// Channels that are normalised together.
    pub group_size: usize,
    /// Added to the mean square.
    pub eps: f64,
}

impl GatedRmsNormProblem {
    /// Reads the sizes off the inputs and checks every shape.
    pub(super) fn validate<B: Backend>(
        y: &Tensor<B, 3>,
        z: &Tensor<B, 3>,
        weight: &Tensor<B, 1>,
        group_size: usize,
        eps: f64,
    ) -> Result<Self, KernelError> {
        const OP: &str = "gated_rms_norm";
        let check = Check::new(OP);
        let [batch, seq, channels] = y.dims();
        check.not_empty(&[
            ("batch", batch),
            ("seq", seq),
            ("channels", channels),
            ("group_size", group_size),
        ])?;
        check.shape("z", "[batch, seq, channels]", &z.dims(), &y.dims())?;
        check.shape("weight", "[channels]", &weight.dims(), &[channels])?;
        check.multiple(("channels", channels), ("group_size", group_size))?;
        if !eps.is_finite() || eps < 0.0 {
            return Err(KernelError::Epsilon { op: OP, found: eps });
        }
        Ok(Self {
            batch,
            seq,
            channels,
            group_size,
            eps,
        })
    }
}
