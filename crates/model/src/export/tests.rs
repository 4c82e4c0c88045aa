use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use burn::backend::Flex;
use burn::tensor::TensorData;
use safetensors::SafeTensors;
use serde_json::Value;

use super::*;
use crate::config::{GqaRepeat, InitFrom, LlamaConfig, MixerKind, SsmConfig};
use crate::convert::LayerPlan;
use crate::hybrid::HybridModel;
use crate::load::gguf::GgufFile;
use crate::load::tests::published::{config_json, published_keys};
use crate::load::{CheckpointMeta, SavePrecision, load};
use crate::tests::fixtures::some_tokens;

type Model = HybridModel<Flex>;

/// The shapes of the list of published keys: layer 1 of 3 keeps attention.
fn listed(kind: MixerKind) -> Model {
    let llama = LlamaConfig::from_hf(&config_json(), "test").unwrap();
    hybrid(llama.clone(), &SsmConfig::published(kind, &llama), &[1])
}

fn hybrid(llama: LlamaConfig, ssm: &SsmConfig, attn_layers: &[usize]) -> Model {
    let plan = LayerPlan {
        n_layers: llama.n_layers,
        attn_layers: attn_layers.to_vec(),
    };
    let model = Model::init_seeded(&HybridConfig::teacher(llama), 3, &Default::default())
        .convert(ssm, &plan, InitFrom::Attention, 7)
        .unwrap();
    // Mixers as large as the rest, with steps that make the state count.
    let tensors = model.named_tensors().into_iter().map(|(key, data)| {
        let (factor, shift) = match key.split_once(".mamba.").map(|(_, name)| name) {
            Some("dt_bias" | "dt_proj.bias") => (1.0, 4.0),
            Some(name) if name.ends_with("proj.weight") || name.contains("in_proj") => (8.0, 0.0),
            _ => (1.0, 0.0),
        };
        let values = data.iter::<f32>().map(|value| factor * value + shift);
        (
            key,
            TensorData::new(values.collect::<Vec<f32>>(), data.shape.clone()),
        )
    });
    Model::load_named(model.config(), tensors, &Default::default()).unwrap()
}

/// Heads of 32 in which Mamba1's chunks of 16 are not whole: 4 of queries over 2.
fn wide_heads(tied: bool) -> LlamaConfig {
    LlamaConfig {
        head_dim: 32,
        tie_word_embeddings: tied,
        ..LlamaConfig::from_hf(&config_json(), "test").unwrap()
    }
}

fn to_folder(model: &Model, folder: &Path, shard_bytes: usize, precision: SavePrecision) {
    let meta = CheckpointMeta {
        stage: Some("sft".into()),
        step: Some(12),
        ..Default::default()
    };
    let export = FolderExport {
        tokenizer: None,
        template: None,
        meta: &meta,
        base_model: Some("org/base"),
        files: vec![("README.md".into(), b"card".to_vec())],
        precision,
        shard_bytes,
    };
    export_folder(model, folder, export).unwrap();
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn logits(model: &Model) -> Vec<f32> {
    let logits = model.forward(some_tokens(2, 19, model.config().llama.vocab_size));
    logits.into_data().into_vec().unwrap()
}

fn assert_same_logits(found: &Model, expected: &Model) {
    let (found, expected) = (logits(found), logits(expected));
    let largest = expected
        .iter()
        .fold(0.0_f32, |most, logit| most.max(logit.abs()));
    assert!(largest > 0.1, "{largest}");
    for (found, expected) in found.iter().zip(&expected) {
        let error = (found - expected).abs();
        assert!(error < 2e-5 * largest, "{found}, not {expected}");
    }
}

/// Keys and shapes of a folder, by the format's own parser; of its tensors, those that are not f32.
fn stored(folder: &Path) -> (BTreeMap<String, Vec<usize>>, Vec<String>) {
    let mut keys = BTreeMap::new();
    let mut narrow = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|name| name == "safetensors") {
            let bytes = fs::read(path).unwrap();
            for (key, view) in SafeTensors::deserialize(&bytes).unwrap().tensors() {
                if view.dtype() != safetensors::Dtype::F32 {
                    narrow.push(key.clone());
                }
                assert_eq!(keys.insert(key, view.shape().to_vec()), None, "twice");
            }
        }
    }
    (keys, narrow)
}

