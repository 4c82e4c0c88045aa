//! The fields of a published `mamba_config.json`, each held against `config.json` and what is computed here (method section 10).

use std::path::Path;

use burn::tensor::TensorData;
use serde_json::{Map, Value};

use crate::config::{Fields, LlamaConfig, MixerKind, SsmConfig};
use crate::error::ModelError;

/// Sizes and the value that the published code takes where a file leaves one out.
const DEFAULTS: [(&str, usize); 4] = [
    ("d_model", 2560),
    ("d_xb", 2560),
    ("intermediate_size", 10240),
    ("n_layer", 32),
];
const DEFAULT_EPS: f64 = 1e-5;
const DEFAULT_EXPAND: usize = 2;

/// Fields of `ssm_cfg` that change the arithmetic, with the only value computed here.
const NEUTRAL: [(&str, bool); 7] = [
    ("proj_x_bias", false),
    ("proj_z_bias", false),
    ("out_proj_bias", false),
    ("conv_bias", true),
    ("rmsnorm", true),
    ("norm_before_gate", false),
    ("D_has_hdim", false),
];

/// Fields of `ssm_cfg` that only say how fresh weights are drawn or which kernel runs.
const WITHOUT_EFFECT: [&str; 11] = [
    "dt_min",
    "dt_max",
    "dt_init",
    "dt_scale",
    "dt_init_floor",
    "A_init_range",
    "conv_init",
    "headdim",
    "use_fast_path",
    "use_mem_eff_path",
    "sequence_parallel",
];

/// Fields of `ssm_cfg` that are read one by one.
const READ: [&str; 9] = [
    "bias",
    "expand",
    "ngroups",
    "d_state",
    "d_conv",
    "d_ssm",
    "dt_rank",
    "chunk_size",
    "repeat_kv_before_conv",
];

/// Checks that both configuration files describe the same Transformer.
pub(super) fn check_widths(llama: &LlamaConfig, fields: &Fields<'_>) -> Result<(), ModelError> {
    let as_config = |value: &dyn std::fmt::Display| format!("{value}, as `config.json` says");
    let ours = [
        llama.d_model,
        llama.d_xb(),
        llama.intermediate_size,
        llama.n_layers,
    ];
    for ((field, default), expected) in DEFAULTS.into_iter().zip(ours) {
        match fields.optional_size(field)? {
            Some(found) if found != expected => {
                return Err(fields.invalid(field, found, as_config(&expected)));
            }
            None if default != expected => {
                let found = format!("absent, which means {default}");
                return Err(fields.invalid(field, found, as_config(&expected)));
            }
            _ => {}
        }
    }
    let d_inner = fields.optional_size("d_inner")?;
    if let Some(found) = d_inner.filter(|found| *found != llama.d_inner()) {
        return Err(fields.invalid("d_inner", found, as_config(&llama.d_inner())));
    }
    if d_inner.is_none() {
        let expand = with_ssm_cfg(fields, |cfg| cfg.optional_size("expand"))?;
        let expand = expand.unwrap_or(DEFAULT_EXPAND);
        if expand.checked_mul(llama.d_model) != Some(llama.d_inner()) {
            let found = format!("null, which means `expand` {expand} times `d_model`");
            return Err(fields.invalid("d_inner", found, as_config(&llama.d_inner())));
        }
    }
    let eps = fields.number("rms_norm_eps")?.unwrap_or(DEFAULT_EPS);
    if (eps / llama.rms_norm_eps - 1.0).abs() > 1e-6 {
        return Err(fields.invalid("rms_norm_eps", eps, as_config(&llama.rms_norm_eps)));
    }
    let vocab_size = fields.optional_size("vocab_size")?;
    if let Some(found) = vocab_size.filter(|found| *found != llama.vocab_size) {
        let expected = format!("null or {}", as_config(&llama.vocab_size));
        return Err(fields.invalid("vocab_size", found, expected));
    }
    match fields.get("hidden_act") {
        Some(act) if act != "silu" && act != "swish" => {
            Err(fields.invalid("hidden_act", act, "\"silu\""))
        }
        _ => Ok(()),
    }
}

