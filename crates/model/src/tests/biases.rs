//! Students of attention with biases: where these go, and that they stay. That single and drafted tokens see them is among the laws.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::TensorData;

use super::fixtures::{Inner, assert_near, path, some_tokens};
use super::naive::{self, Weights};
use crate::config::{InitFrom, LlamaConfig, MixerKind, SsmConfig};
use crate::convert::{LayerPlan, StartOption};
use crate::export::{FolderExport, export_folder, export_gguf};
use crate::hybrid::{BlockOutput, HybridModel};
use crate::load::{CheckpointMeta, SavePrecision, load, save};

const KINDS: [MixerKind; 2] = [MixerKind::Mamba1, MixerKind::Mamba2];

type Tensors = BTreeMap<String, Vec<f32>>;

fn teacher() -> HybridModel<Inner> {
    let folder = path("../teachers/qwen2");
    load::<Inner>(folder, &Default::default()).unwrap().model
}

/// Of the teacher's two layers, the first is replaced.
fn student(kind: MixerKind, init: InitFrom) -> HybridModel<Inner> {
    let teacher = teacher();
    let llama = &teacher.config().llama;
    let ssm = SsmConfig {
        // Divides the fixture's key/value width.
        d_state: llama.head_dim,
        ..SsmConfig::published(kind, llama)
    };
    assert!(ssm.in_proj_bias);
    let plan = LayerPlan::uniform(2, 0.5).unwrap();
    teacher.convert(&ssm, &plan, init, 7).unwrap()
}

fn tensors(model: &HybridModel<Inner>) -> Tensors {
    let tensors = model.named_tensors().into_iter();
    tensors
        .map(|(key, data)| (key, data.into_vec().unwrap()))
        .collect()
}

/// The biases of x, B and C, and all others of the input projections of the student's mixer.
fn biases(kind: MixerKind, tensors: &Tensors, llama: &LlamaConfig) -> ([Vec<f32>; 3], Vec<f32>) {
    let of = |name: &str| tensors[&format!("model.layers.0.mamba.{name}.bias")].clone();
    if kind == MixerKind::Mamba1 {
        return (["in_proj_x", "B_proj", "C_proj"].map(of), vec![]);
    }
    let (z, rest) = {
        let mut all = of("in_proj");
        let rest = all.split_off(llama.d_inner());
        (all, rest)
    };
    let (x, rest) = rest.split_at(llama.d_xb());
    let (b, rest) = rest.split_at(llama.d_xb());
    let (c, dt) = rest.split_at(llama.d_inner());
    ([x, b, c].map(<[f32]>::to_vec), [&z, dt].concat())
}

#[test]
fn new_mixers_take_the_biases_of_values_keys_and_queries() {
    let llama = teacher().config().llama.clone();
    let before = tensors(&teacher());
    for kind in KINDS {
        let (copied, others) = biases(kind, &tensors(&student(kind, InitFrom::Attention)), &llama);
        for (found, name) in copied.iter().zip(["v", "k", "q"]) {
            let key = format!("model.layers.0.self_attn.{name}_proj.bias");
            assert_eq!(found, &before[&key], "{kind:?} {name}");
            assert!(found.iter().any(|value| *value != 0.0));
        }
        assert!(others.iter().all(|value| *value == 0.0));
        let (fresh, others) = biases(
            kind,
            &tensors(&student(kind, InitFrom::RandomMixer)),
            &llama,
        );
        let all = [fresh.concat(), others].concat();
        assert!(all.iter().all(|value| *value == 0.0), "{kind:?}");

        // C is scaled with its bias.
        let plain = student(kind, InitFrom::Attention);
        let scaled = plain.clone().with_start(
            &teacher(),
            &[StartOption::ScaleC],
            some_tokens(1, 4, llama.vocab_size),
        );
        let ([x, b, c], _) = biases(kind, &tensors(&scaled.unwrap()), &llama);
        assert_eq!([&x, &b], [&copied[0], &copied[1]]);
        let factor = (llama.head_dim as f64).powf(-0.5) as f32;
        let expected: Vec<f32> = copied[2].iter().map(|value| value * factor).collect();
        assert_eq!(c, expected);
    }
}

