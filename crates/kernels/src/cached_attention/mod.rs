//! Attention of new tokens over a cache of keys and values (method 2.1, steps 3 and 4): everything between its projections.
//!
//! Queries and keys of the new tokens are turned by their positions, as [`rotary`](crate::rotary()) does; keys and values are
//! written after those that their sequence has; and each query looks at all keys of its sequence up to its own:
//!
//! ```text
//! p_tk = exp(q_t . k_k / sqrt(head_dim)) / sum over j <= t of exp(q_t . k_j / sqrt(head_dim))
//! out_t = sum over k <= t of p_tk v_k
//! ```
//!
//! With a sliding window of `w` tokens the first key is `t - w + 1`, not 0.
//!
//! Query heads share the keys of their group. Sequences may differ in length. Up to [`FEW_TOKENS`] tokens a sequence are one launch on a GPU, with sums in
//! f32 and scores that never reach the memory; many are products of matrices.

#[cfg(feature = "flex")]
pub(crate) mod host;
#[cfg(feature = "cube")]
mod kernel;
#[cfg(feature = "cube")]
pub(crate) mod launch;
mod problem;
pub mod reference;
pub(crate) mod self_test;
#[cfg(all(test, feature = "flex"))]
mod tests;

pub use problem::CachedAttentionProblem;

use crate::backend::SsmBackend;
use crate::error::KernelError;
use crate::primitive::{unwrap, wrap};
use burn::tensor::{Device, Tensor, TensorData, backend::Backend, ops::FloatTensor};

/// New tokens of a sequence that the kernel takes, however many sequences; beyond, products of matrices are faster.
pub const FEW_TOKENS: usize = 32;

/// Tokens that a cache holds of each sequence, on the host and, where sequences differ, on the device.
///
/// Made once for all layers of a pass.
#[derive(Clone, Debug)]
pub struct CacheLengths<B: Backend> {
    lens: Vec<usize>,
    on_device: Option<Tensor<B, 1>>,
}

impl<B: Backend> CacheLengths<B> {
    /// One length for each sequence.
    pub fn new(lens: Vec<usize>, device: &Device<B>) -> Self {
        let differ = lens.windows(2).any(|pair| pair[0] != pair[1]);
        let on_device = differ.then(|| {
            let values: Vec<f32> = lens.iter().map(|len| *len as f32).collect();
            Tensor::from_data(TensorData::new(values, [lens.len()]), device)
        });
        Self { lens, on_device }
    }

    /// Tokens of the longest sequence.
    pub fn longest(&self) -> usize {
        self.lens.iter().copied().max().unwrap_or(0)
    }
}

/// What new tokens bring, and what they look at.
#[derive(Clone, Debug)]
pub struct CachedAttentionInputs<'a, B: Backend> {
    /// Queries, keys and values side by side, `[batch, seq, (n_heads + 2 n_kv_heads) head_dim]`.
    pub qkv: Tensor<B, 3>,
    /// Cosines, then sines, of the tokens' positions, `[1 or batch, seq, head_dim]`, in f32.
    pub angles: Tensor<B, 3>,
    /// Keys so far, turned, with room for those of the new tokens, `[batch, n_kv_heads, room, head_dim]`.
    pub keys: Tensor<B, 4>,
    /// Values so far, like the keys.
    pub values: Tensor<B, 4>,
    /// Tokens in the cache.
    pub lens: &'a CacheLengths<B>,
    /// Keys that a query sees at most, its own included; all where there is none.
    pub window: Option<usize>,
}

/// What comes of new tokens.
#[derive(Clone, Debug)]
pub struct CachedAttentionOutput<B: Backend> {
    /// Values by their weights, `[batch, seq, n_heads head_dim]`, in the type of `qkv`.
    pub mixed: Tensor<B, 3>,
    /// Keys with those of the new tokens.
    pub keys: Tensor<B, 4>,
    /// Values with those of the new tokens.
    pub values: Tensor<B, 4>,
}

/// Primitives of [`CachedAttentionInputs`].
#[derive(Clone, Debug)]
pub struct CachedAttentionOperands<B: Backend> {
    /// `[batch, seq, (n_heads + 2 n_kv_heads) head_dim]`.
    pub qkv: FloatTensor<B>,
    /// `[1 or batch, seq, head_dim]`.
    pub angles: FloatTensor<B>,
    /// `[batch, n_kv_heads, room, head_dim]`.
    pub keys: FloatTensor<B>,
    /// `[batch, n_kv_heads, room, head_dim]`.
    pub values: FloatTensor<B>,
    /// `[batch]`, where sequences differ in length.
    pub lens: Option<FloatTensor<B>>,
}

/// Attention of new tokens, and the cache with them.
///
/// Keys and values are written where they lie unless something else still holds them. What lies after the tokens of a sequence
/// is not looked at, but has to be finite.
///
/// # Errors
/// [`KernelError`] if a size is zero, a shape disagrees, a width does not divide another, or the cache has no room.
pub fn cached_attention<B: SsmBackend>(
    inputs: CachedAttentionInputs<'_, B>,
) -> Result<CachedAttentionOutput<B>, KernelError> {
    let problem = CachedAttentionProblem::validate(&inputs)?;
    let operands = CachedAttentionOperands {
        qkv: unwrap(inputs.qkv),
        angles: unwrap(inputs.angles),
        keys: unwrap(inputs.keys),
        values: unwrap(inputs.values),
        lens: inputs.lens.on_device.clone().map(unwrap),
    };
    let [mixed, keys, values] = B::cached_attention(operands, &problem);
    Ok(CachedAttentionOutput {
        mixed: wrap(mixed),
        keys: wrap(keys),
        values: wrap(values),
    })
}
