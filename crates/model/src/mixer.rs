//! What mixes tokens in a block: attention, or one of two state-space models in its place.

mod attention;
mod depthwise_conv;
mod mamba1;
mod mamba2;
mod repeat;

pub(crate) use attention::{Attention, AttentionContext, ContinuedAttention};
pub(crate) use mamba1::Mamba1;
pub(crate) use mamba2::Mamba2;

use burn::module::Module;
use burn::nn::RmsNorm;
use burn::tensor::{FloatDType, Tensor, backend::Backend};
use kernels::{Kept, SsmBackend};

use crate::cache::LayerCache;
use crate::config::{HybridConfig, MixerKind};
use crate::params::normalise;

/// What the mixers of one pass over whole sequences share.
#[derive(Clone, Debug, Default)]
pub(crate) struct PassContext<B: Backend> {
    /// There for every model with an attention layer
    pub attention: Option<AttentionContext<B>>,
    /// 1.0 where a document of a packed row starts, else 0.0, `[batch, seq]`
    pub reset: Option<Tensor<B, 2>>,
    /// What mixers and MLPs compute in, if not in the type of the weights
    pub compute: Option<FloatDType>,
}

impl<B: SsmBackend> PassContext<B> {
    /// The input of a mixer or an MLP, normalised and in the type that it computes in.
    pub(crate) fn enter(&self, norm: &RmsNorm<B>, stream: Tensor<B, 3>) -> Tensor<B, 3> {
        normalise(norm, stream, self.compute)
    }

    /// Adds what a mixer or an MLP found to the residual stream, in the stream's own type.
    pub(crate) fn leave(&self, stream: Tensor<B, 3>, found: Tensor<B, 3>) -> Tensor<B, 3> {
        let found = match self.compute {
            Some(_) => found.cast(FloatDType::from(stream.dtype())),
            None => found,
        };
        stream + found
    }
}

/// What the mixers share in a pass over tokens that continue a cache.
#[derive(Clone, Debug)]
pub(crate) struct ContinuedContext<B: Backend> {
    /// There for every model with an attention layer
    pub attention: Option<ContinuedAttention<B>>,
    /// What was kept of the cache's last tokens, if the new ones may be dropped too
    pub kept: Option<Kept<B>>,
}

/// The token mixer of a block.
#[derive(Module, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "one a layer, and boxes are no burn modules"
)]
pub enum Mixer<B: Backend> {
    /// Grouped-query attention of the teacher
    Attention(Attention<B>),
    /// Selective scan
    Mamba1(Mamba1<B>),
    /// State-space duality
    Mamba2(Mamba2<B>),
}

impl<B: Backend> Mixer<B> {
    pub(crate) fn skeleton(config: &HybridConfig, layer_idx: usize, device: &B::Device) -> Self {
        let llama = &config.llama;
        match (config.mixer_kind(layer_idx), &config.ssm) {
            (MixerKind::Mamba1, Some(ssm)) => Self::Mamba1(Mamba1::skeleton(llama, ssm, device)),
            (MixerKind::Mamba2, Some(ssm)) => Self::Mamba2(Mamba2::skeleton(llama, ssm, device)),
            _ => Self::Attention(Attention::skeleton(llama, device)),
        }
    }
}

impl<B: SsmBackend> Mixer<B> {
    /// `h` (after the norm) and the result: `[batch, seq, d_model]`, whole sequences.
    pub(crate) fn forward(&self, h: Tensor<B, 3>, context: &PassContext<B>) -> Tensor<B, 3> {
        match self {
            Self::Attention(attention) => {
                let context = context.attention.as_ref();
                attention.forward(h, context.expect(HAS_ATTENTION))
            }
            Self::Mamba1(mamba) => mamba.forward(h, context.reset.clone()),
            Self::Mamba2(mamba) => mamba.forward(h, context.reset.clone()),
        }
    }

    /// Adds to `x`, `[batch, seq, d_model]`, what the mixer finds in its `norm`; the tokens continue those in `cache`.
    pub(crate) fn continued(
        &self,
        norm: &RmsNorm<B>,
        x: Tensor<B, 3>,
        context: &ContinuedContext<B>,
        cache: &mut LayerCache<B>,
    ) -> Tensor<B, 3> {
        match (self, cache) {
            (Self::Attention(attention), LayerCache::Attention(cache)) => {
                let context = context.attention.as_ref();
                attention.continued(norm, x, context.expect(HAS_ATTENTION), cache)
            }
            (Self::Mamba1(mamba), LayerCache::Ssm(state)) => {
                mamba.continued(norm, x, state, context.kept.as_ref())
            }
            (Self::Mamba2(mamba), LayerCache::Ssm(state)) => {
                mamba.continued(norm, x, state, context.kept.as_ref())
            }
            _ => unreachable!("caches are made for the mixers of their model"),
        }
    }
}

const HAS_ATTENTION: &str = "built for every model with an attention layer";
