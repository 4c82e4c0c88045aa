//! Folders as the published hybrids come, written here from the list of method section 10 alone.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use burn::backend::Flex;
use half::bf16;
use safetensors::{Dtype, tensor::TensorView};
use serde_json::{Value, json};

use crate::config::{GqaRepeat, MixerKind};
use crate::load::{SourceFormat, load};

/// `config.json` of a Llama with 4 query heads of 16 over 2, 3 layers, vocabulary 40.
pub(crate) fn config_json() -> Value {
    json!({
        "_name_or_path": "org/base", "architectures": ["LlamaForCausalLM"], "model_type": "llama",
        "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
        "intermediate_size": 96, "vocab_size": 40, "hidden_act": "silu", "attention_bias": false,
        "rope_theta": 500000.0, "rms_norm_eps": 1e-5, "tie_word_embeddings": false,
        "max_position_embeddings": 8192, "torch_dtype": "bfloat16",
    })
}

/// `mamba_config.json` beside it; layer 1 keeps attention.
fn mamba_json(kind: MixerKind) -> Value {
    let ssm_cfg = match kind {
        MixerKind::Mamba2 => json!({"expand": 1, "ngroups": 4, "d_state": 16}),
        _ => json!({"expand": 1}),
    };
    json!({
        "d_model": 64, "ssm_cfg": ssm_cfg, "rms_norm_eps": 1e-5, "vocab_size": null, "d_inner": null,
        "d_xb": 32, "intermediate_size": 96, "hidden_act": "silu", "n_layer": 3, "attn_layers": [1],
    })
}

/// Every key of the model above with its shape.
pub(crate) fn published_keys(kind: MixerKind) -> BTreeMap<String, Vec<usize>> {
    let mut keys = BTreeMap::from([
        ("model.embed_tokens.weight".to_owned(), vec![40, 64]),
        ("model.norm.weight".to_owned(), vec![64]),
        ("lm_head.weight".to_owned(), vec![40, 64]),
    ]);
    let every: &[(&str, &[usize])] = &[
        ("input_layernorm.weight", &[64]),
        ("post_attention_layernorm.weight", &[64]),
        ("mlp.gate_proj.weight", &[96, 64]),
        ("mlp.up_proj.weight", &[96, 64]),
        ("mlp.down_proj.weight", &[64, 96]),
    ];
    let attention: &[(&str, &[usize])] = &[
        ("self_attn.q_proj.weight", &[64, 64]),
        ("self_attn.k_proj.weight", &[32, 64]),
        ("self_attn.v_proj.weight", &[32, 64]),
        ("self_attn.o_proj.weight", &[64, 64]),
    ];
    let mamba1: &[(&str, &[usize])] = &[
        ("mamba.in_proj_x.weight", &[32, 64]),
        ("mamba.in_proj_z.weight", &[64, 64]),
        ("mamba.B_proj.weight", &[32, 64]),
        ("mamba.C_proj.weight", &[64, 64]),
        ("mamba.dt_proj_down.weight", &[4, 64]),
        ("mamba.out_proj.weight", &[64, 64]),
        ("mamba.dt_proj.weight", &[64, 4]),
        ("mamba.dt_proj.bias", &[64]),
        ("mamba.conv1d.weight", &[64, 1, 4]),
        ("mamba.conv1d.bias", &[64]),
        ("mamba.A_log", &[64, 16]),
        ("mamba.D", &[64]),
    ];
    let mamba2: &[(&str, &[usize])] = &[
        ("mamba.in_proj.weight", &[196, 64]),
        ("mamba.out_proj.weight", &[64, 64]),
        ("mamba.norm.weight", &[64]),
        ("mamba.conv1d.weight", &[128, 1, 4]),
        ("mamba.conv1d.bias", &[128]),
        ("mamba.dt_bias", &[4]),
        ("mamba.A_log", &[4]),
        ("mamba.D", &[4]),
    ];
    for layer_idx in 0..3 {
        let mixer = match (layer_idx, kind) {
            (1, _) => attention,
            (_, MixerKind::Mamba1) => mamba1,
            _ => mamba2,
        };
        for (name, shape) in every.iter().chain(mixer) {
            keys.insert(format!("model.layers.{layer_idx}.{name}"), shape.to_vec());
        }
    }
    keys
}

/// A value for each place of each tensor, exact in bf16.
fn value(key: &str, at: usize) -> f32 {
    let hash = key.bytes().fold(at as u32, |hash, byte| {
        hash.wrapping_mul(31).wrapping_add(byte.into())
    });
    (hash % 251) as f32 / 128.0 - 0.9375
}

