use super::CachedAttentionInputs;
use crate::error::{Check, KernelError};
use burn::tensor::backend::Backend;

/// Sizes of one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedAttentionProblem {
    /// New tokens of each sequence.
    pub seq: usize,
    /// Heads of queries.
    pub n_heads: usize,
    /// Heads of keys and values.
    pub n_kv_heads: usize,
    /// Channels of a head.
    pub head_dim: usize,
    /// Tokens that the cache has room for.
    pub room: usize,
    /// Whether each sequence has its own angles.
    pub own_angles: bool,
    /// Tokens of each sequence in the cache.
    pub lens: Vec<usize>,
    /// Keys that a query sees at most, where that is fewer than there are.
    pub window: Option<usize>,
}

impl CachedAttentionProblem {
    /// Reads the sizes off the inputs and checks every shape.
    pub(super) fn validate<B: Backend>(
        inputs: &CachedAttentionInputs<'_, B>,
    ) -> Result<Self, KernelError> {
        const OP: &str = "cached_attention";
        let check = Check::new(OP);
        let [batch, seq, channels] = inputs.qkv.dims();
        let [_, n_kv_heads, room, head_dim] = inputs.keys.dims();
        check.not_empty(&[
            ("batch", batch),
            ("seq", seq),
            ("channels", channels),
            ("n_kv_heads", n_kv_heads),
            ("head_dim", head_dim),
        ])?;
        check.multiple(("head_dim", head_dim), ("pair", 2))?;
        check.multiple(("channels", channels), ("head_dim", head_dim))?;
        let heads = (channels / head_dim).saturating_sub(2 * n_kv_heads);
        check.not_empty(&[("n_heads", heads)])?;
        check.multiple(("n_heads", heads), ("n_kv_heads", n_kv_heads))?;
        let layout = "[batch, n_kv_heads, room, head_dim]";
        let cache = [batch, n_kv_heads, room, head_dim];
        check.shape("keys", layout, &inputs.keys.dims(), &cache)?;
        check.shape("values", layout, &inputs.values.dims(), &cache)?;
        let own_angles = inputs.angles.dims()[0] != 1;
        let angles = [if own_angles { batch } else { 1 }, seq, head_dim];
        let layout = "[1 or batch, seq, head_dim]";
        check.shape("angles", layout, &inputs.angles.dims(), &angles)?;
        let lens = inputs.lens.lens.clone();
        check.shape("lens", "[batch]", &[lens.len()], &[batch])?;
        let past = inputs.lens.longest();
        if room < past + seq {
            let (op, found) = (OP, room);
            return Err(KernelError::Keys {
                op,
                found,
                past,
                seq,
            });
        }
        if let Some(window) = inputs.window {
            check.not_empty(&[("window", window)])?;
        }
        Ok(Self {
            seq,
            n_heads: heads,
            n_kv_heads,
            head_dim,
            room,
            own_angles,
            lens,
            window: inputs.window.filter(|window| *window < past + seq),
        })
    }

    /// Sequences.
    pub fn batch(&self) -> usize {
        self.lens.len()
    }

    /// Tokens in the cache of the longest sequence.
    pub fn longest(&self) -> usize {
        self.lens.iter().copied().max().unwrap_or(0)
    }

    /// Whether sequences differ in length.
    pub(crate) fn is_ragged(&self) -> bool {
        self.lens.windows(2).any(|pair| pair[0] != pair[1])
    }

    /// Shape of the output.
    #[cfg(feature = "cube")]
    pub(crate) fn result(&self) -> burn::tensor::Shape {
        burn::tensor::Shape::new([self.batch(), self.seq, self.n_heads * self.head_dim])
    }
}
