//! A Llama model in a GGUF file: its configuration, and its tensors under Hugging Face keys.

use std::collections::BTreeSet;

use burn::tensor::TensorData;
use kernels::SsmBackend;

use super::header::{GgufFile, Value};
use crate::config::{HybridConfig, LlamaConfig};
use crate::error::ModelError;
use crate::hybrid::HybridModel;

/// Layer tensors: GGUF name, Hugging Face name.
pub(crate) const LAYER_KEYS: [(&str, &str); 9] = [
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];

/// Tensors outside the layers: GGUF name, Hugging Face name.
pub(crate) const MODEL_KEYS: [(&str, &str); 3] = [
    ("token_embd.weight", "model.embed_tokens.weight"),
    ("output_norm.weight", "model.norm.weight"),
    ("output.weight", "lm_head.weight"),
];

/// Metadata that names the tokens at which a reply ends.
const END_TOKEN_KEYS: [&str; 2] = ["tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"];

/// The configuration of the Llama model in `file`.
///
/// # Errors
/// [`ModelError::Gguf`] for another architecture, for scaled RoPE, for experts, and for metadata
/// that is missing or contradicts itself.
pub fn llama_config(file: &GgufFile) -> Result<LlamaConfig, ModelError> {
    let architecture = file.text("general.architecture")?.unwrap_or("none");
    if architecture != "llama" {
        let found = format!("`{architecture}`");
        return Err(file.invalid("`general.architecture`", found, "`llama`"));
    }
    refuse_variants(file)?;
    let d_model = size(file, "llama.embedding_length")?;
    let n_heads = size(file, "llama.attention.head_count")?;
    let n_kv_heads = match file.unsigned("llama.attention.head_count_kv")? {
        Some(_) => size(file, "llama.attention.head_count_kv")?,
        None => n_heads,
    };
    let rope_dims = file.unsigned("llama.rope.dimension_count")?;
    let head_dim = match file.unsigned("llama.attention.key_length")?.or(rope_dims) {
        Some(value) => value as usize,
        None => d_model / n_heads,
    };
    for (key, found) in [
        ("llama.rope.dimension_count", rope_dims),
        (
            "llama.attention.value_length",
            file.unsigned("llama.attention.value_length")?,
        ),
    ] {
        if found.is_some_and(|found| found != head_dim as u64) {
            let found = format!("{}", found.unwrap_or_default());
            return Err(file.invalid(
                format!("`{key}`"),
                found,
                format!("the head size {head_dim}"),
            ));
        }
    }
    if n_heads % n_kv_heads != 0 {
        let found = format!("{n_kv_heads} with {n_heads} query heads");
        return Err(file.invalid("`llama.attention.head_count_kv`", found, "a divisor"));
    }
    if head_dim == 0 || head_dim % 2 != 0 {
        return Err(file.invalid(
            "the head size",
            head_dim.to_string(),
            "an even number above 0",
        ));
    }
    let eps_key = "llama.attention.layer_norm_rms_epsilon";
    let rms_norm_eps = file.float(eps_key)?.ok_or_else(|| missing(file, eps_key))?;
    let rope_theta = file.float("llama.rope.freq_base")?.unwrap_or(10_000.0);
    let embedding = file.tensors().get("token_embd.weight");
    let embedding = embedding.ok_or_else(|| missing(file, "token_embd.weight"))?;
    let mut eos_token_ids = Vec::new();
    for key in END_TOKEN_KEYS {
        if let Some(id) = token_id(file, key)?.filter(|id| !eos_token_ids.contains(id)) {
            eos_token_ids.push(id);
        }
    }
    let n_layers = size(file, "llama.block_count")?;
    // Everything below is sized by the layer count, so it is held against the table first.
    if n_layers * LAYER_KEYS.len() > file.tensors().len() {
        let found = format!("{n_layers} with {} tensors", file.tensors().len());
        let expected = format!("{} tensors a layer", LAYER_KEYS.len());
        return Err(file.invalid("`llama.block_count`", found, expected));
    }
    Ok(LlamaConfig {
        d_model,
        n_layers,
        n_heads,
        n_kv_heads,
        head_dim,
        intermediate_size: size(file, "llama.feed_forward_length")?,
        vocab_size: embedding.shape[0],
        rope_theta,
        rope_scaling: None,
        rms_norm_eps,
        tie_word_embeddings: !file.tensors().contains_key("output.weight"),
        max_position_embeddings: size(file, "llama.context_length")?,
        sliding_window: None,
        qkv_bias: file.tensors().contains_key("blk.0.attn_q.bias"),
        bos_token_id: token_id(file, "tokenizer.ggml.bos_token_id")?,
        eos_token_ids,
    })
}