#[test]
fn a_converted_layer_is_the_loops_of_the_paper_over_the_teachers_tensors() {
    let before = tensors(&teacher());
    let of_teacher = |name: &str, kind: &str| -> Vec<f64> {
        let key = format!("model.layers.0.self_attn.{name}_proj.{kind}");
        before[&key].iter().map(|value| f64::from(*value)).collect()
    };
    for kind in KINDS {
        let student = student(kind, InitFrom::Attention);
        let (config, own) = (student.config().clone(), tensors(&student));
        let (llama, ssm) = (&config.llama, config.ssm.as_ref().unwrap());
        // What attention has no like for is the student's own.
        let fresh = own.iter().filter_map(|(key, values)| {
            let name = key.strip_prefix("model.layers.0.mamba.")?;
            let values = values.iter().map(|value| f64::from(*value)).collect();
            Some((name.to_string(), values))
        });
        let mut weights: Weights = fresh.collect();
        weights.insert("out_proj.weight".into(), of_teacher("o", "weight"));
        for (part, width) in [("weight", llama.d_model), ("bias", 1)] {
            let [v, k, q] = ["v", "k", "q"].map(|name| of_teacher(name, part));
            if kind == MixerKind::Mamba1 {
                weights.insert(format!("in_proj_x.{part}"), v);
                weights.insert(format!("B_proj.{part}"), k);
                weights.insert(format!("C_proj.{part}"), q);
                continue;
            }
            let all = weights.get_mut(&format!("in_proj.{part}")).unwrap();
            let (z, dt) = (llama.d_inner() * width, llama.n_heads * width);
            let ends = (all[..z].to_vec(), all[all.len() - dt..].to_vec());
            let ends = match part {
                "bias" => (vec![0.0; z], vec![0.0; dt]),
                _ => ends,
            };
            *all = [ends.0, v, k, q, ends.1].concat();
        }

        let tokens = some_tokens(1, 13, llama.vocab_size);
        let x = student.block_inputs(tokens).swap_remove(0);
        let gamma = &own["model.layers.0.input_layernorm.weight"];
        let values: Vec<f32> = x.to_data().into_vec().unwrap();
        let normed = values.chunks(llama.d_model).map(|row| {
            let row: Vec<f64> = row.iter().map(|value| f64::from(*value)).collect();
            let square = row.iter().map(|value| value * value).sum::<f64>();
            let size = (square / row.len() as f64 + llama.rms_norm_eps).sqrt();
            let pairs = row.iter().zip(gamma);
            pairs
                .map(|(value, gamma)| value / size * f64::from(*gamma))
                .collect()
        });
        let rows: Vec<Vec<f64>> = normed.collect();
        let expected = naive::mixer(&weights, llama, ssm, &rows).concat();
        let found = student.block_output(0, x.clone(), BlockOutput::Mixer);
        assert_near("mixer", found, &expected, 1e-5);

        // Without the biases it is another layer.
        weights.retain(|name, _| {
            !name.contains("_proj") || !name.ends_with(".bias") || name.contains("dt_proj")
        });
        let without = naive::mixer(&weights, llama, ssm, &rows).concat();
        let pairs = expected.iter().zip(&without);
        let most = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(most > 1e-2, "{kind:?}: {most}");
    }
}

#[test]
fn checkpoints_and_exports_give_the_biases_back_to_the_bit() {
    let dir = tempfile::tempdir().unwrap();
    for kind in KINDS {
        let student = student(kind, InitFrom::Attention);
        let folder = dir.path().join(format!("{kind:?}"));
        let meta = CheckpointMeta::default();
        save(&student, None, &folder, &meta, SavePrecision::F32).unwrap();
        let loaded = load::<Inner>(&folder, &Default::default()).unwrap().model;
        assert_eq!(loaded.config(), student.config());
        assert_eq!(tensors(&loaded), tensors(&student));
        // The last layer goes too, and the first keeps its biases.
        let ssm = student.config().ssm.clone().unwrap();
        let plan = LayerPlan::uniform(2, 0.0).unwrap();
        let pure = loaded.convert(&ssm, &plan, InitFrom::Attention, 8).unwrap();
        let (old, new) = (tensors(&loaded), tensors(&pure));
        let mixers = old.iter().filter(|(key, _)| key.contains(".mamba."));
        assert!(mixers.into_iter().all(|(key, values)| new[key] == *values));
        assert!(
            new.keys()
                .any(|key| key.starts_with("model.layers.1.mamba.") && key.ends_with("proj.bias"))
        );

        let path = dir.path().join(format!("{kind:?}.gguf"));
        let error = export_gguf(&student, None, None, "cat", &path, SavePrecision::F32);
        let error = error.unwrap_err().to_string();
        assert!(
            error.contains("--format hf") && error.lines().count() == 1,
            "{error}"
        );
        if kind == MixerKind::Mamba2 {
            assert!(error.contains("`in_proj_bias` is true"), "{error}");
        }
    }
}

fn export(model: &HybridModel<Inner>, folder: &Path) -> Result<(), crate::ModelError> {
    let export = FolderExport {
        tokenizer: None,
        template: None,
        meta: &CheckpointMeta::default(),
        base_model: None,
        files: vec![],
        precision: SavePrecision::F32,
        shard_bytes: usize::MAX,
    };
    export_folder(model, folder, export)
}

#[test]
fn the_published_layout_holds_the_biases_of_mamba2_and_not_those_of_mamba1() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("model");
    let error = export(&student(MixerKind::Mamba1, InitFrom::Attention), &folder);
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("`in_proj_bias` is true") && error.contains("Mamba2"),
        "{error}"
    );
    assert!(!folder.exists());

    let model = student(MixerKind::Mamba2, InitFrom::Attention);
    export(&model, &folder).unwrap();
    let json = std::fs::read(folder.join("mamba_config.json")).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(json["ssm_cfg"]["bias"], true);
    let weights = folder.join("model.safetensors");
    let bytes = std::fs::read(&weights).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let zeros = file.tensor("model.layers.0.mamba.out_proj.bias").unwrap();
    assert_eq!(zeros.data(), [0; 4 * 32]);
    let loaded = load::<Inner>(&folder, &Default::default()).unwrap().model;
    assert_eq!(loaded.config(), model.config());
    assert_eq!(tensors(&loaded), tensors(&model));

    // Output biases that were trained are another mixer.
    let mut changed: Vec<(String, TensorData)> = model.named_tensors();
    let trained = TensorData::new(vec![0.5_f32; 32], [32]);
    changed.push(("model.layers.0.mamba.out_proj.bias".into(), trained));
    let stored = changed
        .into_iter()
        .map(|(key, data)| crate::load::StoredTensor::new(key, data, SavePrecision::F32).unwrap());
    let stored: Vec<_> = stored.collect();
    std::fs::remove_file(&weights).unwrap();
    crate::load::write_safetensors(&folder, &stored, usize::MAX).unwrap();
    let error = load::<Inner>(&folder, &Default::default()).unwrap_err();
    let error = error.to_string();
    assert!(error.contains("out_proj.bias: is not all zeros"), "{error}");
}
