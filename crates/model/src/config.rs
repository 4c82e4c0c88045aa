//! What a model is, as plain data: widths, which layers keep attention, which mixer replaces it.

mod hf;

pub(crate) use hf::{Fields, object};

use serde::{Deserialize, Serialize};

use crate::error::ModelError;

/// What mixes tokens in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MixerKind {
    /// Grouped-query attention of the teacher
    Attention,
    /// Selective scan (method 2.4)
    Mamba1,
    /// State-space duality (method 2.5)
    Mamba2,
}

/// How key/value width is repeated to query width (method 2.4, quirk 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GqaRepeat {
    /// In chunks of `d_state` channels, as the published Mamba1 hybrids do
    ChunkN,
    /// In whole heads of `head_dim` channels
    Head,
}

/// What the weights of a converted layer start from (method 2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InitFrom {
    /// Projections of the attention that is replaced; MLP and norms copied
    Attention,
    /// A random mixer; MLP and norms copied
    RandomMixer,
    /// A random mixer, a random MLP and fresh norms, as the published ablation does
    RandomLayer,
    /// Projections of the attention that is replaced but an output projection of zeros; MLP and norms copied. The layer
    /// starts as its MLP alone, and stays so where mixers are not trained
    ZeroOutput,
}

/// Frequency scaling of Llama 3.1 and later (`rope_type` "llama3").
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RopeScaling {
    /// Divisor of the low frequencies
    pub factor: f64,
    /// Wavelengths above `original_max_position_embeddings / low_freq_factor` are divided
    pub low_freq_factor: f64,
    /// Wavelengths below `original_max_position_embeddings / high_freq_factor` are kept
    pub high_freq_factor: f64,
    /// Context the unscaled frequencies were trained for, in tokens
    pub original_max_position_embeddings: usize,
}

/// A Llama-family Transformer, as in a Hugging Face `config.json`.
///
/// Serialises to the keys of that file and reads them leniently: unknown keys are ignored, unknown
/// values (`rope_type`, `hidden_act`, `model_type`, biases) are errors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "serde_json::Value", into = "serde_json::Value")]
pub struct LlamaConfig {
    /// Width of the residual stream
    pub d_model: usize,
    /// Number of blocks
    pub n_layers: usize,
    /// Query heads
    pub n_heads: usize,
    /// Key/value heads; divides `n_heads`
    pub n_kv_heads: usize,
    /// Width of a head
    pub head_dim: usize,
    /// Width of the MLP
    pub intermediate_size: usize,
    /// Number of token ids
    pub vocab_size: usize,
    /// Base of the rotary frequencies
    pub rope_theta: f64,
    /// Scaling of the rotary frequencies
    pub rope_scaling: Option<RopeScaling>,
    /// Added to the mean square in every norm
    pub rms_norm_eps: f64,
    /// The head is the transposed embedding
    pub tie_word_embeddings: bool,
    /// Context in tokens
    pub max_position_embeddings: usize,
    /// Keys that a token's attention sees at most, its own included (Mistral); all where there is none
    pub sliding_window: Option<usize>,
    /// Queries, keys and values have biases (Qwen2)
    pub qkv_bias: bool,
    /// Token put before a text, if any
    pub bos_token_id: Option<u32>,
    /// Tokens that end a text
    pub eos_token_ids: Vec<u32>,
}

/// Most layers of a model: far more than any has.
const MOST_LAYERS: usize = 4096;

impl LlamaConfig {
    /// Width of all query heads, and of the SSM mixers: `n_heads * head_dim`.
    pub fn d_inner(&self) -> usize {
        self.n_heads * self.head_dim
    }

    /// Width of all key/value heads: `n_kv_heads * head_dim`.
    pub fn d_xb(&self) -> usize {
        self.n_kv_heads * self.head_dim
    }

    /// Query heads that share a key/value head.
    pub fn heads_per_kv(&self) -> usize {
        self.n_heads / self.n_kv_heads
    }

