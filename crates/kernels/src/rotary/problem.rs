use crate::error::{Check, KernelError};
use burn::tensor::{Tensor, backend::Backend};

/// Sizes of one rotation, and its direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RotaryProblem {
    /// Sequences.
    pub batch: usize,
    /// Steps in each sequence.
    pub seq: usize,
    /// Heads.
    pub heads: usize,
    /// Channels of a head.
    pub head_dim: usize,
    /// Whether each sequence has its own angles.
    pub own_angles: bool,
    /// From `[batch, heads, seq, head_dim]` back to `[batch, seq, heads * head_dim]`.
    pub is_inverse: bool,
}

impl RotaryProblem {
    /// Reads the sizes off the inputs and checks every shape.
    pub(super) fn validate<B: Backend>(
        x: &Tensor<B, 3>,
        angles: &Tensor<B, 3>,
    ) -> Result<Self, KernelError> {
        let check = Check::new("rotary");
        let [batch, seq, channels] = x.dims();
        let [rows, _, head_dim] = angles.dims();
        check.not_empty(&[
            ("batch", batch),
            ("seq", seq),
            ("channels", channels),
            ("head_dim", head_dim),
        ])?;
        check.multiple(("head_dim", head_dim), ("pair", 2))?;
        check.multiple(("channels", channels), ("head_dim", head_dim))?;
        let own_angles = rows != 1;
        let rows = if own_angles { batch } else { 1 };
        let layout = "[1 or batch, seq, head_dim]";
        check.shape("angles", layout, &angles.dims(), &[rows, seq, head_dim])?;
        Ok(Self {
            batch,
            seq,
            heads: channels / head_dim,
            head_dim,
            own_angles,
            is_inverse: false,
        })
    }

    /// The way back, which the gradient takes.
    pub(crate) fn inverse(&self) -> Self {
        Self {
            is_inverse: !self.is_inverse,
            ..*self
        }
    }

    /// Shape of the result.
    #[cfg(any(feature = "cube", feature = "flex"))]
    pub(crate) fn result(&self) -> burn::tensor::Shape {
        let Self {
            batch,
            seq,
            heads,
            head_dim,
            ..
        } = *self;
        match self.is_inverse {
            true => burn::tensor::Shape::new([batch, seq, heads * head_dim]),
            false => burn::tensor::Shape::new([batch, heads, seq, head_dim]),
        }
    }
}