/// The mixer that a published `ssm_cfg` means, with the published quirks: Mamba2 has `ngroups`.
pub(super) fn mixer(llama: &LlamaConfig, fields: &Fields<'_>) -> Result<SsmConfig, ModelError> {
    with_ssm_cfg(fields, |cfg| {
        refuse_variants(cfg)?;
        let ngroups = cfg.optional_size("ngroups")?;
        let kind = match ngroups {
            Some(_) => MixerKind::Mamba2,
            None => MixerKind::Mamba1,
        };
        if let Some(found) = ngroups.filter(|found| *found != llama.n_heads) {
            let expected = format!(
                "{}, one for each query head of `config.json`",
                llama.n_heads
            );
            return Err(cfg.invalid("ngroups", found, expected));
        }
        let d_ssm = cfg.optional_size("d_ssm")?;
        if let Some(found) = d_ssm.filter(|found| *found != llama.d_inner()) {
            let expected = format!("absent or {}: all channels", llama.d_inner());
            return Err(cfg.invalid("d_ssm", found, expected));
        }
        let mut ssm = SsmConfig::published(kind, llama);
        // What the published mixers take where a file leaves it out.
        let d_state = if kind == MixerKind::Mamba2 { 128 } else { 16 };
        ssm.d_state = cfg.optional_size("d_state")?.unwrap_or(d_state);
        ssm.d_conv = cfg.optional_size("d_conv")?.unwrap_or(ssm.d_conv);
        ssm.chunk_size = cfg.optional_size("chunk_size")?.unwrap_or(ssm.chunk_size);
        if cfg.get("dt_rank").is_some_and(|rank| rank != "auto") {
            ssm.dt_rank = cfg.size("dt_rank")?;
        }
        if cfg.get("repeat_kv_before_conv").is_some() {
            let is_before = cfg.flag("repeat_kv_before_conv")?;
            if kind == MixerKind::Mamba1 && !is_before {
                let expected = "true: the published Mamba1 convolves what is repeated";
                return Err(cfg.invalid("repeat_kv_before_conv", is_before, expected));
            }
            ssm.repeat_kv_before_conv = is_before;
        }
        ssm.in_proj_bias = cfg.get("bias").is_some() && cfg.flag("bias")?;
        if kind == MixerKind::Mamba1 && ssm.in_proj_bias {
            let expected = "absent: the published Mamba1 has no biases of B and C";
            return Err(cfg.invalid("bias", true, expected));
        }
        Ok(ssm)
    })
}

/// Takes the biases of the output projection away, which `bias` of a published Mamba2 brings along: attention has none to start them
/// from, so they are zeros in what this program exports, and no part of the mixer here.
pub(super) fn without_output_biases(
    tensors: &mut Vec<(String, TensorData)>,
    folder: &Path,
) -> Result<(), ModelError> {
    let is_output_bias = |key: &str| key.ends_with(".mamba.out_proj.bias");
    let trained = tensors
        .iter()
        .find(|(key, data)| is_output_bias(key) && data.iter::<f32>().any(|value| value != 0.0));
    if let Some((key, _)) = trained {
        return Err(ModelError::Malformed {
            path: folder.into(),
            field: key.clone(),
            problem: "is not all zeros".into(),
            cure: "take a model whose output projections have no biases: nothing else is computed here",
        });
    }
    tensors.retain(|(key, _)| !is_output_bias(key));
    Ok(())
}

/// Calls `read` with the fields of `ssm_cfg`, which may be absent.
fn with_ssm_cfg<T>(
    fields: &Fields<'_>,
    read: impl FnOnce(&Fields<'_>) -> Result<T, ModelError>,
) -> Result<T, ModelError> {
    let empty = Map::new();
    let map = match fields.get("ssm_cfg") {
        None => &empty,
        Some(Value::Object(map)) => map,
        Some(other) => return Err(fields.invalid("ssm_cfg", other, "an object")),
    };
    let origin = format!("{}: `ssm_cfg`", fields.origin);
    read(&Fields {
        map,
        origin: &origin,
    })
}

fn refuse_variants(cfg: &Fields<'_>) -> Result<(), ModelError> {
    for (field, neutral) in NEUTRAL {
        if let Some(value) = cfg.get(field).filter(|value| **value != neutral) {
            let expected = format!("{neutral}: nothing else is computed here");
            return Err(cfg.invalid(field, value, expected));
        }
    }
    let is_known = |field: &String| {
        let field = field.as_str();
        READ.contains(&field)
            || WITHOUT_EFFECT.contains(&field)
            || NEUTRAL.iter().any(|(known, _)| *known == field)
    };
    match cfg.map.iter().find(|(field, _)| !is_known(field)) {
        Some((field, value)) => {
            let expected = "absent: the published mixers have no such field";
            Err(cfg.invalid(field, value, expected))
        }
        None => Ok(()),
    }
}