    /// Checks that the sizes fit each other.
    ///
    /// # Errors
    /// [`ModelError::Config`] naming `origin` and the field.
    pub fn validate(&self, origin: &str) -> Result<(), ModelError> {
        // Products of two stay far from overflow below this.
        let sizes = [
            ("hidden_size", self.d_model),
            ("num_hidden_layers", self.n_layers),
            ("num_attention_heads", self.n_heads),
            ("num_key_value_heads", self.n_kv_heads),
            ("head_dim", self.head_dim),
            ("intermediate_size", self.intermediate_size),
            ("vocab_size", self.vocab_size),
            ("max_position_embeddings", self.max_position_embeddings),
        ];
        for (field, value) in sizes {
            if !(1..=1 << 24).contains(&value) {
                return Err(ModelError::config(origin, field, value, "1 to 16777216"));
            }
        }
        // Lists of layers are made before there are tensors to hold the number against.
        if self.n_layers > MOST_LAYERS {
            let expected = format!("1 to {MOST_LAYERS}");
            let field = "num_hidden_layers";
            return Err(ModelError::config(origin, field, self.n_layers, expected));
        }
        if let Some(window) = self.sliding_window
            && (window == 0 || self.qkv_bias)
        {
            let expected = "absent, or at least 1 in a model without biases";
            return Err(ModelError::config(
                origin,
                "sliding_window",
                window,
                expected,
            ));
        }
        if !self.n_heads.is_multiple_of(self.n_kv_heads) {
            let expected = format!("a divisor of the {} query heads", self.n_heads);
            return Err(ModelError::config(
                origin,
                "num_key_value_heads",
                self.n_kv_heads,
                expected,
            ));
        }
        if !self.head_dim.is_multiple_of(2) {
            let expected = "an even number: rotary positions turn pairs";
            return Err(ModelError::config(
                origin,
                "head_dim",
                self.head_dim,
                expected,
            ));
        }
        for (field, value) in [
            ("rms_norm_eps", self.rms_norm_eps),
            ("rope_theta", self.rope_theta),
        ] {
            if !(value.is_finite() && value > 0.0) {
                return Err(ModelError::config(origin, field, value, "a number above 0"));
            }
        }
        Ok(())
    }
}

/// The mixer that replaces attention, with the quirks of the published models as flags.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SsmConfig {
    /// [`MixerKind::Mamba1`] or [`MixerKind::Mamba2`]
    pub mixer: MixerKind,
    /// State size: 16 for Mamba1, `head_dim` for Mamba2
    pub d_state: usize,
    /// Width of the causal convolution
    pub d_conv: usize,
    /// Rank of the step size projection (Mamba1)
    pub dt_rank: usize,
    /// Chunk of the SSD scan, in tokens (Mamba2); changes speed, not results
    pub chunk_size: usize,
    /// How often the step size bias is added (Mamba1): 2 in published models, 1 in a plain Mamba
    pub dt_bias_multiplicity: u8,
    /// How key/value width is repeated to query width
    pub gqa_repeat: GqaRepeat,
    /// Repeat before the convolution (published Mamba1) or after it (published Mamba2)
    pub repeat_kv_before_conv: bool,
    /// The projections to x, B and C have the biases of values, keys and queries (in Mamba2, whose projection is one, the gate and
    /// the steps get some too)
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub in_proj_bias: bool,
}

impl SsmConfig {
    /// The mixer as published with "The Mamba in the Llama" (method 2.4 and 2.5), with biases where the attention of `llama` has them.
    pub fn published(mixer: MixerKind, llama: &LlamaConfig) -> Self {
        let is_mamba1 = mixer == MixerKind::Mamba1;
        Self {
            mixer,
            d_state: if is_mamba1 { 16 } else { llama.head_dim },
            d_conv: 4,
            dt_rank: llama.d_model.div_ceil(16),
            chunk_size: 256,
            dt_bias_multiplicity: if is_mamba1 { 2 } else { 1 },
            gqa_repeat: if is_mamba1 {
                GqaRepeat::ChunkN
            } else {
                GqaRepeat::Head
            },
            repeat_kv_before_conv: is_mamba1,
            in_proj_bias: llama.qkv_bias,
        }
    }

    /// Channels that pass the convolution.
    pub fn conv_channels(&self, llama: &LlamaConfig) -> usize {
        let (d_inner, d_xb) = (llama.d_inner(), llama.d_xb());
        match (self.mixer, self.repeat_kv_before_conv) {
            (MixerKind::Mamba1, true) => d_inner,
            (MixerKind::Mamba1, false) => d_xb,
            (_, true) => 3 * d_inner,
            (_, false) => d_inner + 2 * d_xb,
        }
    }

    /// Width of the pieces in which key/value width is repeated.
    pub(crate) fn repeat_width(&self, llama: &LlamaConfig) -> usize {
        match self.gqa_repeat {
            GqaRepeat::ChunkN => self.d_state,
            GqaRepeat::Head => llama.head_dim,
        }
    }

