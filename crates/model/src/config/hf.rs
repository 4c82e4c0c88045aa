//! Hugging Face `config.json` in and out.

use serde_json::{Map, Value, json};

use super::{LlamaConfig, RopeScaling};
use crate::error::ModelError;

/// Architectures whose arithmetic is the one built here.
const MODEL_TYPES: [&str; 3] = ["llama", "mistral", "qwen2"];

/// Fields that change the arithmetic, with the only value that does not.
const NEUTRAL: [(&str, Neutral); 9] = [
    ("use_sliding_window", Neutral::False),
    ("attention_bias", Neutral::False),
    ("mlp_bias", Neutral::False),
    ("rope_interleaved", Neutral::False),
    ("qk_layernorm", Neutral::False),
    ("use_qk_norm", Neutral::False),
    ("partial_rotary_factor", Neutral::One),
    ("quantization_config", Neutral::Null),
    ("num_local_experts", Neutral::Null),
];

#[derive(Clone, Copy)]
enum Neutral {
    False,
    One,
    Null,
}

impl LlamaConfig {
    /// Reads a Hugging Face `config.json`; `origin` is named in errors.
    ///
    /// `head_dim` is `hidden_size / num_attention_heads` where absent, `eos_token_id` may be a
    /// number or a list, and rotary settings may sit in `rope_parameters`. A sliding window that
    /// is not shorter than the context is none. `qwen2` has biases of queries, keys and values, and no window unless it says so.
    ///
    /// # Errors
    /// [`ModelError::Config`] for a missing field, and for a value this crate does not compute.
    pub fn from_hf(config: &Value, origin: &str) -> Result<Self, ModelError> {
        let fields = Fields {
            map: object(config, origin)?,
            origin,
        };
        fields.refuse_variants()?;
        let d_model = fields.size("hidden_size")?;
        let n_heads = fields.size("num_attention_heads")?;
        let head_dim = match fields.optional_size("head_dim")? {
            Some(head_dim) => head_dim,
            None if n_heads > 0 && d_model % n_heads == 0 => d_model / n_heads,
            None => {
                let expected = format!("a divisor of `hidden_size` {d_model}, or give `head_dim`");
                return Err(fields.invalid("num_attention_heads", n_heads, expected));
            }
        };
        let (rope_theta, rope_scaling) = fields.rope()?;
        let max_position_embeddings = fields
            .optional_size("max_position_embeddings")?
            .unwrap_or(2048);
        let qkv_bias = fields.get("model_type").is_some_and(|kind| kind == "qwen2");
        let sliding_window = match qkv_bias {
            true => None,
            false => fields.optional_size("sliding_window")?,
        };
        let llama = Self {
            d_model,
            n_layers: fields.size("num_hidden_layers")?,
            n_heads,
            n_kv_heads: fields
                .optional_size("num_key_value_heads")?
                .unwrap_or(n_heads),
            head_dim,
            intermediate_size: fields.size("intermediate_size")?,
            vocab_size: fields.size("vocab_size")?,
            rope_theta,
            rope_scaling,
            rms_norm_eps: fields.number("rms_norm_eps")?.unwrap_or(1e-6),
            tie_word_embeddings: fields.flag("tie_word_embeddings")?,
            max_position_embeddings,
            sliding_window: sliding_window.filter(|window| *window < max_position_embeddings),
            qkv_bias,
            bos_token_id: fields.token_ids("bos_token_id")?.first().copied(),
            eos_token_ids: fields.token_ids("eos_token_id")?,
        };
        llama.validate(origin)?;
        Ok(llama)
    }