#[test]
fn an_exported_hybrid_has_the_published_keys_shapes_and_fields_and_comes_back_to_the_bit() {
    for kind in [MixerKind::Mamba1, MixerKind::Mamba2] {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (dir.path().join("first"), dir.path().join("second"));
        let model = listed(kind);
        to_folder(&model, &first, usize::MAX, SavePrecision::F32);
        assert_eq!(stored(&first).0, published_keys(kind), "{kind:?}");

        // The published dataclass takes these and no others.
        let mamba = json(&first.join("mamba_config.json"));
        let mut fields: Vec<&String> = mamba.as_object().unwrap().keys().collect();
        fields.sort();
        let published = [
            "attn_layers",
            "d_inner",
            "d_model",
            "d_xb",
            "hidden_act",
            "intermediate_size",
            "n_layer",
            "rms_norm_eps",
            "ssm_cfg",
            "vocab_size",
        ];
        assert_eq!(fields, published);
        assert_eq!(mamba["attn_layers"], serde_json::json!([1]));
        let ssm_cfg = match kind {
            MixerKind::Mamba2 => serde_json::json!({"expand": 1, "ngroups": 4, "d_state": 16}),
            _ => serde_json::json!({"expand": 1}),
        };
        assert_eq!(mamba["ssm_cfg"], ssm_cfg);
        let config = json(&first.join("config.json"));
        assert_eq!(config["_name_or_path"], "org/base");
        assert_eq!(config["architectures"][0], "LlamaForCausalLM");
        assert_eq!(config["torch_dtype"], "float32");

        let loaded = load::<Flex>(&first, &Default::default()).unwrap();
        assert_eq!(loaded.model.config(), model.config());
        assert_eq!(loaded.meta.unwrap().step, Some(12));
        to_folder(&loaded.model, &second, usize::MAX, SavePrecision::F32);
        for name in [
            "config.json",
            "mamba_config.json",
            "model.safetensors",
            "generation_config.json",
            "README.md",
        ] {
            let read = |folder: &Path| fs::read(folder.join(name)).unwrap();
            assert_eq!(read(&first), read(&second), "{kind:?} {name}");
        }
    }
}

#[test]
fn mixers_without_the_published_quirks_are_written_with_them_and_compute_the_same() {
    for (multiplicity, gqa_repeat) in [
        (1, GqaRepeat::Head),
        (2, GqaRepeat::Head),
        (1, GqaRepeat::ChunkN),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("model");
        let llama = wide_heads(false);
        let published = SsmConfig::published(MixerKind::Mamba1, &llama);
        let ssm = SsmConfig {
            dt_bias_multiplicity: multiplicity,
            gqa_repeat,
            ..published.clone()
        };
        let model = hybrid(llama, &ssm, &[1]);
        to_folder(&model, &folder, usize::MAX, SavePrecision::F32);
        let loaded = load::<Flex>(&folder, &Default::default()).unwrap().model;
        assert_eq!(loaded.config().ssm, Some(published));
        assert_same_logits(&loaded, &model);
    }
}

#[test]
fn large_weights_are_several_files_with_an_index() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("model");
    let model = listed(MixerKind::Mamba1);
    to_folder(&model, &folder, 40_000, SavePrecision::F32);
    assert!(!folder.join("model.safetensors").exists());
    let index = json(&folder.join("model.safetensors.index.json"));
    let map = index["weight_map"].as_object().unwrap();
    let keys = published_keys(MixerKind::Mamba1);
    assert_eq!(map.len(), keys.len());
    let mut total = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|name| name == "safetensors") {
            let name = path.file_name().unwrap().to_str().unwrap();
            let bytes = fs::read(&path).unwrap();
            let mut size = 0;
            for (key, view) in SafeTensors::deserialize(&bytes).unwrap().tensors() {
                assert_eq!(map[&key], name);
                size += view.data().len();
            }
            assert!(size <= 40_000, "{name}: {size}");
            total += size;
        }
    }
    assert_eq!(index["metadata"]["total_size"], total);
    let loaded = load::<Flex>(&folder, &Default::default()).unwrap().model;
    assert_eq!(logits(&loaded), logits(&model));
}

#[test]
fn a_tied_head_is_written_for_a_hybrid_and_left_out_for_a_transformer() {
    let dir = tempfile::tempdir().unwrap();
    let llama = wide_heads(true);
    let ssm = SsmConfig::published(MixerKind::Mamba2, &llama);
    let student = hybrid(llama.clone(), &ssm, &[1]);
    let teacher = Model::init(&HybridConfig::teacher(llama), &Default::default());
    for (model, name, has_head) in [(&student, "student", true), (&teacher, "teacher", false)] {
        let folder = dir.path().join(name);
        to_folder(model, &folder, usize::MAX, SavePrecision::Bf16);
        let (keys, narrow) = stored(&folder);
        assert_eq!(keys.contains_key("lm_head.weight"), has_head, "{name}");
        assert!(narrow.contains(&"model.norm.weight".to_owned()));
        assert!(
            !narrow.iter().any(|key| key.ends_with("A_log")),
            "{narrow:?}"
        );
        assert_eq!(folder.join("mamba_config.json").exists(), has_head);
        let loaded = load::<Flex>(&folder, &Default::default()).unwrap();
        assert_eq!(loaded.model.config(), model.config());
    }
}

