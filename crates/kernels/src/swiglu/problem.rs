use crate::error::{Check, KernelError};
use burn::tensor::{Tensor, backend::Backend};

/// Sizes of one gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SwigluProblem {
    /// Sequences.
    pub batch: usize,
    /// Steps in each sequence.
    pub seq: usize,
    /// Channels.
    pub channels: usize,
}

impl SwigluProblem {
    /// Reads the sizes off the inputs and checks every shape.
    pub(super) fn validate<B: Backend>(
        gate: &Tensor<B, 3>,
        up: &Tensor<B, 3>,
    ) -> Result<Self, KernelError> {
        let check = Check::new("swiglu");
        let [batch, seq, channels] = gate.dims();
        check.not_empty(&[("batch", batch), ("seq", seq), ("channels", channels)])?;
        check.shape("up", "[batch, seq, channels]", &up.dims(), &gate.dims())?;
        Ok(Self {
            batch,
            seq,
            channels,
        })
    }

    /// Elements of an operand.
    #[cfg(feature = "cube")]
    pub(crate) fn len(&self) -> usize {
        self.batch * self.seq * self.channels
    }
}