/// All tensors of the Llama model in `file` as `f32` under Hugging Face keys, `[out, in]`.
///
/// Query and key rows are stored with the two halves of each head interleaved; they are put back in
/// Hugging Face order (half-split RoPE). Shapes are checked against `config`.
///
/// # Errors
/// [`ModelError::Gguf`] when a tensor is missing, unknown or of another shape than `config` says.
pub fn llama_tensors(
    file: &GgufFile,
    config: &LlamaConfig,
) -> Result<Vec<(String, TensorData)>, ModelError> {
    let wanted = wanted_tensors(config);
    let names: BTreeSet<&str> = wanted.iter().map(|want| want.stored.as_str()).collect();
    if let Some(name) = file
        .tensors()
        .keys()
        .find(|name| !names.contains(name.as_str()))
    {
        let expected = "only the tensors of a Llama model";
        return Err(file.invalid(format!("tensor `{name}`"), "it", expected));
    }
    // Every shape before any value: a wrong file fails at once.
    for want in &wanted {
        let found = file
            .tensors()
            .get(&want.stored)
            .ok_or_else(|| missing(file, &want.stored))?;
        if found.shape != want.shape {
            let field = format!("tensor `{}`", want.stored);
            let found = format!("shape {:?}", found.shape);
            return Err(file.invalid(field, found, format!("{:?} by the metadata", want.shape)));
        }
    }
    let mut tensors = Vec::with_capacity(wanted.len());
    for want in wanted {
        let (shape, mut values) = file.tensor(&want.stored)?;
        if let Some(heads) = want.interleaved_heads {
            let columns = values.len() / (heads * config.head_dim);
            values = unpermute(&values, heads, config.head_dim, columns);
        }
        tensors.push((want.key, TensorData::new(values, shape)));
    }
    Ok(tensors)
}

/// The Llama model in `file` on `device`.
///
/// # Errors
/// As [`llama_config`] and [`llama_tensors`].
pub fn load_llama<B: SsmBackend>(
    file: &GgufFile,
    device: &B::Device,
) -> Result<HybridModel<B>, ModelError> {
    let llama = llama_config(file)?;
    let tensors = llama_tensors(file, &llama)?;
    HybridModel::load_named(&HybridConfig::teacher(llama), tensors, device)
}

/// A tensor the configuration asks for.
struct Wanted {
    stored: String,
    key: String,
    shape: Vec<usize>,
    interleaved_heads: Option<usize>,
}

