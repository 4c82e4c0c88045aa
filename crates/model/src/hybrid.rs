//! The model: embedding, blocks with attention or SSM mixers, final norm, head.

use burn::module::Module;
use burn::nn::{Embedding, Linear, RmsNorm};
use burn::tensor::{FloatDType, Int, Tensor, backend::Backend};
use kernels::{CacheLengths, FusedOutput, SsmBackend};

use crate::cache::{Cache, SETTLED};
use crate::config::HybridConfig;
use crate::convert::init::random_value;
use crate::documents::Documents;
use crate::layer::Block;
use crate::mixer::{AttentionContext, ContinuedAttention, ContinuedContext, PassContext};
use crate::params::{assign, fused, lazy, lazy_linear, lazy_norm, normalise};
use crate::rope::{Rotary, frequencies};

/// A Llama-family language model whose layers mix with attention, Mamba1 or Mamba2.
///
/// A teacher is a hybrid all of whose layers keep attention.
#[derive(Module, Debug)]
pub struct HybridModel<B: Backend> {
    pub(crate) embed_tokens: Embedding<B>,
    pub(crate) layers: Vec<Block<B>>,
    pub(crate) norm: RmsNorm<B>,
    lm_head: Option<Linear<B>>,
    pub(crate) config: HybridConfig,
    frequencies: Vec<f64>,
    compute: Option<FloatDType>,
    pub(crate) is_checkpointed: bool,
}

/// What [`HybridModel::block_output`] returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockOutput {
    /// What the mixer adds to the residual stream.
    Mixer,
    /// The residual stream after the block.
    HiddenState,
}

impl<B: Backend> HybridModel<B> {
    /// The module tree of `config`; its parameters take no memory until they are used or assigned.
    pub(crate) fn skeleton(config: &HybridConfig, device: &B::Device) -> Self {
        let llama = &config.llama;
        let (vocab_size, d_model) = (llama.vocab_size, llama.d_model);
        let head = || lazy_linear(d_model, vocab_size, device);
        Self {
            embed_tokens: Embedding {
                weight: lazy([vocab_size, d_model], device),
            },
            layers: (0..llama.n_layers)
                .map(|i| Block::skeleton(config, i, device))
                .collect(),
            norm: lazy_norm(d_model, llama.rms_norm_eps, device),
            lm_head: (!llama.tie_word_embeddings).then(head),
            config: config.clone(),
            frequencies: frequencies(llama),
            compute: None,
            is_checkpointed: false,
        }
    }

    /// The same model with its mixers and MLPs computing in `compute` wherever whole sequences pass; what is converted
    /// from it computes alike.
    ///
    /// Weights keep their type, and get their gradients in it; so do the residual stream, norms, softmax and
    /// logits. With a cache everything is computed in the type of the weights.
    pub fn computing_in(mut self, compute: Option<FloatDType>) -> Self {
        self.compute = compute;
        self
    }

    /// The same model, of whose blocks a [training pass](HybridModel::training_pass) keeps the inputs alone, if it
    /// `is_checkpointed`.
    pub fn checkpointed(mut self, is_checkpointed: bool) -> Self {
        self.is_checkpointed = is_checkpointed;
        self
    }

    /// What its mixers and MLPs compute in, where that is not the type of the weights.
    pub fn compute(&self) -> Option<FloatDType> {
        self.compute
    }

    /// The model of `config` that has the blocks `layers` of this one, by reference to the same weights.
    pub(crate) fn with_layers(&self, config: HybridConfig, layers: &[usize]) -> Self {
        Self {
            layers: layers.iter().map(|at| self.layers[*at].clone()).collect(),
            config,
            ..self.clone()
        }
    }

    /// The configuration the model was built from.
    pub fn config(&self) -> &HybridConfig {
        &self.config
    }

    /// Number of blocks.
    pub fn n_layers(&self) -> usize {
        self.layers.len()
    }

    /// Where the weights are.
    pub fn device(&self) -> B::Device {
        self.norm.gamma.lazy_device()
    }
}

impl<B: SsmBackend> HybridModel<B> {
    /// Random weights from seed 0: normal with deviation 0.02 for projections and embedding, ones
    /// for norms, and the fresh values of method 2.4 and 2.5 for SSM parameters.
    ///
    /// # Panics
    /// If `config` does not pass [`HybridConfig::validate`].
    pub fn init(config: &HybridConfig, device: &B::Device) -> Self {
        Self::init_seeded(config, 0, device)
    }