/// Writes the folder, its tensors in bf16 and in files of two kinds.
fn write(folder: &Path, kind: MixerKind) {
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("config.json"), config_json().to_string()).unwrap();
    fs::write(
        folder.join("mamba_config.json"),
        mamba_json(kind).to_string(),
    )
    .unwrap();
    let mut weight_map = serde_json::Map::new();
    for (number, name) in ["model-00001.safetensors", "model-00002.safetensors"]
        .into_iter()
        .enumerate()
    {
        let keys = published_keys(kind).into_iter().skip(number).step_by(2);
        let stored: Vec<(String, Vec<usize>, Vec<u8>)> = keys
            .map(|(key, shape)| {
                weight_map.insert(key.clone(), name.into());
                let values = (0..shape.iter().product()).map(|at| value(&key, at));
                let bytes = values.flat_map(|value| bf16::from_f32(value).to_le_bytes());
                let bytes = bytes.collect();
                (key, shape, bytes)
            })
            .collect();
        let views = stored.iter().map(|(key, shape, bytes)| {
            (
                key,
                TensorView::new(Dtype::BF16, shape.clone(), bytes).unwrap(),
            )
        });
        safetensors::serialize_to_file(views, None, &folder.join(name)).unwrap();
    }
    let index = json!({"metadata": {"total_size": 0}, "weight_map": weight_map});
    let path = folder.join("model.safetensors.index.json");
    fs::write(path, index.to_string()).unwrap();
}

#[test]
fn published_hybrids_load_with_their_quirks_and_every_value() {
    for kind in [MixerKind::Mamba1, MixerKind::Mamba2] {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), kind);
        let loaded = load::<Flex>(dir.path(), &Default::default()).unwrap();
        assert_eq!(loaded.format, SourceFormat::Checkpoint);
        assert_eq!(loaded.meta, None);
        let config = loaded.model.config();
        assert_eq!(config.attn_layers, [1]);
        let ssm = config.ssm.as_ref().unwrap();
        assert_eq!((ssm.mixer, ssm.d_state, ssm.d_conv), (kind, 16, 4));
        let is_mamba1 = kind == MixerKind::Mamba1;
        assert_eq!(ssm.dt_bias_multiplicity, if is_mamba1 { 2 } else { 1 });
        assert_eq!(ssm.gqa_repeat == GqaRepeat::ChunkN, is_mamba1);
        assert_eq!(ssm.repeat_kv_before_conv, is_mamba1);

        let mut expected = published_keys(kind);
        for (key, data) in loaded.model.named_tensors() {
            assert_eq!(Some(data.shape.to_vec()), expected.remove(&key), "{key}");
            for (at, found) in data.iter::<f32>().enumerate() {
                assert_eq!(found, value(&key, at), "{key} at {at}");
            }
        }
        assert!(expected.is_empty(), "not loaded: {expected:?}");
    }
}