fn wanted_tensors(config: &LlamaConfig) -> Vec<Wanted> {
    let (d, ff) = (config.d_model, config.intermediate_size);
    let q = config.n_heads * config.head_dim;
    let kv = config.n_kv_heads * config.head_dim;
    let mut wanted = Vec::new();
    for (stored, key) in MODEL_KEYS {
        if stored == "output.weight" && config.tie_word_embeddings {
            continue;
        }
        let shape = if stored == "output_norm.weight" {
            vec![d]
        } else {
            vec![config.vocab_size, d]
        };
        wanted.push(Wanted {
            stored: stored.to_string(),
            key: key.to_string(),
            shape,
            interleaved_heads: None,
        });
    }
    for layer_idx in 0..config.n_layers {
        for (stored, key) in LAYER_KEYS {
            let (shape, interleaved_heads) = match stored {
                "attn_q" => (vec![q, d], Some(config.n_heads)),
                "attn_k" => (vec![kv, d], Some(config.n_kv_heads)),
                "attn_v" => (vec![kv, d], None),
                "attn_output" => (vec![d, q], None),
                "ffn_gate" | "ffn_up" => (vec![ff, d], None),
                "ffn_down" => (vec![d, ff], None),
                _ => (vec![d], None),
            };
            let has_bias = matches!(stored, "attn_q" | "attn_k" | "attn_v") && config.qkv_bias;
            let bias = has_bias.then(|| ("bias", vec![shape[0]]));
            for (kind, shape) in [("weight", shape)].into_iter().chain(bias) {
                wanted.push(Wanted {
                    stored: format!("blk.{layer_idx}.{stored}.{kind}"),
                    key: format!("model.layers.{layer_idx}.{key}.{kind}"),
                    shape,
                    interleaved_heads,
                });
            }
        }
    }
    wanted
}

/// Stored row `2i` of a head is row `i`, stored row `2i + 1` is row `i + head_dim / 2`.
pub(super) fn unpermute(values: &[f32], heads: usize, head_dim: usize, columns: usize) -> Vec<f32> {
    let half = head_dim / 2;
    let mut rows = Vec::with_capacity(values.len());
    for head in 0..heads {
        for row in 0..head_dim {
            let stored = head * head_dim + 2 * (row % half) + row / half;
            rows.extend_from_slice(&values[stored * columns..(stored + 1) * columns]);
        }
    }
    rows
}

/// Variants of Llama whose arithmetic differs from ours: better no model than a wrong one.
fn refuse_variants(file: &GgufFile) -> Result<(), ModelError> {
    let cure = "none (load the Hugging Face directory of this model instead)";
    if let Some(kind) = file
        .text("llama.rope.scaling.type")?
        .filter(|kind| *kind != "none")
    {
        return Err(file.invalid("`llama.rope.scaling.type`", format!("`{kind}`"), cure));
    }
    for key in ["llama.rope.scaling.factor", "llama.rope.scale_linear"] {
        if let Some(factor) = file
            .float(key)?
            .filter(|factor| *factor != 1.0 && *factor != 0.0)
        {
            return Err(file.invalid(format!("`{key}`"), factor.to_string(), cure));
        }
    }
    if file.tensors().contains_key("rope_freqs.weight") {
        return Err(file.invalid("tensor `rope_freqs.weight`", "scaled RoPE", cure));
    }
    if let Some(count) = file
        .unsigned("llama.expert_count")?
        .filter(|count| *count > 0)
    {
        return Err(file.invalid(
            "`llama.expert_count`",
            count.to_string(),
            "0: a dense model",
        ));
    }
    if let Some(Value::Array(_)) = file.metadata().get("llama.attention.head_count_kv") {
        let found = "a number for each layer";
        return Err(file.invalid(
            "`llama.attention.head_count_kv`",
            found,
            "one for all layers",
        ));
    }
    Ok(())
}

fn size(file: &GgufFile, key: &str) -> Result<usize, ModelError> {
    // Sizes are multiplied with each other; 2^24 keeps every product of two far from overflow.
    match file.unsigned(key)? {
        None => Err(missing(file, key)),
        Some(value) if (1..=1 << 24).contains(&value) => Ok(value as usize),
        Some(value) => Err(file.invalid(
            format!("`{key}`"),
            value.to_string(),
            "between 1 and 16777216",
        )),
    }
}

fn token_id(file: &GgufFile, key: &str) -> Result<Option<u32>, ModelError> {
    let Some(value) = file.unsigned(key)? else {
        return Ok(None);
    };
    let id = u32::try_from(value);
    id.map(Some)
        .map_err(|_| file.invalid(format!("`{key}`"), value.to_string(), "a token id"))
}

fn missing(file: &GgufFile, name: &str) -> ModelError {
    file.invalid(format!("`{name}`"), "nothing", "it, as in every Llama GGUF")
}