    /// As [`init`](Self::init), from `seed`; the same on every backend.
    ///
    /// # Panics
    /// If `config` does not pass [`HybridConfig::validate`].
    pub fn init_seeded(config: &HybridConfig, seed: u64, device: &B::Device) -> Self {
        if let Err(error) = config.validate("model configuration") {
            panic!("{error}");
        }
        let model = Self::skeleton(config, device);
        let d_conv = config.ssm.as_ref().map_or(1, |ssm| ssm.d_conv);
        assign::<B, _, _>(model, |key, shape| {
            Ok(random_value(seed, key, shape, d_conv))
        })
        .expect("drawing values does not fail")
    }

    /// Logits `[batch, seq, vocab]` for `tokens` `[batch, seq]`.
    pub fn forward(&self, tokens: Tensor<B, 2, Int>) -> Tensor<B, 3> {
        self.logits(self.hidden(tokens))
    }

    /// The residual stream after the final norm, `[batch, seq, d_model]`.
    pub fn hidden(&self, tokens: Tensor<B, 2, Int>) -> Tensor<B, 3> {
        self.hidden_packed(tokens, None)
    }

    /// As [`forward`](Self::forward) for rows of several documents, each as if it ran alone.
    ///
    /// # Panics
    /// As [`hidden_packed`](Self::hidden_packed).
    pub fn forward_packed(
        &self,
        tokens: Tensor<B, 2, Int>,
        documents: &Documents<B>,
    ) -> Tensor<B, 3> {
        self.logits(self.hidden_packed(tokens, Some(documents)))
    }

    /// As [`hidden`](Self::hidden); each of `documents`, where there are any, as if it ran alone.
    ///
    /// # Panics
    /// If `documents` are not of the shape of `tokens`.
    pub fn hidden_packed(
        &self,
        tokens: Tensor<B, 2, Int>,
        documents: Option<&Documents<B>>,
    ) -> Tensor<B, 3> {
        let context = self.context(tokens.dims(), documents, &tokens.device());
        normalise(&self.norm, self.run(tokens, &context, |_| ()), None)
    }

    /// Logits `[batch, seq, vocab]` of a residual stream after the final norm.
    pub fn logits(&self, hidden: Tensor<B, 3>) -> Tensor<B, 3> {
        let weight = match &self.lm_head {
            Some(head) => head.weight.val(),
            None => self.embed_tokens.weight.val().transpose(),
        };
        fused(None, hidden, [weight], FusedOutput::SideBySide)
    }

    /// The head's weight, `[vocab, d_model]`; the embedding's where they are tied.
    ///
    /// For losses that make logits of a few rows at a time instead of calling [`logits`](Self::logits).
    pub fn head_weight(&self) -> Tensor<B, 2> {
        match &self.lm_head {
            Some(head) => head.weight.val().transpose(),
            None => self.embed_tokens.weight.val(),
        }
    }

    /// The residual stream after each block, before the final norm, and the logits.
    pub fn hidden_states(&self, tokens: Tensor<B, 2, Int>) -> (Vec<Tensor<B, 3>>, Tensor<B, 3>) {
        let mut states = Vec::with_capacity(self.layers.len());
        let context = self.context(tokens.dims(), None, &tokens.device());
        let last = self.run(tokens, &context, |x| states.push(x.clone()));
        let logits = self.logits(normalise(&self.norm, last, None));
        (states, logits)
    }

    /// The residual stream into each block, `[batch, seq, d_model]`.
    ///
    /// With [`block_output`](Self::block_output) this compares the blocks of two models one by one, on equal inputs.
    pub fn block_inputs(&self, tokens: Tensor<B, 2, Int>) -> Vec<Tensor<B, 3>> {
        let mut inputs = vec![self.embed(tokens.clone())];
        let context = self.context(tokens.dims(), None, &tokens.device());
        self.run(tokens, &context, |x| inputs.push(x.clone()));
        inputs.pop();
        inputs
    }