#[test]
fn numbers_beyond_f16_are_refused_and_leave_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let config = HybridConfig::teacher(wide_heads(false));
    let model = Model::init(&config, &Default::default());
    let tensors = model.named_tensors().into_iter().map(|(key, data)| {
        let mut values: Vec<f32> = data.to_vec().unwrap();
        if key == "model.norm.weight" {
            values[3] = 1e5;
        }
        (key, TensorData::new(values, data.shape))
    });
    let model = Model::load_named(&config, tensors, &Default::default()).unwrap();
    let path = dir.path().join("model.gguf");
    let meta = CheckpointMeta::default();
    let export = FolderExport {
        tokenizer: None,
        template: None,
        meta: &meta,
        base_model: None,
        files: Vec::new(),
        precision: SavePrecision::F16,
        shard_bytes: usize::MAX,
    };
    let error = export_folder(&model, &dir.path().join("model"), export).unwrap_err();
    let error = error.to_string();
    assert!(error.contains("`model.norm.weight` is 100000"), "{error}");
    // Norms are f32 in GGUF.
    export_gguf(&model, None, None, "big", &path, SavePrecision::F16).unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_transformer_comes_back_from_gguf_to_the_bit() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    let text = "One day a cat saw a bird, and the bird saw 12 cats.";
    let tokenizer = Tokenizer::train_bpe([text], 300, &["<|im_start|>", "<|im_end|>"]).unwrap();
    let template = ChatTemplate::chat_ml();
    for tied in [false, true] {
        let llama = LlamaConfig {
            vocab_size: 310,
            bos_token_id: Some(0),
            eos_token_ids: vec![1],
            ..wide_heads(tied)
        };
        let model = Model::init(&HybridConfig::teacher(llama), &Default::default());
        export_gguf(
            &model,
            Some(&tokenizer),
            Some(&template),
            "cat",
            &path,
            SavePrecision::F32,
        )
        .unwrap();
        let loaded = load::<Flex>(&path, &Default::default()).unwrap();
        let (found, expected) = (loaded.model.config(), model.config());
        // The file holds both numbers in f32.
        let exact = LlamaConfig {
            rms_norm_eps: expected.llama.rms_norm_eps,
            ..found.llama.clone()
        };
        assert!((found.llama.rms_norm_eps - 1e-5).abs() < 1e-12);
        assert_eq!(exact, expected.llama);
        let named = |model: &Model| -> Vec<(String, Vec<f32>)> {
            let tensors = model.named_tensors().into_iter();
            tensors
                .map(|(key, data)| (key, data.into_vec().unwrap()))
                .collect()
        };
        assert_eq!(named(&loaded.model), named(&model));
        let read = loaded.tokenizer.unwrap();
        let ids = tokenizer.encode(text);
        assert_eq!(read.encode(text), ids);
        assert_eq!(read.decode(&ids), text);
        assert_eq!(read.special_id("<|im_end|>"), Some(1));
        let file = GgufFile::open(&path).unwrap();
        let source = file.text("tokenizer.chat_template").unwrap().unwrap();
        assert!(source.contains("<|im_start|>"));
    }
    // Matrices get the type asked for, norms stay f32.
    let llama = LlamaConfig::from_hf(&config_json(), "test").unwrap();
    let model = Model::init(&HybridConfig::teacher(llama), &Default::default());
    for (precision, found) in [(SavePrecision::Bf16, "BF16"), (SavePrecision::F16, "F16")] {
        export_gguf(&model, None, None, "cat", &path, precision).unwrap();
        let file = GgufFile::open(&path).unwrap();
        let of = |name: &str| format!("{:?}", file.tensors()[name].tensor_type);
        assert_eq!(of("blk.0.attn_q.weight"), found);
        assert_eq!(of("blk.0.attn_norm.weight"), "F32");
    }
}

