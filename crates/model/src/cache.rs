//! What a model remembers of the tokens it has seen: one cache a layer.

mod kv_cache;
mod mark;
mod rows;
mod ssm_state;
mod window;

pub use kv_cache::KvCache;
pub use mark::Mark;
pub use ssm_state::SsmState;
pub(crate) use ssm_state::SsmStep;

use burn::tensor::{Int, Tensor, TensorData, backend::Backend};
use kernels::Kept;

use crate::config::{HybridConfig, MixerKind, SsmConfig};
use crate::rope::Rotary;
use rows::Rows;
use window::Window;

/// The cache of one layer.
#[derive(Clone, Debug)]
pub enum LayerCache<B: Backend> {
    /// Keys and values of all tokens, or of those that a sliding window may still reach
    Attention(KvCache<B>),
    /// Convolution window and state
    Ssm(SsmState<B>),
}

/// The memory of a batch of sequences. A clone is a snapshot.
///
/// [`hidden_cached`](crate::HybridModel::hidden_cached) gives all sequences equally many tokens. They differ in length after
/// [`append`](Self::append) and after [`hidden_verify`](crate::HybridModel::hidden_verify), where [`keep`](Self::keep) says how many of the tokens each keeps: an SSM
/// layer replays them from the state before them at the next call, attention overwrites the others.
///
/// A cache serves the model it was made by, with the weights that the model had then: single tokens
/// are decoded with packed copies of the weights of the SSM mixers, which the cache holds too.
#[derive(Clone, Debug)]
pub struct Cache<B: Backend> {
    pub(crate) layers: Vec<LayerCache<B>>,
    rotary: Option<Rotary<B>>,
    capacity: usize,
    rows: Rows,
    /// There for models whose attention has one
    window: Option<Window>,
    device: B::Device,
}

pub(crate) const SETTLED: &str = "dropped tokens are made up for by `hidden_verify`";

impl<B: Backend> LayerCache<B> {
    /// Appends the sequences of the same layer of other caches.
    fn append(&mut self, others: Vec<Self>) {
        let (mut kv_caches, mut ssm_states) = (Vec::new(), Vec::new());
        for other in others {
            match other {
                Self::Attention(cache) => kv_caches.push(cache),
                Self::Ssm(state) => ssm_states.push(state),
            }
        }
        match self {
            Self::Attention(cache) => cache.append(kv_caches),
            Self::Ssm(state) => state.append(ssm_states),
        }
    }
}

impl<B: Backend> Cache<B> {
    pub(crate) fn new(
        config: &HybridConfig,
        batch: usize,
        capacity: usize,
        device: &B::Device,
    ) -> Self {
        let llama = &config.llama;
        let window = llama.sliding_window.map(|size| Window::new(size, batch));
        let room = window
            .as_ref()
            .map_or(capacity, |window| capacity.min(window.most_room(1)));
        let mut layers = Vec::with_capacity(llama.n_layers);
        for layer_idx in 0..llama.n_layers {
            layers.push(match (config.mixer_kind(layer_idx), &config.ssm) {
                (MixerKind::Mamba1 | MixerKind::Mamba2, Some(ssm)) => {
                    let window = [batch, ssm.d_conv - 1, ssm.conv_channels(llama)];
                    let state = [batch, llama.d_inner(), ssm.d_state];
                    LayerCache::Ssm(SsmState::new(
                        Tensor::zeros(window, device),
                        Tensor::zeros(state, device),
                    ))
                }
                _ => LayerCache::Attention(KvCache::new(room)),
            });
        }
        Self {
            layers,
            rotary: None,
            capacity,
            rows: Rows::new(batch),
            window,
            device: device.clone(),
        }
    }

    /// Tokens of the longest sequence.
    pub fn len(&self) -> usize {
        self.rows.longest()
    }

    /// True before the first token.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tokens of each sequence, without those dropped.
    pub fn lens(&self) -> Vec<usize> {
        self.rows.lens()
    }