#[test]
fn each_wrong_field_is_named_with_its_file_and_what_it_should_be() {
    let cases = [
        (
            MixerKind::Mamba1,
            json!({"d_model": 65}),
            "`d_model` is 65, expected 64",
        ),
        (
            MixerKind::Mamba1,
            json!({"d_model": null}),
            "`d_model` is absent, which means 2560",
        ),
        (
            MixerKind::Mamba1,
            json!({"d_xb": 64}),
            "`d_xb` is 64, expected 32",
        ),
        (
            MixerKind::Mamba1,
            json!({"d_inner": 128}),
            "`d_inner` is 128, expected 64",
        ),
        (
            MixerKind::Mamba1,
            json!({"intermediate_size": 97}),
            "`intermediate_size` is 97",
        ),
        (MixerKind::Mamba1, json!({"n_layer": 4}), "`n_layer` is 4"),
        (
            MixerKind::Mamba1,
            json!({"rms_norm_eps": 1e-6}),
            "`rms_norm_eps` is 0.000001",
        ),
        (
            MixerKind::Mamba1,
            json!({"vocab_size": 41}),
            "`vocab_size` is 41, expected null or 40",
        ),
        (
            MixerKind::Mamba1,
            json!({"hidden_act": "gelu"}),
            "`hidden_act` is \"gelu\"",
        ),
        (
            MixerKind::Mamba1,
            json!({"attn_layers": null}),
            "`attn_layers` is absent",
        ),
        (
            MixerKind::Mamba1,
            json!({"attn_layers": [3]}),
            "`attn_layers` is [3]",
        ),
        (
            MixerKind::Mamba1,
            json!({"attn_layers": [1, 1]}),
            "`attn_layers` is [1, 1]",
        ),
        (MixerKind::Mamba1, json!({"ssm_cfg": 1}), "`ssm_cfg` is 1"),
        (
            MixerKind::Mamba1,
            json!({"ssm_cfg": {}}),
            "`expand` 2 times",
        ),
        (
            MixerKind::Mamba1,
            json!({"ssm_cfg": {"expand": 1, "d_state": 24}}),
            "`d_state` is 24",
        ),
        (
            MixerKind::Mamba1,
            json!({"ssm_cfg": {"expand": 1, "d_conv": 1}}),
            "`d_conv` is 1",
        ),
        (
            MixerKind::Mamba1,
            json!({"ssm_cfg": {"expand": 1, "dt_rank": "x"}}),
            "`dt_rank` is \"x\"",
        ),
        (
            MixerKind::Mamba1,
            json!({"ssm_cfg": {"expand": 1, "repeat_kv_before_conv": false}}),
            "`repeat_kv_before_conv` is false",
        ),
        (
            MixerKind::Mamba1,
            json!({"ssm_cfg": {"expand": 1, "proj_x_bias": true}}),
            "`proj_x_bias` is true",
        ),
        (
            MixerKind::Mamba1,
            json!({"ssm_cfg": {"expand": 1, "d_sate": 16}}),
            "`d_sate` is 16, expected absent",
        ),
        (
            MixerKind::Mamba2,
            json!({"ssm_cfg": {"expand": 1, "ngroups": 2, "d_state": 16}}),
            "`ngroups` is 2, expected 4",
        ),
        (
            MixerKind::Mamba2,
            json!({"ssm_cfg": {"expand": 1, "ngroups": 4}}),
            "`d_state` is 128, expected head_dim, 16",
        ),
        (
            MixerKind::Mamba2,
            json!({"ssm_cfg": {"expand": 1, "ngroups": 4, "d_state": 16, "norm_before_gate": true}}),
            "`norm_before_gate` is true",
        ),
        // The weights say which mixer it is, too.
        (
            MixerKind::Mamba2,
            json!({"ssm_cfg": {"expand": 1}}),
            "ssm_cfg: means mamba1, but the weights are those of mamba2",
        ),
        (
            MixerKind::Mamba1,
            json!({"ssm_cfg": {"expand": 1, "ngroups": 4, "d_state": 16}}),
            "ssm_cfg: means mamba2, but the weights are those of mamba1",
        ),
        (
            MixerKind::Mamba2,
            json!({"attn_layers": [0, 1]}),
            "weights have attention in layers [1]",
        ),
    ];
    let dir = tempfile::tempdir().unwrap();
    for (kind, changes, part) in cases {
        let folder = dir.path().join("model");
        write(&folder, kind);
        let mut json = mamba_json(kind);
        for (key, value) in changes.as_object().unwrap() {
            json[key] = value.clone();
        }
        let path = folder.join("mamba_config.json");
        fs::write(&path, json.to_string()).unwrap();
        let error = super::error(&folder);
        assert!(error.contains(part), "{changes}: {error}");
        let file = if part.starts_with('`') {
            path.as_path()
        } else {
            folder.as_path()
        };
        assert!(error.contains(file.to_str().unwrap()), "{changes}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn tensors_too_many_and_too_few_are_listed() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), MixerKind::Mamba2);
    let index = dir.path().join("model.safetensors.index.json");
    let json = json!({"weight_map": {"x": "model-00001.safetensors"}});
    fs::write(index, json.to_string()).unwrap();
    let error = super::error(dir.path());
    assert!(
        error.contains("missing: `") && error.contains("and "),
        "{error}"
    );
}

#[test]
fn pickled_weights_are_refused_with_the_command_that_converts_them() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), MixerKind::Mamba1);
    for name in [
        "model-00001.safetensors",
        "model-00002.safetensors",
        "model.safetensors.index.json",
    ] {
        fs::remove_file(dir.path().join(name)).unwrap();
    }
    fs::write(dir.path().join("training_args.bin"), b"x").unwrap();
    assert!(super::error(dir.path()).contains("has neither"));
    let shards = [
        "pytorch_model-00001-of-00002.bin",
        "pytorch_model-00002-of-00002.bin",
    ];
    for name in shards {
        fs::write(dir.path().join(name), b"x").unwrap();
    }
    let place = dir.path().display();
    let error = super::error(dir.path());
    assert_eq!(error.lines().count(), 1, "{error}");
    let sources = shards.map(|name| format!("'{place}/{name}'")).join(" ");
    let command = format!("'{{'format':'pt'}})\" '{place}/model.safetensors' {sources}`");
    assert!(
        error.ends_with(command.trim_start_matches('\'')) && error.contains("weights_only=True"),
        "{error}"
    );
    // Given by itself, a file is refused by its name before a byte is read.
    for name in ["model.pt", "model.pth", "pytorch_model.bin"] {
        let path = dir.path().join(name);
        fs::write(&path, b"GGUF").unwrap();
        let error = super::error(&path);
        assert!(
            error.contains("is pickled") && error.contains(name),
            "{error}"
        );
    }
}