    /// The configuration under the keys of a Hugging Face `config.json`.
    pub fn to_hf(&self) -> Value {
        let rope_scaling = self.rope_scaling.map(|scaling| {
            json!({
                "rope_type": "llama3",
                "factor": scaling.factor,
                "low_freq_factor": scaling.low_freq_factor,
                "high_freq_factor": scaling.high_freq_factor,
                "original_max_position_embeddings": scaling.original_max_position_embeddings,
            })
        });
        let eos = match self.eos_token_ids.as_slice() {
            [] => Value::Null,
            [one] => json!(one),
            several => json!(several),
        };
        let (architecture, model_type) = match (self.qkv_bias, self.sliding_window) {
            (true, _) => ("Qwen2ForCausalLM", "qwen2"),
            (false, Some(_)) => ("MistralForCausalLM", "mistral"),
            (false, None) => ("LlamaForCausalLM", "llama"),
        };
        let mut json = json!({
            "architectures": [architecture],
            "model_type": model_type,
            "hidden_size": self.d_model,
            "num_hidden_layers": self.n_layers,
            "num_attention_heads": self.n_heads,
            "num_key_value_heads": self.n_kv_heads,
            "head_dim": self.head_dim,
            "intermediate_size": self.intermediate_size,
            "vocab_size": self.vocab_size,
            "hidden_act": "silu",
            "attention_bias": false,
            "mlp_bias": false,
            "rope_theta": self.rope_theta,
            "rope_scaling": rope_scaling,
            "rms_norm_eps": self.rms_norm_eps,
            "tie_word_embeddings": self.tie_word_embeddings,
            "max_position_embeddings": self.max_position_embeddings,
            "bos_token_id": self.bos_token_id,
            "eos_token_id": eos,
        });
        if let Some(window) = self.sliding_window {
            json["sliding_window"] = json!(window);
        }
        json
    }
}

impl TryFrom<Value> for LlamaConfig {
    type Error = ModelError;

    fn try_from(config: Value) -> Result<Self, ModelError> {
        Self::from_hf(&config, "llama configuration")
    }
}

impl From<LlamaConfig> for Value {
    fn from(config: LlamaConfig) -> Self {
        config.to_hf()
    }
}

/// `value` as a JSON object; `origin` is named in the error.
pub(crate) fn object<'a>(
    value: &'a Value,
    origin: &str,
) -> Result<&'a Map<String, Value>, ModelError> {
    let is = || ModelError::config(origin, "the whole file", "no JSON object", "a JSON object");
    value.as_object().ok_or_else(is)
}

/// Typed access to the fields of a JSON object; `null` reads as absent.
pub(crate) struct Fields<'a> {
    pub(crate) map: &'a Map<String, Value>,
    pub(crate) origin: &'a str,
}

impl<'a> Fields<'a> {
    pub(crate) fn invalid(
        &self,
        field: &str,
        found: impl ToString,
        expected: impl Into<String>,
    ) -> ModelError {
        ModelError::config(self.origin, field, found, expected)
    }

