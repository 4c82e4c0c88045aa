//! Mamba2 layers as those of the `granitehybrid` architecture: a Mamba2 with a group for each head, whose x and B are not repeated.
//!
//! Repeating a head's channels after the convolution is convolving repeated channels with repeated taps, so rows of the
//! projection and of the convolution are repeated in the file. The architecture's inner width is twice the model's, so heads of
//! zeros stand beside ours: they take memory, and add nothing.

use super::writer::GgufWriter;
use crate::config::{HybridConfig, SsmConfig};
use crate::error::ModelError;

/// Epsilon of the gated norm; the architecture has one for all norms.
const GATED_NORM_EPS: f64 = 1e-5;

/// Sizes under the keys of `architecture`.
pub(super) fn metadata(
    file: &mut GgufWriter,
    architecture: &str,
    config: &HybridConfig,
    ssm: &SsmConfig,
) -> Result<(), ModelError> {
    let llama = &config.llama;
    let invalid = |field: &str, found: String, expected: &str| {
        let origin = "model to export as GGUF";
        Err(ModelError::config(origin, field, found, expected))
    };
    if (llama.rms_norm_eps / GATED_NORM_EPS - 1.0).abs() > 1e-3 {
        let expected =
            "0.00001 as in the gated norm: GGUF has one for both (export with `--format hf`)";
        return invalid("rms_norm_eps", llama.rms_norm_eps.to_string(), expected);
    }
    if ssm.in_proj_bias {
        let expected = "false: GGUF's Mamba2 has no tensor for them (export with `--format hf`)";
        return invalid("in_proj_bias", "true".into(), expected);
    }
    if config.attn_layers.is_empty() {
        let expected =
            "one layer at least: the architecture mixes both (export with `--format hf`)";
        return invalid("attn_layers", "[]".into(), expected);
    }
    let inner = inner_width(config)?;
    let key = |name: &str| format!("{architecture}.{name}");
    let mut kv_heads = vec![0; llama.n_layers];
    for layer_idx in &config.attn_layers {
        kv_heads[*layer_idx] = llama.n_kv_heads as i32;
    }
    file.i32s(&key("attention.head_count_kv"), &kv_heads);
    // There it says whether attention has positions.
    file.boolean(&key("rope.scaling.finetuned"), true);
    for (name, value) in [
        ("ssm.conv_kernel", ssm.d_conv),
        ("ssm.inner_size", inner),
        ("ssm.state_size", ssm.d_state),
        ("ssm.time_step_rank", inner / llama.head_dim),
        ("ssm.group_count", inner / llama.head_dim),
    ] {
        file.size(&key(name), value);
    }
    Ok(())
}

/// Channels of the mixer in the file: twice the model's width, in whole heads.
fn inner_width(config: &HybridConfig) -> Result<usize, ModelError> {
    let llama = &config.llama;
    let inner = 2 * llama.d_model;
    if inner.is_multiple_of(llama.head_dim) && inner >= llama.d_inner() {
        return Ok(inner);
    }
    let expected = format!(
        "heads that fit {inner} channels, as GGUF's Mamba2 hybrids have (export with `--format hf`)"
    );
    let found = format!("{} for {} heads", llama.head_dim, llama.n_heads);
    let origin = "model to export as GGUF";
    Err(ModelError::config(origin, "head_dim", found, expected))
}

/// Rows of one kind in the mixer's tensors.
struct Part {
    rows: usize,
    /// Repeated head by head up to query width
    is_shared: bool,
    /// Rows in the file, those after ours zeros
    padded: usize,
}

/// The tensor `name` of the mixer at `place`, `blk.N`.
pub(super) fn tensor(
    file: &mut GgufWriter,
    place: &str,
    name: &str,
    values: &[f32],
    config: &HybridConfig,
    ssm: &SsmConfig,
) -> Result<(), ModelError> {
    let llama = &config.llama;
    let inner = inner_width(config)?;
    let (d_model, heads) = (llama.d_model, inner / llama.head_dim);
    let per_head = Part {
        rows: llama.n_heads,
        is_shared: false,
        padded: heads,
    };
    let own = || Part {
        rows: llama.d_inner(),
        is_shared: false,
        padded: inner,
    };
    let shared = || Part {
        rows: llama.d_xb(),
        is_shared: true,
        padded: inner,
    };
    let arranged = |parts: &[Part], width: usize| {
        let mut rows = Vec::new();
        let (mut start, mut end) = (0, 0);
        for part in parts {
            let held = &values[start..start + part.rows * width];
            match part.is_shared {
                true => held
                    .chunks(llama.head_dim * width)
                    .for_each(|head| rows.extend(head.repeat(llama.heads_per_kv()))),
                false => rows.extend(held),
            }
            start += held.len();
            end += part.padded * width;
            rows.resize(end, 0.0);
        }
        rows
    };
    let convolved = match ssm.repeat_kv_before_conv {
        true => [own(), own(), own()],
        false => [shared(), shared(), own()],
    };
    let named = |name: &str| format!("{place}.{name}");
    match name {
        "in_proj.weight" => {
            let parts = [own(), shared(), shared(), own(), per_head];
            let rows = arranged(&parts, d_model);
            let shape = [rows.len() / d_model, d_model];
            file.matrix(&named("ssm_in.weight"), &shape, &rows)
        }
        "out_proj.weight" => {
            let rows = values.chunks(llama.d_inner());
            let zeros = vec![0.0; inner - llama.d_inner()];
            let rows = rows.flat_map(|row| row.iter().chain(&zeros).copied());
            let rows: Vec<f32> = rows.collect();
            file.matrix(&named("ssm_out.weight"), &[d_model, inner], &rows)
        }
        "conv1d.weight" => {
            let taps = arranged(&convolved, ssm.d_conv);
            let shape = [taps.len() / ssm.d_conv, ssm.d_conv];
            file.exact(&named("ssm_conv1d.weight"), &shape, &taps)
        }
        "conv1d.bias" => {
            let bias = arranged(&convolved, 1);
            file.exact(&named("ssm_conv1d.bias"), &[bias.len()], &bias)
        }
        "dt_bias" => file.exact(&named("ssm_dt.bias"), &[heads], &arranged(&[per_head], 1)),
        "A_log" => {
            let a: Vec<f32> = arranged(&[per_head], 1)
                .iter()
                .map(|log| -log.exp())
                .collect();
            file.exact(&named("ssm_a"), &[heads, 1], &a)
        }
        "D" => file.exact(&named("ssm_d"), &[heads, 1], &arranged(&[per_head], 1)),
        "norm.weight" => {
            let gamma = arranged(&[own()], 1);
            let shape = [heads, llama.head_dim];
            file.exact(&named("ssm_norm.weight"), &shape, &gamma)
        }
        other => {
            let expected = "a tensor of the published Mamba2";
            Err(ModelError::config(place, "tensor", other, expected))
        }
    }
}
