use std::fs;
use std::path::Path;

use burn::backend::Flex;

use super::*;
use crate::config::{GqaRepeat, InitFrom, MixerKind, SsmConfig};
use crate::convert::LayerPlan;

mod damage;
pub(crate) mod published;

fn llama() -> LlamaConfig {
    LlamaConfig {
        d_model: 32,
        n_layers: 4,
        n_heads: 4,
        n_kv_heads: 2,
        head_dim: 16,
        intermediate_size: 48,
        vocab_size: 50,
        rope_theta: 1e4,
        rope_scaling: None,
        rms_norm_eps: 1e-5,
        tie_word_embeddings: false,
        max_position_embeddings: 64,
        sliding_window: None,
        qkv_bias: false,
        bos_token_id: None,
        eos_token_ids: vec![2],
    }
}

fn hybrid(kind: MixerKind, is_published: bool) -> HybridModel<Flex> {
    let llama = llama();
    let mut ssm = SsmConfig::published(kind, &llama);
    if !is_published {
        ssm.dt_bias_multiplicity = 1;
        ssm.gqa_repeat = GqaRepeat::Head;
    }
    let plan = LayerPlan::uniform(4, 0.5).unwrap();
    HybridModel::<Flex>::init(&HybridConfig::teacher(llama), &Default::default())
        .convert(&ssm, &plan, InitFrom::Attention, 7)
        .unwrap()
}

/// A folder as saved, but for the checksums: as published ones are.
fn saved(model: &HybridModel<Flex>, folder: &Path) {
    let meta = CheckpointMeta {
        stage: Some("sft".into()),
        step: Some(12),
        ..Default::default()
    };
    save(model, None, folder, &meta, SavePrecision::F32).unwrap();
    fs::remove_file(folder.join(checksums::CHECKSUMS_JSON)).unwrap();
}

fn error(folder: &Path) -> String {
    load::<Flex>(folder, &Default::default())
        .unwrap_err()
        .to_string()
}

#[test]
fn saving_what_was_loaded_gives_the_same_bytes() {
    for (kind, is_published) in [
        (MixerKind::Mamba1, true),
        (MixerKind::Mamba1, false),
        (MixerKind::Mamba2, true),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (dir.path().join("first"), dir.path().join("second"));
        let model = hybrid(kind, is_published);
        saved(&model, &first);
        let loaded = load::<Flex>(&first, &Default::default()).unwrap();
        assert_eq!(loaded.model.config(), model.config());
        assert_eq!(loaded.format, SourceFormat::Checkpoint);
        assert_eq!(loaded.meta.as_ref().unwrap().step, Some(12));
        saved(&loaded.model, &second);
        for name in [CONFIG_JSON, MAMBA_CONFIG_JSON, "model.safetensors"] {
            let read = |folder: &Path| fs::read(folder.join(name)).unwrap();
            assert_eq!(read(&first), read(&second), "{kind:?} {name}");
        }
        assert_eq!(folder_sha256(&first).unwrap(), loaded.sha256);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "no leftovers");
    }
}

#[test]
fn published_files_without_our_object_get_the_published_quirks() {
    for kind in [MixerKind::Mamba1, MixerKind::Mamba2] {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("model");
        let model = hybrid(kind, true);
        saved(&model, &folder);
        let path = folder.join(MAMBA_CONFIG_JSON);
        let mut json: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        json.as_object_mut().unwrap().remove("serpentine").unwrap();
        fs::write(&path, json.to_string()).unwrap();
        let loaded = load::<Flex>(&folder, &Default::default()).unwrap();
        assert_eq!(loaded.model.config(), model.config());
        assert_eq!(loaded.meta, None);
    }
}

#[test]
fn bf16_halves_the_file_and_keeps_decay_rates_exact() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("model");
    let model = hybrid(MixerKind::Mamba1, false);
    save(
        &model,
        None,
        &folder,
        &CheckpointMeta::default(),
        SavePrecision::Bf16,
    )
    .unwrap();
    let loaded = load::<Flex>(&folder, &Default::default()).unwrap().model;
    for ((key, want), (_, got)) in model
        .named_tensors()
        .into_iter()
        .zip(loaded.named_tensors())
    {
        let (want, got) = (
            want.into_vec::<f32>().unwrap(),
            got.into_vec::<f32>().unwrap(),
        );
        let bound = if key.ends_with("A_log") {
            0.0
        } else {
            1.0 / 256.0
        };
        for (want, got) in want.iter().zip(&got) {
            assert!(
                (want - got).abs() <= want.abs() * bound,
                "{key}: {got}, expected {want}"
            );
        }
    }
}

#[test]
fn a_cut_file_says_how_many_bytes_are_missing() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("model");
    saved(&hybrid(MixerKind::Mamba2, true), &folder);
    let path = folder.join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    for length in [0, 5, 8, 100, bytes.len() - 1] {
        fs::write(&path, &bytes[..length]).unwrap();
        let text = error(&folder);
        assert!(
            text.contains("model.safetensors") && text.contains("cut short"),
            "{length}: {text}"
        );
    }
}

