//! What a model remembers of the tokens it has seen: one cache a layer.

mod kv_cache;
mod ssm_state;

pub use kv_cache::KvCache;
pub(crate) use ssm_state::Mamba1Step;
pub use ssm_state::{Mamba1State, Mamba2State};

use burn::tensor::{Tensor, backend::Backend};

use crate::config::{HybridConfig, MixerKind};
use crate::rope::Rotary;

/// The cache of one layer.
#[derive(Clone, Debug)]
pub enum LayerCache<B: Backend> {
    /// Keys and values of all tokens
    Attention(KvCache<B>),
    /// Convolution window and state
    Mamba1(Mamba1State<B>),
    /// Convolution window and state
    Mamba2(Mamba2State<B>),
}

/// The memory of a batch of sequences of equal length. A clone is a snapshot.
///
/// A cache serves the model it was made by, with the weights that the model had then: single tokens
/// are decoded with packed copies of the weights of the SSM mixers, which the cache holds too.
#[derive(Clone, Debug)]
pub struct Cache<B: Backend> {
    pub(crate) layers: Vec<LayerCache<B>>,
    rotary: Option<Rotary<B>>,
    capacity: usize,
    len: usize,
}

impl<B: Backend> Cache<B> {
    pub(crate) fn new(
        config: &HybridConfig,
        batch: usize,
        capacity: usize,
        device: &B::Device,
    ) -> Self {
        let llama = &config.llama;
        let mut layers = Vec::with_capacity(llama.n_layers);
        for layer_idx in 0..llama.n_layers {
            layers.push(match (config.mixer_kind(layer_idx), &config.ssm) {
                (kind @ (MixerKind::Mamba1 | MixerKind::Mamba2), Some(ssm)) => {
                    let window = [batch, ssm.d_conv - 1, ssm.conv_channels(llama)];
                    let conv_window = Tensor::zeros(window, device);
                    if kind == MixerKind::Mamba1 {
                        let state = [batch, llama.d_inner(), ssm.d_state];
                        let ssm_state = Tensor::zeros(state, device);
                        LayerCache::Mamba1(Mamba1State::new(conv_window, ssm_state))
                    } else {
                        let state = [batch, llama.n_heads, llama.head_dim, ssm.d_state];
                        let ssm_state = Tensor::zeros(state, device);
                        LayerCache::Mamba2(Mamba2State::new(conv_window, ssm_state))
                    }
                }
                _ => LayerCache::Attention(KvCache::new(capacity)),
            });
        }
        Self {
            layers,
            rotary: None,
            capacity,
            len: 0,
        }
    }

    /// Tokens seen so far, of each sequence.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True before the first token.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The caches of the layers, in order.
    pub fn layers(&self) -> &[LayerCache<B>] {
        &self.layers
    }

    /// Bytes that the tokens seen so far take in the caches, all sequences together; room kept
    /// for later tokens is not counted.
    pub fn state_bytes(&self) -> usize {
        self.layers.iter().map(LayerCache::state_bytes).sum()
    }

    pub(crate) fn advance(&mut self, seq: usize) {
        self.len += seq;
    }

    /// Rotations of the next `seq` tokens, from a table that is built once and doubles if outrun.
    pub(crate) fn rotary(
        &mut self,
        frequencies: &[f64],
        seq: usize,
        device: &B::Device,
    ) -> Rotary<B> {
        let needed = self.len + seq;
        let table = match self.rotary.take() {
            Some(table) if table.positions() >= needed => table,
            table => {
                let grown = table.map_or(0, |table| 2 * table.positions());
                Rotary::new(frequencies, 0, needed.max(self.capacity).max(grown), device)
            }
        };
        let part = table.narrow(self.len, seq);
        self.rotary = Some(table);
        part
    }
}

impl<B: Backend> LayerCache<B> {
    fn state_bytes(&self) -> usize {
        match self {
            Self::Attention(cache) => cache.state_bytes(),
            Self::Mamba1(state) => bytes(&state.conv_window) + bytes(&state.ssm_state),
            Self::Mamba2(state) => bytes(&state.conv_window) + bytes(&state.ssm_state),
        }
    }
}

fn bytes<B: Backend, const D: usize>(tensor: &Tensor<B, D>) -> usize {
    tensor.dims().iter().product::<usize>() * size_of::<f32>()
}

/// Bytes of decode state of one sequence with `context` tokens: keys and values of the attention
/// layers, which grow with the context, and window and state of the others, which do not.
pub fn decode_state_bytes(config: &HybridConfig, context: usize) -> usize {
    let llama = &config.llama;
    let mut elements = 0;
    for layer_idx in 0..llama.n_layers {
        elements += match (config.mixer_kind(layer_idx), &config.ssm) {
            (MixerKind::Mamba1 | MixerKind::Mamba2, Some(ssm)) => {
                (ssm.d_conv - 1) * ssm.conv_channels(llama) + llama.d_inner() * ssm.d_state
            }
            _ => 2 * llama.d_xb() * context,
        };
    }
    elements * size_of::<f32>()
}
