//! Grouped-query attention with rotary positions (method 2.1).

use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::{Tensor, TensorData, backend::Backend};
use kernels::{SsmBackend, VisibleKeys, masked_softmax};

use crate::cache::{KvCache, is_ragged, on_grid};
use crate::config::LlamaConfig;
use crate::documents::Documents;
use crate::params::{lazy_linear, project};
use crate::rope::Rotary;

/// What all attention layers of one pass share: rotations, and which keys are visible.
#[derive(Clone, Debug)]
pub(crate) struct AttentionContext<B: Backend> {
    rotary: Rotary<B>,
    visible: VisibleKeys<B>,
    /// Tokens of each sequence that a cache holds; none without a cache
    starts: Vec<usize>,
    /// Added to the scores where sequences differ in length: 0 for keys a query sees, [`HIDDEN`] for those after it,
    /// `[batch, 1, seq, keys]`
    hidden: Option<Tensor<B, 4>>,
}

/// Far below every score, and finite in f16: the weight of such a key is 0.
const HIDDEN: f32 = -3e4;

impl<B: Backend> AttentionContext<B> {
    /// For whole sequences, whose tokens `rotary` rotates.
    pub(crate) fn new(rotary: Rotary<B>) -> Self {
        Self::cached(rotary, Vec::new())
    }

    /// For the tokens that `rotary` rotates, after those that a cache holds of each sequence.
    pub(crate) fn cached(rotary: Rotary<B>, starts: Vec<usize>) -> Self {
        let visible = VisibleKeys {
            seq: rotary.positions(),
            past: starts.iter().copied().max().unwrap_or(0),
            first: None,
        };
        let hidden = is_ragged(&starts).then(|| hidden(&starts, &rotary));
        Self {
            rotary,
            visible,
            starts,
            hidden,
        }
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
            starts: Vec::new(),
            hidden: None,
        }
    }
}

/// Hides from each query the keys after its own, by the length of its sequence.
fn hidden<B: Backend>(starts: &[usize], rotary: &Rotary<B>) -> Tensor<B, 4> {
    let seq = rotary.positions();
    let keys = on_grid(starts.iter().copied().max().unwrap_or(0) + seq);
    let queries = starts.iter().flat_map(|start| *start..start + seq);
    let values =
        queries.flat_map(|own| (0..keys).map(move |key| if key > own { HIDDEN } else { 0.0 }));
    let shape = [starts.len(), 1, seq, keys];
    Tensor::from_data(TensorData::new(values.collect(), shape), &rotary.device())
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
}

impl<B: SsmBackend> Attention<B> {
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

        let q = context.rotary.apply(project(&self.q_proj, h.clone()));
        let k = context.rotary.apply(project(&self.k_proj, h.clone()));
        let v = project(&self.v_proj, h).reshape([batch, seq, kv_heads, width]);
        let v = v.swap_dims(1, 2);
        let (k, v) = match cache {
            Some(cache) => cache.append(k, v, &context.starts),
            None => (k, v),
        };

        let mut scores = q.reshape(stacked).matmul(k.swap_dims(2, 3));
        if let Some(hidden) = &context.hidden {
            let dims = scores.dims();
            let by_query = [batch, heads, seq, dims[3]];
            scores = (scores.reshape(by_query) + hidden.clone()).reshape(dims);
        }
        let scale = (width as f64).powf(-0.5);
        let weights = masked_softmax(scores, context.visible.clone(), scale)
            .expect("a key for each token seen, and query heads divided among those of keys");
        let mixed = weights.matmul(v).reshape([batch, heads, seq, width]);
        project(
            &self.o_proj,
            mixed.swap_dims(1, 2).reshape([batch, seq, heads * width]),
        )
    }
}