    pub(crate) fn get(&self, field: &str) -> Option<&'a Value> {
        self.map.get(field).filter(|value| !value.is_null())
    }

    pub(crate) fn optional_size(&self, field: &str) -> Result<Option<usize>, ModelError> {
        let Some(value) = self.get(field) else {
            return Ok(None);
        };
        let size = value.as_u64().and_then(|size| usize::try_from(size).ok());
        size.map(Some)
            .ok_or_else(|| self.invalid(field, value, "a whole number"))
    }

    pub(crate) fn size(&self, field: &str) -> Result<usize, ModelError> {
        self.optional_size(field)?
            .ok_or_else(|| self.invalid(field, "absent", "a whole number"))
    }

    pub(crate) fn number(&self, field: &str) -> Result<Option<f64>, ModelError> {
        let Some(value) = self.get(field) else {
            return Ok(None);
        };
        value
            .as_f64()
            .map(Some)
            .ok_or_else(|| self.invalid(field, value, "a number"))
    }

    pub(crate) fn flag(&self, field: &str) -> Result<bool, ModelError> {
        let Some(value) = self.get(field) else {
            return Ok(false);
        };
        value
            .as_bool()
            .ok_or_else(|| self.invalid(field, value, "true or false"))
    }

    fn token_ids(&self, field: &str) -> Result<Vec<u32>, ModelError> {
        let Some(value) = self.get(field) else {
            return Ok(Vec::new());
        };
        let values = value
            .as_array()
            .map_or(std::slice::from_ref(value), Vec::as_slice);
        let mut ids = Vec::with_capacity(values.len());
        for value in values {
            let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
            ids.push(id.ok_or_else(|| self.invalid(field, value, "a token id or a list of them"))?);
        }
        Ok(ids)
    }

    fn refuse_variants(&self) -> Result<(), ModelError> {
        if let Some(kind) = self.get("model_type")
            && !MODEL_TYPES.iter().any(|known| kind == known)
        {
            return Err(self.invalid("model_type", kind, "\"llama\", \"mistral\" or \"qwen2\""));
        }
        if let Some(act) = self
            .get("hidden_act")
            .filter(|act| *act != "silu" && *act != "swish")
        {
            return Err(self.invalid("hidden_act", act, "\"silu\""));
        }
        for (field, neutral) in NEUTRAL {
            let Some(value) = self.get(field) else {
                continue;
            };
            let (is_neutral, expected) = match neutral {
                Neutral::False => (value.as_bool() == Some(false), "false"),
                Neutral::One => (value.as_f64() == Some(1.0), "1"),
                Neutral::Null => (false, "absent: such models are not supported"),
            };
            if !is_neutral {
                return Err(self.invalid(field, value, expected));
            }
        }
        Ok(())
    }

    /// Base and scaling, from `rope_theta` and `rope_scaling`, or from `rope_parameters`.
    fn rope(&self) -> Result<(f64, Option<RopeScaling>), ModelError> {
        let mut theta = self.number("rope_theta")?;
        let mut scaling = None;
        for field in ["rope_scaling", "rope_parameters"] {
            let Some(value) = self.get(field) else {
                continue;
            };
            let map = value
                .as_object()
                .ok_or_else(|| self.invalid(field, value, "an object"))?;
            let origin = format!("{}: `{field}`", self.origin);
            let rope = Fields {
                map,
                origin: &origin,
            };
            theta = rope.number("rope_theta")?.or(theta);
            scaling = rope.rope_scaling(self.optional_size("max_position_embeddings")?)?;
        }
        Ok((theta.unwrap_or(10_000.0), scaling))
    }

    fn rope_scaling(&self, context: Option<usize>) -> Result<Option<RopeScaling>, ModelError> {
        let kind = self.get("rope_type").or_else(|| self.get("type"));
        match kind.map(|kind| (kind.as_str(), kind)) {
            None | Some((Some("default"), _)) => return Ok(None),
            Some((Some("llama3"), _)) => {}
            Some((_, kind)) => {
                let expected = "\"default\" or \"llama3\" (other scalings are not computed here)";
                return Err(self.invalid("rope_type", kind, expected));
            }
        }
        let need = |field: &str| {
            self.number(field)?
                .filter(|value| *value > 0.0)
                .ok_or_else(|| self.invalid(field, "absent or not positive", "a number above 0"))
        };
        let scaling = RopeScaling {
            factor: need("factor")?,
            low_freq_factor: need("low_freq_factor")?,
            high_freq_factor: need("high_freq_factor")?,
            original_max_position_embeddings: self
                .optional_size("original_max_position_embeddings")?
                .or(context)
                .ok_or_else(|| {
                    self.invalid(
                        "original_max_position_embeddings",
                        "absent",
                        "a whole number",
                    )
                })?,
        };
        if scaling.high_freq_factor <= scaling.low_freq_factor {
            let expected = format!("above `low_freq_factor` {}", scaling.low_freq_factor);
            return Err(self.invalid("high_freq_factor", scaling.high_freq_factor, expected));
        }
        Ok(Some(scaling))
    }
}

#[cfg(test)]
mod tests;
