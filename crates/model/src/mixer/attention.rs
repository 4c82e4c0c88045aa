//! Grouped-query attention with rotary positions (method 2.1).

use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::{FloatDType, Int, Tensor, activation::softmax, backend::Backend};

use crate::cache::{KvCache, visible};
use crate::config::LlamaConfig;
use crate::documents::Documents;
use crate::params::{lazy_linear, project};
use crate::rope::Rotary;

/// Added to the scores of tokens out of sight: as good as minus infinity, and never a NaN.
const MASKED: f64 = -1e30;

/// What all attention layers of one pass share: rotations and the mask.
#[derive(Clone, Debug)]
pub(crate) struct AttentionContext<B: Backend> {
    rotary: Rotary<B>,
    bias: Option<Tensor<B, 3>>, // [1 or batch, 1, seq * keys]
}

impl<B: Backend> AttentionContext<B> {
    /// For the tokens that `rotary` rotates; with a cache, after the `past` tokens that it holds.
    pub(crate) fn new(rotary: Rotary<B>, past: Option<usize>, device: &B::Device) -> Self {
        let seq = rotary.positions();
        let first = past.unwrap_or(0);
        let end = first + seq;
        let keys = if past.is_some() { visible(end) } else { end };
        // One token looks back at everything.
        let bias = (seq > 1 || keys > end).then(|| {
            let query = Tensor::<B, 1, Int>::arange(first as i64..end as i64, device);
            let key = Tensor::<B, 1, Int>::arange(0..keys as i64, device);
            let query = query.reshape([seq, 1]).expand([seq, keys]);
            let is_later = key.reshape([1, keys]).expand([seq, keys]).greater(query);
            let bias = is_later.float().mul_scalar(MASKED);
            bias.reshape([1, 1, seq * keys])
        });
        Self { rotary, bias }
    }

    /// For packed rows; `table` rotates positions from 0 on.
    pub(crate) fn packed(table: &Rotary<B>, documents: &Documents<B>) -> Self {
        let [batch, seq] = documents.dims();
        let bias = documents.hidden_keys().mul_scalar(MASKED);
        Self {
            rotary: table.at(documents.positions()),
            bias: Some(bias.reshape([batch, 1, seq * seq])),
        }
    }
}

/// Grouped-query attention without biases.
#[derive(Module, Debug)]
pub struct Attention<B: Backend> {
    q_proj: Linear<B>,
    k_proj: Linear<B>,
    v_proj: Linear<B>,
    o_proj: Linear<B>,
    n_heads: usize,
    n_kv_heads: usize,
    head_dim: usize,
}

impl<B: Backend> Attention<B> {
    pub(crate) fn skeleton(llama: &LlamaConfig, device: &B::Device) -> Self {
        let (d_model, d_inner, d_xb) = (llama.d_model, llama.d_inner(), llama.d_xb());
        Self {
            q_proj: lazy_linear(d_model, d_inner, device),
            k_proj: lazy_linear(d_model, d_xb, device),
            v_proj: lazy_linear(d_model, d_xb, device),
            o_proj: lazy_linear(d_inner, d_model, device),
            n_heads: llama.n_heads,
            n_kv_heads: llama.n_kv_heads,
            head_dim: llama.head_dim,
        }
    }

    /// `h` and the result: `[batch, seq, d_model]`.
    ///
    /// The query heads of one key/value head are stacked along the sequence, so keys and values
    /// are never copied per query head.
    pub(crate) fn forward(
        &self,
        h: Tensor<B, 3>,
        context: &AttentionContext<B>,
        cache: Option<&mut KvCache<B>>,
    ) -> Tensor<B, 3> {
        let [batch, seq, _] = h.dims();
        let (heads, kv_heads, width) = (self.n_heads, self.n_kv_heads, self.head_dim);
        let stacked = [batch, kv_heads, heads / kv_heads * seq, width];

        let split = |x: Tensor<B, 3>, heads| x.reshape([batch, seq, heads, width]).swap_dims(1, 2);
        let q = split(project(&self.q_proj, h.clone()), heads);
        let k = split(project(&self.k_proj, h.clone()), kv_heads);
        let v = split(project(&self.v_proj, h), kv_heads);
        let q = context
            .rotary
            .apply(q)
            .mul_scalar((width as f64).powf(-0.5));
        let k = context.rotary.apply(k);
        let (k, v) = match cache {
            Some(cache) => cache.append(k, v),
            None => (k, v),
        };
        let total = k.dims()[2];

        let mut scores = q.reshape(stacked).matmul(k.swap_dims(2, 3));
        // The sums of the softmax are too long for a short type.
        let compute = FloatDType::from(scores.dtype());
        scores = scores.cast(FloatDType::F32);
        if let Some(bias) = &context.bias {
            // All queries and keys of a head as one row, so that the mask is one row too.
            let [rows, ..] = bias.dims();
            let by_row = scores.reshape([rows, batch * heads / rows, seq * total]);
            let masked = by_row + bias.clone();
            scores = masked.reshape([batch, kv_heads, stacked[2], total]);
        }
        let weights = softmax(scores, 3).cast(compute);
        let mixed = weights.matmul(v).reshape([batch, heads, seq, width]);
        project(
            &self.o_proj,
            mixed.swap_dims(1, 2).reshape([batch, seq, heads * width]),
        )
    }
}