    /// Checks the mixer against the Transformer it goes into.
    ///
    /// # Errors
    /// [`ModelError::Config`] naming `origin` and the field.
    pub fn validate(&self, llama: &LlamaConfig, origin: &str) -> Result<(), ModelError> {
        let bad = |field: &str, found: String, expected: String| {
            Err(ModelError::config(origin, field, found, expected))
        };
        if self.mixer == MixerKind::Attention {
            return bad("mixer", "attention".into(), "mamba1 or mamba2".into());
        }
        for (field, value) in [
            ("d_state", self.d_state),
            ("d_conv", self.d_conv),
            ("dt_rank", self.dt_rank),
            ("chunk_size", self.chunk_size),
        ] {
            if !(1..=1 << 20).contains(&value) {
                return bad(field, value.to_string(), "1 to 1048576".into());
            }
        }
        if self.d_conv < 2 {
            return bad("d_conv", self.d_conv.to_string(), "at least 2".into());
        }
        if !(1..=2).contains(&self.dt_bias_multiplicity) {
            return bad(
                "dt_bias_multiplicity",
                self.dt_bias_multiplicity.to_string(),
                "1, or 2 for published models".into(),
            );
        }
        if self.mixer == MixerKind::Mamba2 && self.dt_bias_multiplicity != 1 {
            return bad("dt_bias_multiplicity", "2".into(), "1 for mamba2".into());
        }
        if self.mixer == MixerKind::Mamba2 && self.d_state != llama.head_dim {
            let expected = format!("head_dim, {}, for mamba2", llama.head_dim);
            return bad("d_state", self.d_state.to_string(), expected);
        }
        if !llama.d_xb().is_multiple_of(self.d_state) {
            let expected = format!("a divisor of the key/value width {}", llama.d_xb());
            return bad("d_state", self.d_state.to_string(), expected);
        }
        Ok(())
    }
}

/// A Transformer some of whose layers mix with an SSM in place of attention.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HybridConfig {
    /// Everything but the mixers
    pub llama: LlamaConfig,
    /// Layers that keep attention, ascending
    pub attn_layers: Vec<usize>,
    /// The mixer of the other layers; `None` when every layer keeps attention
    pub ssm: Option<SsmConfig>,
}

impl HybridConfig {
    /// The plain Transformer: attention in every layer.
    pub fn teacher(llama: LlamaConfig) -> Self {
        let attn_layers = (0..llama.n_layers).collect();
        Self {
            llama,
            attn_layers,
            ssm: None,
        }
    }

    /// What mixes tokens in layer `layer_idx`.
    pub fn mixer_kind(&self, layer_idx: usize) -> MixerKind {
        match &self.ssm {
            Some(ssm) if !self.attn_layers.contains(&layer_idx) => ssm.mixer,
            _ => MixerKind::Attention,
        }
    }

    /// The mixer of the layers without attention, if there is such a layer.
    pub fn used_ssm(&self) -> Option<&SsmConfig> {
        let is_used = self.attn_layers.len() < self.llama.n_layers;
        self.ssm.as_ref().filter(|_| is_used)
    }

    /// Kept attention layers / all layers.
    pub fn attention_ratio(&self) -> f64 {
        self.attn_layers.len() as f64 / self.llama.n_layers as f64
    }

    /// Checks sizes, layer indices and mixer against each other.
    ///
    /// # Errors
    /// [`ModelError::Config`] naming `origin` and the field.
    pub fn validate(&self, origin: &str) -> Result<(), ModelError> {
        self.llama.validate(origin)?;
        let n_layers = self.llama.n_layers;
        let is_ascending = self.attn_layers.windows(2).all(|pair| pair[0] < pair[1]);
        if !is_ascending
            || self
                .attn_layers
                .last()
                .is_some_and(|last| *last >= n_layers)
        {
            let found = format!("{:?}", self.attn_layers);
            let expected = format!("ascending layer indices below {n_layers}");
            return Err(ModelError::config(origin, "attn_layers", found, expected));
        }
        match &self.ssm {
            Some(ssm) => ssm.validate(&self.llama, origin),
            None if self.attn_layers.len() == n_layers => Ok(()),
            None => {
                let found = format!("{:?}", self.attn_layers);
                let expected = "every layer, for a model without an SSM mixer";
                Err(ModelError::config(origin, "attn_layers", found, expected))
            }
        }
    }
}