    /// What block `layer_idx` alone makes of sequences from their first token on; `x` and the result:
    /// `[batch, seq, d_model]`.
    ///
    /// # Panics
    /// If there is no such block.
    pub fn block_output(
        &self,
        layer_idx: usize,
        x: Tensor<B, 3>,
        output: BlockOutput,
    ) -> Tensor<B, 3> {
        let [batch, seq, _] = x.dims();
        let context = self.context([batch, seq], None, &x.device());
        let block = &self.layers[layer_idx];
        match output {
            BlockOutput::Mixer => block.mixer_output(x, &context),
            BlockOutput::HiddenState => block.forward(x, &context),
        }
    }

    /// An empty cache for `batch` sequences of up to `capacity` tokens; longer ones make it grow.
    pub fn new_cache(&self, batch: usize, capacity: usize) -> Cache<B> {
        Cache::new(&self.config, batch, capacity, &self.device())
    }

    /// Logits `[batch, seq, vocab]` of tokens that continue those in `cache`: a prompt, a part of
    /// one, or a single token.
    pub fn forward_cached(&self, tokens: Tensor<B, 2, Int>, cache: &mut Cache<B>) -> Tensor<B, 3> {
        self.logits(self.hidden_cached(tokens, cache))
    }

    /// As [`hidden`](Self::hidden) for tokens that continue those in `cache`. Taking the logits of
    /// the last token alone saves memory on long prompts.
    ///
    /// # Panics
    /// If the cache dropped tokens of its last call.
    pub fn hidden_cached(&self, tokens: Tensor<B, 2, Int>, cache: &mut Cache<B>) -> Tensor<B, 3> {
        assert!(cache.keeps_all(), "{SETTLED}");
        self.hidden_continued(tokens, cache, false)
    }

    /// As [`hidden_cached`](Self::hidden_cached) for tokens that may be dropped again, after as many of the last ones as
    /// [`Cache::keep`] said (method 5.2).
    ///
    /// Sequences may differ in length; each continues after its own last token.
    pub fn hidden_verify(&self, tokens: Tensor<B, 2, Int>, cache: &mut Cache<B>) -> Tensor<B, 3> {
        self.hidden_continued(tokens, cache, true)
    }

    fn hidden_continued(
        &self,
        tokens: Tensor<B, 2, Int>,
        cache: &mut Cache<B>,
        open: bool,
    ) -> Tensor<B, 3> {
        let (seq, device) = (tokens.dims()[1], tokens.device());
        let context = ContinuedContext {
            attention: self.has_attention().then(|| ContinuedAttention {
                rotary: cache.rotary(&self.frequencies, seq, &device),
                lens: CacheLengths::new(cache.make_room(seq), &device),
            }),
            kept: (open && self.config.ssm.is_some()).then(|| cache.kept(&device)),
        };
        let mut x = self.embed(tokens);
        for (block, layer_cache) in self.layers.iter().zip(&mut cache.layers) {
            x = block.continued(x, &context, layer_cache);
        }
        cache.advance(seq, open);
        normalise(&self.norm, x, None)
    }

    /// Where the residual stream starts: in f32, whatever the embedding is held in.
    fn embed(&self, tokens: Tensor<B, 2, Int>) -> Tensor<B, 3> {
        self.embed_tokens.forward(tokens).cast(FloatDType::F32)
    }

    fn run(
        &self,
        tokens: Tensor<B, 2, Int>,
        context: &PassContext<B>,
        mut after_block: impl FnMut(&Tensor<B, 3>),
    ) -> Tensor<B, 3> {
        let mut x = self.embed(tokens);
        for block in &self.layers {
            x = block.forward(x, context);
            after_block(&x);
        }
        x
    }

    /// What the mixers share in a pass without a cache.
    pub(crate) fn context(
        &self,
        [batch, seq]: [usize; 2],
        documents: Option<&Documents<B>>,
        device: &B::Device,
    ) -> PassContext<B> {
        if let Some(documents) = documents {
            assert_eq!(documents.dims(), [batch, seq], "documents of other tokens");
        }
        let attention = || {
            let rotary = Rotary::new(&self.frequencies, 0, seq, device);
            let context = match documents {
                Some(documents) => AttentionContext::packed(&rotary, documents),
                None => AttentionContext::new(rotary),
            };
            context.within(self.config.llama.sliding_window, batch)
        };
        PassContext {
            attention: self.has_attention().then(attention),
            reset: documents.map(Documents::resets),
            compute: self.compute,
        }
    }

    fn has_attention(&self) -> bool {
        !self.config.attn_layers.is_empty()
    }
}
