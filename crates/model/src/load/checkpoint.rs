//! `mamba_config.json`: what is hybrid about a model, in the published form and ours (method section 10).

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::published;
use crate::config::{Fields, HybridConfig, LlamaConfig, MixerKind, SsmConfig, object};
use crate::error::ModelError;

/// Our own object inside `mamba_config.json`, and inside the `config.json` of an export.
pub(crate) const OWN_KEY: &str = "serpentine";

/// Where a checkpoint comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointMeta {
    /// Stage that wrote it: `distillation`, `sft`, `dpo`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// Optimiser steps taken in that stage
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u64>,
    /// SHA-256 of the weights it started from
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_sha256: Option<String>,
    /// SHA-256 of the teacher
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub teacher_sha256: Option<String>,
    /// Fingerprint of the training data
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_fingerprint: Option<String>,
}

/// Ours: the mixer with all its flags, and the provenance.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Own {
    ssm: SsmConfig,
    #[serde(default)]
    meta: CheckpointMeta,
}

/// Reads `mamba_config.json`. Without our object the quirks of the published models are assumed.
pub(super) fn hybrid_config(
    llama: LlamaConfig,
    json: &Value,
    origin: &str,
) -> Result<(HybridConfig, Option<CheckpointMeta>), ModelError> {
    let map = object(json, origin)?;
    let fields = Fields { map, origin };
    let attn_layers = attn_layers(&fields)?;
    let (ssm, meta) = match fields.get(OWN_KEY) {
        Some(own) => {
            let own: Own = serde_json::from_value(own.clone()).map_err(|source| {
                fields.invalid(OWN_KEY, source, "what this program writes there")
            })?;
            (own.ssm, Some(own.meta))
        }
        None => (published::mixer(&llama, &fields)?, None),
    };
    published::check_widths(&llama, &fields)?;
    let config = HybridConfig {
        llama,
        attn_layers,
        ssm: Some(ssm),
    };
    config.validate(origin)?;
    Ok((config, meta))
}

/// Where an export comes from: the published code refuses unknown fields of `mamba_config.json`, so it is in `config.json`.
pub(super) fn exported_meta(
    json: &Value,
    origin: &str,
) -> Result<Option<CheckpointMeta>, ModelError> {
    let Some(meta) = json.get(OWN_KEY) else {
        return Ok(None);
    };
    let meta = serde_json::from_value(meta.clone());
    meta.map(Some).map_err(|source| {
        ModelError::config(origin, OWN_KEY, source, "what this program writes there")
    })
}

fn attn_layers(fields: &Fields<'_>) -> Result<Vec<usize>, ModelError> {
    const FIELD: &str = "attn_layers";
    const EXPECTED: &str = "the list of layers that keep attention";
    let value = fields
        .get(FIELD)
        .ok_or_else(|| fields.invalid(FIELD, "absent", EXPECTED))?;
    let list = value.as_array().and_then(|layers| {
        let layers = layers.iter().map(|layer| Some(layer.as_u64()? as usize));
        layers.collect::<Option<Vec<usize>>>()
    });
    list.ok_or_else(|| fields.invalid(FIELD, value, EXPECTED))
}

/// Writes what [`hybrid_config`] reads.
pub(super) fn mamba_config(config: &HybridConfig, ssm: &SsmConfig, meta: &CheckpointMeta) -> Value {
    let mut json = published_config(config, ssm);
    json[OWN_KEY] = json!(Own {
        ssm: ssm.clone(),
        meta: meta.clone(),
    });
    json
}

/// The same with the fields of the published files alone: a reader that knows no others takes them for the mixer with the
/// published quirks.
pub(crate) fn published_config(config: &HybridConfig, ssm: &SsmConfig) -> Value {
    let llama = &config.llama;
    let usual = SsmConfig::published(ssm.mixer, llama);
    let mut ssm_cfg = json!({"expand": 1});
    if ssm.mixer == MixerKind::Mamba2 {
        ssm_cfg["ngroups"] = json!(llama.n_heads);
        ssm_cfg["d_state"] = json!(ssm.d_state);
    }
    for (field, value, usual) in [
        ("d_state", ssm.d_state, usual.d_state),
        ("d_conv", ssm.d_conv, usual.d_conv),
        ("dt_rank", ssm.dt_rank, usual.dt_rank),
        ("chunk_size", ssm.chunk_size, usual.chunk_size),
    ] {
        // Each of the two mixers knows one of the last two.
        let is_known = match field {
            "dt_rank" => ssm.mixer == MixerKind::Mamba1,
            "chunk_size" => ssm.mixer == MixerKind::Mamba2,
            _ => true,
        };
        if is_known && value != usual {
            ssm_cfg[field] = json!(value);
        }
    }
    if ssm.repeat_kv_before_conv != usual.repeat_kv_before_conv {
        ssm_cfg["repeat_kv_before_conv"] = json!(ssm.repeat_kv_before_conv);
    }
    if ssm.in_proj_bias && ssm.mixer == MixerKind::Mamba2 {
        ssm_cfg["bias"] = json!(true);
    }
    json!({
        "d_model": llama.d_model,
        "ssm_cfg": ssm_cfg,
        "rms_norm_eps": llama.rms_norm_eps,
        "vocab_size": null,
        "d_inner": llama.d_inner(),
        "d_xb": llama.d_xb(),
        "intermediate_size": llama.intermediate_size,
        "hidden_act": "silu",
        "n_layer": llama.n_layers,
        "attn_layers": config.attn_layers,
    })
}

/// Checks that the layers with attention weights are the ones the configuration names, and the others' mixers of the kind
/// it says: a mismatch says more than a list of missing keys.
pub(super) fn check_layers<'a>(
    config: &HybridConfig,
    keys: impl Iterator<Item = &'a str>,
    folder: &Path,
) -> Result<(), ModelError> {
    let mut found = BTreeSet::new();
    let mut kinds = BTreeSet::new();
    for key in keys {
        let Some(rest) = key.strip_prefix("model.layers.") else {
            continue;
        };
        match rest.split_once('.') {
            Some((layer_idx, "self_attn.q_proj.weight")) => {
                found.extend(layer_idx.parse::<usize>().ok());
            }
            Some((_, "mamba.in_proj.weight")) => {
                kinds.insert("mamba2");
            }
            Some((_, "mamba.in_proj_x.weight")) => {
                kinds.insert("mamba1");
            }
            _ => {}
        }
    }
    let malformed = |field: &str, problem: String| ModelError::Malformed {
        path: folder.into(),
        field: field.into(),
        problem,
        cure: "take configuration and weights from the same model",
    };
    let found: Vec<usize> = found.into_iter().collect();
    if found != config.attn_layers {
        return Err(malformed(
            "attn_layers",
            format!(
                "is {:?}, but the weights have attention in layers {found:?}",
                config.attn_layers
            ),
        ));
    }
    let expected = match config.ssm.as_ref().map(|ssm| ssm.mixer) {
        Some(MixerKind::Mamba1) => "mamba1",
        Some(MixerKind::Mamba2) => "mamba2",
        _ => return Ok(()),
    };
    match kinds.iter().find(|kind| **kind != expected) {
        Some(kind) => Err(malformed(
            "ssm_cfg",
            format!("means {expected}, but the weights are those of {kind}"),
        )),
        None => Ok(()),
    }
}