    /// Keeps only the first of the tokens of the last [`hidden_verify`](crate::HybridModel::hidden_verify): as many as `counts` says, one
    /// count for each sequence.
    ///
    /// # Panics
    /// If there is not one count a sequence, or one is above the tokens of that call.
    pub fn keep(&mut self, counts: &[usize]) {
        self.rows.keep(counts);
    }

    /// Appends the sequences of `others`, caches of the same model, in order.
    ///
    /// # Panics
    /// If any of the caches dropped tokens of its last call.
    pub fn append(&mut self, others: Vec<Self>) {
        let all = others.iter().chain([&*self]);
        assert!(all.into_iter().all(Self::keeps_all), "{SETTLED}");
        let mut of_layers: Vec<Vec<LayerCache<B>>> = self.layers.iter().map(|_| vec![]).collect();
        for other in others {
            self.rows.append(&other.rows);
            if let (Some(window), Some(others)) = (&mut self.window, &other.window) {
                window.append(others);
            }
            for (of_layer, layer) in of_layers.iter_mut().zip(other.layers) {
                of_layer.push(layer);
            }
        }
        for (layer, others) in self.layers.iter_mut().zip(of_layers) {
            layer.append(others);
        }
    }

    /// Keeps the sequences at `indices`, in that order; at least one.
    ///
    /// # Panics
    /// If there is no such sequence, no index, or the cache dropped tokens of its last call.
    pub fn select(&mut self, indices: &[usize]) {
        assert!(self.keeps_all(), "{SETTLED}");
        assert!(!indices.is_empty(), "a cache has a sequence");
        self.rows.select(indices);
        if let Some(window) = &mut self.window {
            window.select(indices);
        }
        let longest = self.held().into_iter().max().unwrap_or(0);
        let ids: Vec<i32> = indices.iter().map(|index| *index as i32).collect();
        let on_device = |device| Tensor::from_data(TensorData::new(ids, [indices.len()]), device);
        let indices: Tensor<B, 1, Int> = on_device(&self.device);
        for layer in &mut self.layers {
            match layer {
                LayerCache::Attention(cache) => cache.select(&indices, longest),
                LayerCache::Ssm(state) => state.select(&indices),
            }
        }
    }

    /// The caches of the layers, in order.
    pub fn layers(&self) -> &[LayerCache<B>] {
        &self.layers
    }

    /// Bytes that the tokens seen so far take in the caches, all sequences together, under a sliding window those that it
    /// spans; room kept for more is not counted. After drafted tokens an SSM layer holds two states and what these tokens brought.
    pub fn state_bytes(&self) -> usize {
        let most = self.window.as_ref().map_or(usize::MAX, Window::size);
        let lens = self.rows.lens().into_iter();
        let tokens = lens.map(|len| len.min(most)).sum::<usize>();
        let bytes = |layer: &LayerCache<B>| match layer {
            LayerCache::Attention(cache) => cache.token_bytes() * tokens,
            LayerCache::Ssm(state) => state.bytes(),
        };
        self.layers.iter().map(bytes).sum()
    }

    /// Keys and values that are held of each sequence.
    fn held(&self) -> Vec<usize> {
        let lens = self.rows.lens();
        match &self.window {
            Some(window) => window.held(&lens),
            None => lens,
        }
    }

    /// Lets go of the keys that no token to come sees where `seq` more find no room; then how many are held of each sequence.
    pub(crate) fn make_room(&mut self, seq: usize) -> Vec<usize> {
        let kv_caches = self.layers.iter().filter_map(|layer| match layer {
            LayerCache::Attention(cache) => cache.room(),
            LayerCache::Ssm(_) => None,
        });
        let (room, lens) = (kv_caches.max(), self.rows.lens());
        if let (Some(window), Some(room)) = (&mut self.window, room)
            && let Some(shift) = window.shift(&lens, seq, room)
        {
            for layer in &mut self.layers {
                if let LayerCache::Attention(cache) = layer {
                    cache.shift(&shift);
                }
            }
        }
        self.held()
    }