#[test]
fn files_that_disagree_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("model");
    saved(&hybrid(MixerKind::Mamba2, true), &folder);
    let path = folder.join(MAMBA_CONFIG_JSON);
    let good: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let with = |field: &str, value: Value| {
        let mut json = good.clone();
        json[field] = value;
        fs::write(&path, json.to_string()).unwrap();
        error(&folder)
    };
    let text = with("attn_layers", serde_json::json!([1, 2]));
    assert!(
        text.contains("attn_layers") && text.contains("[1, 3]"),
        "{text}"
    );
    let text = with("d_xb", serde_json::json!(48));
    assert!(
        text.contains("d_xb") && text.contains("48") && text.contains("32"),
        "{text}"
    );
    let text = with("attn_layers", serde_json::json!("all"));
    assert!(text.contains("attn_layers"), "{text}");
}

#[test]
fn pickles_and_shards_outside_the_folder_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("model");
    saved(&hybrid(MixerKind::Mamba2, true), &folder);
    fs::remove_file(folder.join("model.safetensors")).unwrap();
    assert!(error(&folder).contains("neither"));
    fs::write(folder.join("pytorch_model.bin"), b"x").unwrap();
    assert!(error(&folder).contains("pickled"));
    let index = folder.join("model.safetensors.index.json");
    for name in ["../x.safetensors", "/etc/passwd", "a/b", ""] {
        let json = serde_json::json!({"weight_map": {"model.norm.weight": name}});
        fs::write(&index, json.to_string()).unwrap();
        let text = error(&folder);
        assert!(text.contains("not a file of this folder"), "{name}: {text}");
    }
}

#[test]
fn an_existing_folder_is_replaced_as_a_whole() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("model");
    saved(&hybrid(MixerKind::Mamba1, true), &folder);
    fs::write(folder.join("stale.txt"), b"old").unwrap();
    saved(&hybrid(MixerKind::Mamba2, true), &folder);
    assert!(!folder.join("stale.txt").exists());
    assert_eq!(
        load::<Flex>(&folder, &Default::default())
            .unwrap()
            .model
            .config()
            .ssm
            .as_ref()
            .unwrap()
            .mixer,
        MixerKind::Mamba2
    );
}

#[test]
fn a_folder_that_holds_something_else_is_not_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("precious");
    fs::create_dir(&folder).unwrap();
    let model = hybrid(MixerKind::Mamba1, true);
    let save_to = |folder: &Path| {
        let meta = CheckpointMeta::default();
        save(&model, None, folder, &meta, SavePrecision::F32).map_err(|error| error.to_string())
    };
    fs::write(folder.join("thesis.txt"), b"years of work").unwrap();
    let error = save_to(&folder).unwrap_err();
    assert!(
        error.contains("precious") && error.contains("holds no model"),
        "{error}"
    );
    assert!(folder.join("thesis.txt").exists());
    let error = save_to(&folder.join("thesis.txt")).unwrap_err();
    assert!(error.contains("is a file"), "{error}");
    let error = save_to(&folder.join("thesis.txt/model")).unwrap_err();
    assert!(error.contains("is a file, or below one"), "{error}");
    assert!(save_to(&folder.join("..")).is_err());
    assert_eq!(
        fs::read_dir(&folder).unwrap().count(),
        1,
        "nothing half written"
    );
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        1,
        "nothing half written"
    );
    // An empty folder is no loss.
    let empty = dir.path().join("empty");
    fs::create_dir(&empty).unwrap();
    save_to(&empty).unwrap();
    assert!(empty.join("model.safetensors").exists());
}

#[test]
fn half_floats_and_shards_load_as_f32() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("model");
    let model = hybrid(MixerKind::Mamba2, true);
    saved(&model, &folder);
    let tensors = model.named_tensors();
    fs::remove_file(folder.join("model.safetensors")).unwrap();

    let mut weight_map = serde_json::Map::new();
    for (half, name) in [
        (0, "model-1-of-2.safetensors"),
        (1, "model-2-of-2.safetensors"),
    ] {
        let stored: Vec<(String, Vec<usize>, Vec<u8>)> = tensors
            .iter()
            .skip(half)
            .step_by(2)
            .map(|(key, data)| {
                weight_map.insert(key.clone(), name.into());
                let values: Vec<f32> = data.to_vec().unwrap();
                let bytes = values
                    .iter()
                    .flat_map(|v| half::f16::from_f32(*v).to_le_bytes());
                (key.clone(), data.shape.to_vec(), bytes.collect())
            })
            .collect();
        let views = stored.iter().map(|(key, shape, bytes)| {
            let view =
                safetensors::tensor::TensorView::new(safetensors::Dtype::F16, shape.clone(), bytes);
            (key.as_str(), view.unwrap())
        });
        fs::write(
            folder.join(name),
            safetensors::serialize(views, None).unwrap(),
        )
        .unwrap();
    }
    let index = folder.join("model.safetensors.index.json");
    fs::write(
        &index,
        serde_json::json!({"weight_map": weight_map}).to_string(),
    )
    .unwrap();

    let loaded = load::<Flex>(&folder, &Default::default()).unwrap().model;
    for ((key, want), (_, got)) in tensors.into_iter().zip(loaded.named_tensors()) {
        let want: Vec<f32> = want.to_vec().unwrap();
        let want: Vec<f32> = want
            .iter()
            .map(|v| half::f16::from_f32(*v).to_f32())
            .collect();
        assert_eq!(got.to_vec::<f32>().unwrap(), want, "{key}");
    }

    fs::remove_file(folder.join("model-2-of-2.safetensors")).unwrap();
    assert!(error(&folder).contains("model-2-of-2.safetensors"));
}
