use super::VisibleKeys;
use crate::error::{Check, KernelError};
use burn::tensor::{Tensor, backend::Backend};

/// Sizes of one masked softmax.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MaskedSoftmaxProblem {
    /// Sequences.
    pub batch: usize,
    /// Heads of keys.
    pub heads: usize,
    /// Rows of a head, a multiple of `seq`: row `r` belongs to query `r % seq`.
    pub rows: usize,
    /// Keys of a row, those included that no query sees.
    pub keys: usize,
    /// Queries of a sequence.
    pub seq: usize,
    /// Keys before that of the first query.
    pub past: usize,
    /// Factor of the scores.
    pub scale: f64,
}

impl MaskedSoftmaxProblem {
    /// Reads the sizes off the inputs and checks every shape.
    pub(super) fn validate<B: Backend>(
        scores: &Tensor<B, 4>,
        visible: &VisibleKeys<B>,
        scale: f64,
    ) -> Result<Self, KernelError> {
        const OP: &str = "masked_softmax";
        let check = Check::new(OP);
        let [batch, heads, rows, keys] = scores.dims();
        let VisibleKeys { seq, past, .. } = *visible;
        check.not_empty(&[
            ("batch", batch),
            ("heads", heads),
            ("rows", rows),
            ("keys", keys),
            ("seq", seq),
        ])?;
        check.multiple(("rows", rows), ("seq", seq))?;
        if keys < past + seq {
            return Err(KernelError::Keys {
                op: OP,
                found: keys,
                past,
                seq,
            });
        }
        if let Some(first) = &visible.first {
            check.shape("first", "[batch, seq]", &first.dims(), &[batch, seq])?;
        }
        if !scale.is_finite() {
            return Err(KernelError::Scale {
                op: OP,
                found: scale,
            });
        }
        Ok(Self {
            batch,
            heads,
            rows,
            keys,
            seq,
            past,
            scale,
        })
    }
}