    pub(crate) fn advance(&mut self, seq: usize, open: bool) {
        self.rows.advance(seq, open);
    }

    /// What each sequence kept of the last call, for all SSM layers of the next.
    pub(crate) fn kept(&self, device: &B::Device) -> Kept<B> {
        Kept::new(self.rows.kept().to_vec(), device)
    }

    /// Whether no token of the last call was dropped.
    pub(crate) fn keeps_all(&self) -> bool {
        self.rows.keeps_all()
    }

    /// Rotations of the next `seq` tokens, from a table that is built once and doubles if outrun.
    pub(crate) fn rotary(
        &mut self,
        frequencies: &[f64],
        seq: usize,
        device: &B::Device,
    ) -> Rotary<B> {
        let lens = self.lens();
        let needed = self.len() + seq;
        let table = match self.rotary.take() {
            Some(table) if table.positions() >= needed => table,
            table => {
                let grown = table.map_or(0, |table| 2 * table.positions());
                Rotary::new(frequencies, 0, needed.max(self.capacity).max(grown), device)
            }
        };
        let part = if is_ragged(&lens) {
            let positions = lens.iter().flat_map(|len| *len..len + seq);
            let positions: Vec<i32> = positions.map(|position| position as i32).collect();
            let positions = TensorData::new(positions, [lens.len(), seq]);
            table.at(Tensor::<B, 2, Int>::from_data(positions, device))
        } else {
            table.narrow(self.len(), seq)
        };
        self.rotary = Some(table);
        part
    }
}

/// Whether sequences differ in length.
fn is_ragged(lens: &[usize]) -> bool {
    lens.windows(2).any(|pair| pair[0] != pair[1])
}

fn bytes<B: Backend, const D: usize>(tensor: &Tensor<B, D>) -> usize {
    tensor.dims().iter().product::<usize>() * size_of::<f32>()
}

/// Bytes of decode state of one sequence with `context` tokens: keys and values of the attention
/// layers, which grow with the context up to a sliding window, and window and state of the others, which do not.
pub fn decode_state_bytes(config: &HybridConfig, context: usize) -> usize {
    state_bytes(config, context, |ssm| {
        let llama = &config.llama;
        (ssm.d_conv - 1) * ssm.conv_channels(llama) + llama.d_inner() * ssm.d_state
    })
}

/// As [`decode_state_bytes`] after a round in which `draft_len` tokens were drafted, when they may still be dropped: each SSM
/// layer holds the states before and after the round's `draft_len + 1` tokens, and for each of these its raw input of
/// the convolution and x, b, c and dt as they enter the state (method 5.1).
pub fn verify_state_bytes(config: &HybridConfig, context: usize, draft_len: usize) -> usize {
    state_bytes(config, context, |ssm| {
        let (llama, tokens) = (&config.llama, draft_len + 1);
        let (d_inner, channels) = (llama.d_inner(), ssm.conv_channels(llama));
        let steps = match ssm.mixer {
            MixerKind::Mamba2 => llama.n_heads,
            _ => d_inner,
        };
        let brought = 3 * d_inner + steps;
        (ssm.d_conv - 1 + tokens) * channels + 2 * d_inner * ssm.d_state + tokens * brought
    })
}

/// Bytes of all layers of one sequence, those with an SSM taking the given number of elements.
fn state_bytes(
    config: &HybridConfig,
    context: usize,
    ssm_elements: impl Fn(&SsmConfig) -> usize,
) -> usize {
    let context = config
        .llama
        .sliding_window
        .map_or(context, |window| context.min(window));
    let elements = |layer_idx| match (config.mixer_kind(layer_idx), &config.ssm) {
        (MixerKind::Mamba1 | MixerKind::Mamba2, Some(ssm)) => ssm_elements(ssm),
        _ => 2 * config.llama.d_xb() * context,
    };
    (0..config.llama.n_layers).map(elements).sum::<usize>() * size_of::<f32>()
}