#[test]
fn tokenizers_that_split_otherwise_come_back_from_gguf_too() {
    let dir = tempfile::tempdir().unwrap();
    let (json, gguf) = (
        dir.path().join("tokenizer.json"),
        dir.path().join("model.gguf"),
    );
    let text = "In 2024, it's DON'T  \u{e9}t\u{e9}\n\n x=12345;\tI'll\r\n  end   ";
    let split = |digits: &str| {
        let regex = format!(
            "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{{L}}\\p{{N}}]?\\p{{L}}+|{digits}| ?[^\\s\\p{{L}}\\p{{N}}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
        );
        serde_json::json!({"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
        ]})
    };
    let gpt2 = serde_json::json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true,
    });
    let llama = LlamaConfig {
        vocab_size: 330,
        ..wide_heads(true)
    };
    let model = Model::init(&HybridConfig::teacher(llama), &Default::default());
    // Pairs of digits and of line feeds that only some splittings leave together.
    let trained = Tokenizer::train_bpe([text, "it's it's"], 300, &["<|im_end|>"]).unwrap();
    let trained: Value = serde_json::from_str(&trained.to_json().unwrap()).unwrap();
    let mut seen = Vec::new();
    for (pre_tokenizer, name) in [
        (gpt2, "gpt-2"),
        (split("\\p{N}{1,3}"), "llama-bpe"),
        (split("\\p{N}"), "qwen2"),
    ] {
        let mut file = trained.clone();
        file["pre_tokenizer"] = pre_tokenizer;
        let vocab = file["model"]["vocab"].as_object_mut().unwrap();
        let next = vocab.len();
        for (at, pair) in ["12", "123", "\u{10a}\u{10a}", "'t", "'T"]
            .iter()
            .enumerate()
        {
            vocab.insert((*pair).into(), (next + at).into());
        }
        let merges = file["model"]["merges"].as_array_mut().unwrap();
        for (a, b) in [
            ("1", "2"),
            ("12", "3"),
            ("\u{10a}", "\u{10a}"),
            ("'", "t"),
            ("'", "T"),
        ] {
            merges.push(serde_json::json!([a, b]));
        }
        fs::write(&json, file.to_string()).unwrap();
        let tokenizer = Tokenizer::load(&json).unwrap();
        export_gguf(
            &model,
            Some(&tokenizer),
            None,
            "x",
            &gguf,
            SavePrecision::F32,
        )
        .unwrap();
        let pre = GgufFile::open(&gguf).unwrap();
        assert_eq!(pre.text("tokenizer.ggml.pre").unwrap(), Some(name));
        let read = load::<Flex>(&gguf, &Default::default()).unwrap().tokenizer;
        let ids = tokenizer.encode(text);
        assert_eq!(read.unwrap().encode(text), ids, "{name}");
        seen.push(ids);
    }
    seen.dedup();
    assert_eq!(seen.len(), 3, "the text tells the splittings apart");
}

/// Repeats blocks of `rows` rows of `width` values, `times` each.
fn repeat(values: &[f32], rows: usize, width: usize, times: usize) -> Vec<f32> {
    let blocks = values.chunks(rows * width);
    blocks.flat_map(|block| block.repeat(times)).collect()
}

