//! Grouped-query attention with rotary positions (method 2.1).

use burn::module::Module;
use burn::nn::{Linear, RmsNorm};
use burn::tensor::{Int, Tensor, backend::Backend};
use kernels::{
    CacheLengths, CachedAttentionInputs, FusedOutput, SsmBackend, VisibleKeys, cached_attention,
    masked_softmax, product,
};

use crate::cache::KvCache;
use crate::config::LlamaConfig;
use crate::documents::Documents;
use crate::params::{add_bias, fused, lazy_linear, lazy_linear_with, project, project_biased};
use crate::rope::Rotary;

/// What all attention layers of one pass over whole sequences share: rotations, and which keys are visible.
#[derive(Clone, Debug)]
pub(crate) struct AttentionContext<B: Backend> {
    rotary: Rotary<B>,
    visible: VisibleKeys<B>,
}

impl<B: Backend> AttentionContext<B> {
    /// For sequences of one document, whose tokens `rotary` rotates.
    pub(crate) fn new(rotary: Rotary<B>) -> Self {
        let visible = VisibleKeys {
            seq: rotary.positions(),
            past: 0,
            first: None,
        };
        Self { rotary, visible }
    }

    /// For packed rows; `table` rotates positions from 0 on.
    pub(crate) fn packed(table: &Rotary<B>, documents: &Documents<B>) -> Self {
        let [_, seq] = documents.dims();
        Self {
            rotary: table.at(documents.positions()),
            visible: VisibleKeys {
                seq,
                past: 0,
                first: Some(documents.first_keys()),
            },
        }
    }
}

impl<B: Backend> AttentionContext<B> {
    /// The same with at most the last `window` keys visible to each token of `batch` sequences.
    pub(crate) fn within(mut self, window: Option<usize>, batch: usize) -> Self {
        let seq = self.visible.seq;
        let Some(window) = window.filter(|window| *window < seq) else {
            return self;
        };
        let device = self.rotary.device();
        let own = Tensor::<B, 1, Int>::arange(0..seq as i64, &device).float();
        let first = own.sub_scalar(window as f32 - 1.0).clamp_min(0.0);
        let first = first.reshape([1, seq]).expand([batch, seq]);
        self.visible.first = Some(match self.visible.first.take() {
            Some(documents) => first.max_pair(documents),
            None => first,
        });
        self
    }
}

/// What all attention layers share in a pass over tokens that continue a cache.
#[derive(Clone, Debug)]
pub(crate) struct ContinuedAttention<B: Backend> {
    /// Of the new tokens
    pub rotary: Rotary<B>,
    /// Tokens in the cache
    pub lens: CacheLengths<B>,
}

/// Grouped-query attention; queries, keys and values may have biases.
#[derive(Module, Debug)]
pub struct Attention<B: Backend> {
    q_proj: Linear<B>,
    k_proj: Linear<B>,
    v_proj: Linear<B>,
    o_proj: Linear<B>,
    n_heads: usize,
    n_kv_heads: usize,
    head_dim: usize,
    window: Option<usize>,
}

impl<B: Backend> Attention<B> {
    pub(crate) fn skeleton(llama: &LlamaConfig, device: &B::Device) -> Self {
        let (d_model, d_inner, d_xb) = (llama.d_model, llama.d_inner(), llama.d_xb());
        let biased = |width| lazy_linear_with(llama.qkv_bias, d_model, width, device);
        Self {
            q_proj: biased(d_inner),
            k_proj: biased(d_xb),
            v_proj: biased(d_xb),
            o_proj: lazy_linear(d_inner, d_model, device),
            n_heads: llama.n_heads,
            n_kv_heads: llama.n_kv_heads,
            head_dim: llama.head_dim,
            window: llama.sliding_window,
        }
    }
}

impl<B: SsmBackend> Attention<B> {
    /// `h` and the result: `[batch, seq, d_model]`, whole sequences.
    ///
    /// The query heads of one key/value head are stacked along the sequence, so keys and values
    /// are never copied per query head.
    pub(crate) fn forward(&self, h: Tensor<B, 3>, context: &AttentionContext<B>) -> Tensor<B, 3> {
        let [batch, seq, _] = h.dims();
        let (heads, kv_heads, width) = (self.n_heads, self.n_kv_heads, self.head_dim);
        let stacked = [batch, kv_heads, heads / kv_heads * seq, width];

        let q = context
            .rotary
            .apply(project_biased(&self.q_proj, h.clone()));
        let k = context
            .rotary
            .apply(project_biased(&self.k_proj, h.clone()));
        let v = project_biased(&self.v_proj, h).reshape([batch, seq, kv_heads, width]);
        let v = v.swap_dims(1, 2);

        let scores = product(q.reshape(stacked), k.swap_dims(2, 3));
        let scores = scores.expect("as many heads of keys as stacks of queries");
        let scale = (width as f64).powf(-0.5);
        let weights = masked_softmax(scores, context.visible.clone(), scale)
            .expect("a key for each token seen, and query heads divided among those of keys");
        let mixed = product(weights, v).expect("a value for each key");
        let mixed = mixed.reshape([batch, heads, seq, width]);
        project(
            &self.o_proj,
            mixed.swap_dims(1, 2).reshape([batch, seq, heads * width]),
        )
    }

    /// Adds to `x`, `[batch, seq, d_model]`, what attention finds in its `norm` and in `cache`, which gets the new tokens.
    pub(crate) fn continued(
        &self,
        norm: &RmsNorm<B>,
        x: Tensor<B, 3>,
        context: &ContinuedAttention<B>,
        cache: &mut KvCache<B>,
    ) -> Tensor<B, 3> {
        let [batch, seq, _] = x.dims();
        let weights = [&self.q_proj, &self.k_proj, &self.v_proj].map(|layer| layer.weight.val());
        let qkv = fused(Some(norm), x.clone(), weights, FusedOutput::SideBySide);
        let biases = [&self.q_proj, &self.k_proj, &self.v_proj].map(|layer| layer.bias.as_ref());
        let biases: Vec<Tensor<B, 1>> = biases.into_iter().flatten().map(|b| b.val()).collect();
        let qkv = add_bias(qkv, (!biases.is_empty()).then(|| Tensor::cat(biases, 0)));
        let heads = [batch, self.n_kv_heads, self.head_dim];
        let [keys, values] = cache.take(heads, context.lens.longest(), seq, &x.device());
        let inputs = CachedAttentionInputs {
            qkv,
            angles: context.rotary.angles(),
            keys,
            values,
            lens: &context.lens,
            window: self.window,
        };
        let found = cached_attention(inputs).expect("the cache is the layer's own, and has room");
        cache.put([found.keys, found.values]);
        let weight = self.o_proj.weight.val();
        fused(None, found.mixed, [weight], FusedOutput::Added(x))
    }
}
