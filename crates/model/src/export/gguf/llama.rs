//! What `llama` and `granitehybrid` files have in common: sizes, attention, MLPs, norms.

use super::writer::GgufWriter;
use crate::config::{HybridConfig, LlamaConfig};
use crate::error::ModelError;
use crate::load::gguf::{LAYER_KEYS, MODEL_KEYS};
use crate::rope::frequencies;

/// Sizes under the keys of `architecture`.
pub(super) fn metadata(file: &mut GgufWriter, architecture: &str, config: &HybridConfig) {
    let llama = &config.llama;
    // These architectures have no window; up to it both models are the same.
    let context = llama.max_position_embeddings;
    let context = llama.sliding_window.map_or(context, |w| w.min(context));
    let key = |name: &str| format!("{architecture}.{name}");
    for (name, value) in [
        ("context_length", context),
        ("embedding_length", llama.d_model),
        ("block_count", llama.n_layers),
        ("feed_forward_length", llama.intermediate_size),
        ("attention.head_count", llama.n_heads),
        ("attention.key_length", llama.head_dim),
        ("attention.value_length", llama.head_dim),
        ("rope.dimension_count", llama.head_dim),
        ("vocab_size", llama.vocab_size),
    ] {
        file.size(&key(name), value);
    }
    if config.used_ssm().is_none() {
        file.size(&key("attention.head_count_kv"), llama.n_kv_heads);
    }
    file.f32(&key("rope.freq_base"), llama.rope_theta);
    file.f32(&key("attention.layer_norm_rms_epsilon"), llama.rms_norm_eps);
}

/// One tensor of the Transformer under its GGUF name.
pub(super) fn tensor(
    file: &mut GgufWriter,
    key: &str,
    shape: Vec<usize>,
    values: Vec<f32>,
    llama: &LlamaConfig,
) -> Result<(), ModelError> {
    let name = gguf_name(key).ok_or_else(|| {
        let expected = "a tensor that GGUF has a name for (export with `--format hf`)";
        ModelError::config("model to export as GGUF", "tensor", key, expected)
    })?;
    let heads = match name.split('.').nth(2) {
        Some("attn_q") => Some(llama.n_heads),
        Some("attn_k") => Some(llama.n_kv_heads),
        _ => None,
    };
    let values = match heads {
        Some(heads) => interleave(&values, heads, llama.head_dim),
        None => values,
    };
    match shape.len() {
        1 => file.exact(&name, &shape, &values),
        _ => file.matrix(&name, &shape, &values),
    }
}

/// The name in a GGUF file of a Hugging Face key.
fn gguf_name(key: &str) -> Option<String> {
    if let Some((name, _)) = MODEL_KEYS.iter().find(|(_, hf)| *hf == key) {
        return Some((*name).to_owned());
    }
    let (layer_idx, rest) = key.strip_prefix("model.layers.")?.split_once('.')?;
    let (tensor, kind) = rest.rsplit_once('.')?;
    let (name, _) = LAYER_KEYS.iter().find(|(_, hf)| *hf == tensor)?;
    Some(format!("blk.{layer_idx}.{name}.{kind}"))
}

/// Rows `i` and `i + head_dim / 2` of a head become rows `2 i` and `2 i + 1`: rotary positions turn neighbours there.
fn interleave(values: &[f32], heads: usize, head_dim: usize) -> Vec<f32> {
    let (half, width) = (head_dim / 2, values.len() / (heads * head_dim));
    let mut rows = Vec::with_capacity(values.len());
    for head in 0..heads {
        for row in 0..head_dim {
            let held = head * head_dim + row % 2 * half + row / 2;
            rows.extend_from_slice(&values[held * width..][..width]);
        }
    }
    rows
}

/// Of scaled rotary positions, what each plain frequency is divided by.
pub(super) fn rope_factors(file: &mut GgufWriter, llama: &LlamaConfig) -> Result<(), ModelError> {
    if llama.rope_scaling.is_none() {
        return Ok(());
    }
    let plain = LlamaConfig {
        rope_scaling: None,
        ..llama.clone()
    };
    let pairs = frequencies(&plain).into_iter().zip(frequencies(llama));
    let factors: Vec<f32> = pairs
        .map(|(plain, scaled)| (plain / scaled) as f32)
        .collect();
    file.exact("rope_freqs.weight", &[factors.len()], &factors)
}