#[test]
fn a_gguf_hybrid_holds_a_mamba2_with_a_group_a_head_that_computes_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    let model = listed(MixerKind::Mamba2);
    export_gguf(&model, None, None, "cat", &path, SavePrecision::F32).unwrap();
    let file = GgufFile::open(&path).unwrap();
    let unsigned = |key: &str| file.unsigned(&format!("granitehybrid.{key}")).unwrap();
    assert_eq!(unsigned("ssm.group_count"), Some(8));
    assert_eq!(unsigned("ssm.time_step_rank"), Some(8));
    assert_eq!(unsigned("ssm.state_size"), Some(16));
    assert_eq!(unsigned("ssm.inner_size"), Some(128));
    assert_eq!(unsigned("ssm.conv_kernel"), Some(4));
    let kv_heads = file.array("granitehybrid.attention.head_count_kv").unwrap();
    let kv_heads = format!("{:?}", kv_heads.unwrap());
    assert_eq!(kv_heads, "[Signed(0), Signed(2), Signed(0)]");

    // A model of ours with 8 heads, each with keys and values of its own, takes the file's tensors as they are, but for
    // names, the logarithm of A, and attention, which gets repeated keys and values and heads of zeros here.
    let llama = LlamaConfig {
        n_heads: 8,
        n_kv_heads: 8,
        ..model.config().llama.clone()
    };
    let ssm = SsmConfig::published(MixerKind::Mamba2, &llama);
    let config = HybridConfig {
        llama,
        attn_layers: vec![1],
        ssm: Some(ssm),
    };
    let skeleton = Model::init(&config, &Default::default());
    let tensors = skeleton.named_tensors().into_iter().map(|(key, data)| {
        let shape = data.shape.to_vec();
        let mixer = key.split_once(".mamba.");
        let values = match mixer {
            Some((layer, name)) => {
                let layer = layer.rsplit_once('.').unwrap().1;
                let stored = match name {
                    "in_proj.weight" => "ssm_in.weight",
                    "out_proj.weight" => "ssm_out.weight",
                    "conv1d.weight" => "ssm_conv1d.weight",
                    "conv1d.bias" => "ssm_conv1d.bias",
                    "dt_bias" => "ssm_dt.bias",
                    "A_log" => "ssm_a",
                    "D" => "ssm_d",
                    "norm.weight" => "ssm_norm.weight",
                    other => panic!("{other}"),
                };
                let (_, values) = file.tensor(&format!("blk.{layer}.{stored}")).unwrap();
                match name {
                    "A_log" => values.iter().map(|a| (-a).ln()).collect(),
                    _ => values,
                }
            }
            None => {
                let tensors = model.named_tensors();
                let (_, data) = tensors.into_iter().find(|(name, _)| *name == key).unwrap();
                let values: Vec<f32> = data.into_vec().unwrap();
                let zeros = |mut values: Vec<f32>| {
                    values.resize(128 * 64, 0.0);
                    values
                };
                match key.rsplit('.').nth(1).unwrap() {
                    "q_proj" => zeros(values),
                    "k_proj" | "v_proj" => zeros(repeat(&values, 16, 64, 2)),
                    "o_proj" => {
                        let rows = values.chunks(64);
                        rows.flat_map(|row| [row, &[0.0; 64]].concat()).collect()
                    }
                    _ => values,
                }
            }
        };
        (key, TensorData::new(values, shape))
    });
    let rebuilt = Model::load_named(&config, tensors, &Default::default()).unwrap();
    assert_same_logits(&rebuilt, &model);
    // Rows of attention are in the order of llama.cpp's rotary positions.
    let (_, q) = file.tensor("blk.1.attn_q.weight").unwrap();
    let tensors = model.named_tensors();
    let key = "model.layers.1.self_attn.q_proj.weight";
    let (_, own) = tensors.into_iter().find(|(name, _)| name == key).unwrap();
    let own: Vec<f32> = own.into_vec().unwrap();
    assert_eq!(q[64..128], own[8 * 64..9 * 64]);
    assert_eq!(q[2 * 64..3 * 64], own[64..2 * 64]);
}

#[test]
fn what_gguf_has_no_architecture_for_is_refused_in_one_line_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    let llama = LlamaConfig::from_hf(&config_json(), "test").unwrap();
    let pure = hybrid(
        llama.clone(),
        &SsmConfig::published(MixerKind::Mamba2, &llama),
        &[],
    );
    let other_eps = LlamaConfig {
        rms_norm_eps: 1e-6,
        ..llama.clone()
    };
    let ssm = SsmConfig::published(MixerKind::Mamba2, &llama);
    for (model, part) in [
        (listed(MixerKind::Mamba1), "`mixer` is mamba1"),
        (pure, "`attn_layers` is []"),
        (hybrid(other_eps, &ssm, &[1]), "`rms_norm_eps` is 0.000001"),
    ] {
        let error = export_gguf(&model, None, None, "cat", &path, SavePrecision::F32);
        let error = error.unwrap_err().to_string();
        assert!(
            error.contains(part) && error.contains("--format hf"),
            "{error}"
        );
        assert_eq!(error.lines().count(), 1);
    }
    let split = r#"{"type": "Split", "pattern": {"Regex": "\\s"}, "behavior": "Isolated", "invert": false}"#;
    let tokenizer = Tokenizer::train_bpe(["a"], 256, &[]).unwrap();
    let mut json: Value = serde_json::from_str(&tokenizer.to_json().unwrap()).unwrap();
    json["pre_tokenizer"]["pretokenizers"][0] = serde_json::from_str(split).unwrap();
    let file = dir.path().join("tokenizer.json");
    fs::write(&file, json.to_string()).unwrap();
    let tokenizer = Tokenizer::load(&file).unwrap();
    fs::remove_file(&file).unwrap();
    let model = Model::init(&HybridConfig::teacher(llama), &Default::default());
    let export = |model: &Model, tokenizer: &Tokenizer| {
        export_gguf(
            model,
            Some(tokenizer),
            None,
            "cat",
            &path,
            SavePrecision::F32,
        )
        .unwrap_err()
        .to_string()
    };
    let error = export(&model, &tokenizer);
    assert!(error.contains("no name for how it splits text"), "{error}");
    let tokenizer = Tokenizer::train_bpe(["a"], 256, &[]).unwrap();
    let error = export(&model, &tokenizer);
    assert!(error.contains("the embedding has 40 rows"), "{error}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}
