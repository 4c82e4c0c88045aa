//! One block: norm, mixer, norm, MLP, each pair beside the residual stream (method 2.6).

use burn::module::Module;
use burn::nn::RmsNorm;
use burn::tensor::{FloatDType, Tensor, backend::Backend};
use kernels::SsmBackend;

use crate::cache::LayerCache;
use crate::config::HybridConfig;
use crate::mixer::{ContinuedContext, Mixer, PassContext};
use crate::mlp::Mlp;
use crate::params::lazy_norm;

/// One block of a hybrid.
#[derive(Module, Debug)]
pub struct Block<B: Backend> {
    input_layernorm: RmsNorm<B>,
    mixer: Mixer<B>,
    post_attention_layernorm: RmsNorm<B>,
    mlp: Mlp<B>,
}

impl<B: Backend> Block<B> {
    pub(crate) fn skeleton(config: &HybridConfig, layer_idx: usize, device: &B::Device) -> Self {
        let llama = &config.llama;
        Self {
            input_layernorm: lazy_norm(llama.d_model, llama.rms_norm_eps, device),
            mixer: Mixer::skeleton(config, layer_idx, device),
            post_attention_layernorm: lazy_norm(llama.d_model, llama.rms_norm_eps, device),
            mlp: Mlp::skeleton(llama.d_model, llama.intermediate_size, device),
        }
    }
}

impl<B: SsmBackend> Block<B> {
    /// `x` and the result: `[batch, seq, d_model]`, whole sequences.
    pub(crate) fn forward(&self, x: Tensor<B, 3>, context: &PassContext<B>) -> Tensor<B, 3> {
        let normed = context.enter(&self.input_layernorm, x.clone());
        let x = context.leave(x, self.mixer.forward(normed, context));
        let normed = context.enter(&self.post_attention_layernorm, x.clone());
        context.leave(x, self.mlp.forward(normed))
    }

    /// As [`forward`](Self::forward) for tokens that continue those in `cache`, which gets them.
    pub(crate) fn continued(
        &self,
        x: Tensor<B, 3>,
        context: &ContinuedContext<B>,
        cache: &mut LayerCache<B>,
    ) -> Tensor<B, 3> {
        let x = (self.mixer).continued(&self.input_layernorm, x, context, cache);
        self.mlp.continued(&self.post_attention_layernorm, x)
    }

    /// What the mixer alone adds to `x`.
    pub(crate) fn mixer_output(&self, x: Tensor<B, 3>, context: &PassContext<B>) -> Tensor<B, 3> {
        let stream = FloatDType::from(x.dtype());
        let normed = context.enter(&self.input_layernorm, x);
        self.mixer.forward(normed, context).cast(stream)
    }
}
