//! What conversion copies, what it draws, and what it carries over.

use std::collections::BTreeMap;

use burn::tensor::TensorData;

use super::fixtures::{Inner, config, model, some_tokens};
use crate::config::{GqaRepeat, InitFrom, MixerKind, SsmConfig};
use crate::convert::LayerPlan;
use crate::hybrid::HybridModel;

type Tensors = BTreeMap<String, TensorData>;

fn tensors(model: &HybridModel<Inner>) -> Tensors {
    model.named_tensors().into_iter().collect()
}

fn values(tensors: &Tensors, key: &str) -> Vec<f32> {
    let data = tensors
        .get(key)
        .unwrap_or_else(|| panic!("the model has `{key}`"));
    data.to_vec().unwrap()
}

fn converted(kind: MixerKind, ratio: f64, init: InitFrom, seed: u64) -> HybridModel<Inner> {
    let teacher = model::<Inner>("teacher");
    let ssm = SsmConfig::published(kind, &teacher.config().llama);
    let plan = LayerPlan::uniform(4, ratio).unwrap();
    teacher.convert(&ssm, &plan, init, seed).unwrap()
}

/// New mixer keys, old attention keys: Mamba1.
const COPIES: [(&str, &str); 4] = [
    ("in_proj_x", "v_proj"),
    ("B_proj", "k_proj"),
    ("C_proj", "q_proj"),
    ("out_proj", "o_proj"),
];

#[test]
fn mamba1_starts_from_the_attention_it_replaces_byte_for_byte() {
    let teacher = tensors(&model("teacher"));
    let student = tensors(&converted(MixerKind::Mamba1, 0.5, InitFrom::Attention, 1));
    for layer in ["model.layers.0", "model.layers.2"] {
        for (to, from) in COPIES {
            assert_eq!(
                values(&student, &format!("{layer}.mamba.{to}.weight")),
                values(&teacher, &format!("{layer}.self_attn.{from}.weight")),
            );
        }
    }
}

#[test]
fn mamba2_rows_are_gate_value_key_query_step() {
    let teacher = tensors(&model("teacher"));
    let student = tensors(&converted(MixerKind::Mamba2, 0.5, InitFrom::Attention, 1));
    let rows = values(&student, "model.layers.2.mamba.in_proj.weight");
    assert_eq!(rows.len(), 196 * 64);
    for (from, to, name) in [(64, 96, "v"), (96, 128, "k"), (128, 192, "q")] {
        let key = format!("model.layers.2.self_attn.{name}_proj.weight");
        assert_eq!(rows[from * 64..to * 64], values(&teacher, &key), "{name}");
    }
    assert_eq!(
        values(&student, "model.layers.2.mamba.out_proj.weight"),
        values(&teacher, "model.layers.2.self_attn.o_proj.weight"),
    );
    // The gate and step rows are drawn: within the bound, and not all alike.
    for fresh in [&rows[..64 * 64], &rows[192 * 64..]] {
        assert!(fresh.iter().all(|v| v.abs() <= 0.125));
        let mean = fresh.iter().sum::<f32>() / fresh.len() as f32;
        let deviation =
            (fresh.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / fresh.len() as f32).sqrt();
        assert!(
            (deviation - 0.125 / 3_f32.sqrt()).abs() < 0.01,
            "{deviation}"
        );
    }
}

#[test]
fn everything_else_is_carried_over_byte_for_byte() {
    let teacher = tensors(&model("teacher"));
    for kind in [MixerKind::Mamba1, MixerKind::Mamba2] {
        for init in [InitFrom::Attention, InitFrom::RandomMixer] {
            let student = tensors(&converted(kind, 0.25, init, 5));
            let kept = student
                .keys()
                .filter(|key| !key.contains(".mamba."))
                .count();
            let attention = teacher
                .keys()
                .filter(|key| key.contains(".self_attn."))
                .count();
            assert_eq!(kept, teacher.len() - attention * 3 / 4);
            for (key, data) in student.iter().filter(|(key, _)| !key.contains(".mamba.")) {
                assert_eq!(data, &teacher[key], "{key}");
            }
        }
    }
}

#[test]
fn fresh_values_are_those_of_the_paper() {
    let softplus = |x: f32| f64::from(x).exp().ln_1p();
    let one = tensors(&converted(MixerKind::Mamba1, 0.0, InitFrom::Attention, 9));
    let two = tensors(&converted(MixerKind::Mamba2, 0.0, InitFrom::Attention, 9));
    let all = |tensors: &Tensors, name: &str| -> Vec<f32> {
        (0..4)
            .flat_map(|i| values(tensors, &format!("model.layers.{i}.mamba.{name}")))
            .collect()
    };
    for (i, v) in all(&one, "A_log").iter().enumerate() {
        assert_eq!(*v, ((i % 16 + 1) as f64).ln() as f32);
    }
    assert!(
        all(&two, "A_log")
            .iter()
            .all(|v| (0.0..=16_f32.ln()).contains(v))
    );
    for ones in [all(&one, "D"), all(&two, "D"), all(&two, "norm.weight")] {
        assert!(ones.iter().all(|v| *v == 1.0));
    }
    for steps in [all(&one, "dt_proj.bias"), all(&two, "dt_bias")] {
        assert!(
            steps
                .iter()
                .all(|b| (0.99e-3..=0.101).contains(&softplus(*b)))
        );
        assert!(steps.iter().any(|b| *b != steps[0]));
    }
    for (name, bound) in [
        ("conv1d.weight", 0.5),
        ("conv1d.bias", 0.5),
        ("dt_proj.weight", 0.5),
        ("dt_proj_down.weight", 0.125),
        ("in_proj_z.weight", 0.125),
    ] {
        let drawn = all(&one, name);
        assert!(drawn.iter().all(|v| v.abs() <= bound), "{name}");
        assert!(drawn.iter().any(|v| v.abs() > 0.8 * bound), "{name}");
    }
}

#[test]
fn a_random_mixer_copies_no_projection_and_a_random_layer_nothing_of_the_layer() {
    let teacher = tensors(&model("teacher"));
    for init in [InitFrom::RandomMixer, InitFrom::RandomLayer] {
        let student = tensors(&converted(MixerKind::Mamba1, 0.5, init, 3));
        for (to, from) in COPIES {
            assert_ne!(
                values(&student, &format!("model.layers.0.mamba.{to}.weight")),
                values(&teacher, &format!("model.layers.0.self_attn.{from}.weight")),
            );
        }
    }
    let student = tensors(&converted(MixerKind::Mamba1, 0.5, InitFrom::RandomLayer, 3));
    for (key, data) in &student {
        let is_new = key.starts_with("model.layers.0.") || key.starts_with("model.layers.2.");
        if let Some(before) = teacher.get(key) {
            assert_eq!(data == before, !is_new, "{key}");
        }
    }
    let norms = values(&student, "model.layers.0.input_layernorm.weight");
    assert!(norms.iter().all(|v| *v == 1.0));
}

#[test]
fn a_zero_output_adds_nothing_and_copies_the_rest() {
    use crate::hybrid::BlockOutput;
    for kind in [MixerKind::Mamba1, MixerKind::Mamba2] {
        let zero = converted(kind, 0.5, InitFrom::ZeroOutput, 3);
        let inputs = zero.block_inputs(some_tokens(2, 9, 5));
        let added = zero.block_output(2, inputs[2].clone(), BlockOutput::Mixer);
        assert!(added.into_data().iter::<f32>().all(|value| value == 0.0));
        let before = tensors(&converted(kind, 0.5, InitFrom::Attention, 3));
        for (key, data) in tensors(&zero) {
            let is_output = key.ends_with("mamba.out_proj.weight");
            assert_eq!(data == before[&key], !is_output, "{key}");
        }
    }
}

#[test]
fn start_options_set_what_they_say_and_nothing_else() {
    use crate::convert::StartOption::{self, IdentityConv, MatchOutput, ScaleC};
    use crate::hybrid::BlockOutput;
    let teacher = model::<Inner>("teacher");
    for kind in [MixerKind::Mamba1, MixerKind::Mamba2] {
        let plain = converted(kind, 0.5, InitFrom::Attention, 3);
        let start = |options: &[StartOption]| {
            plain
                .clone()
                .with_start(&teacher, options, some_tokens(3, 17, 97))
                .unwrap()
        };
        let before = tensors(&plain);
        let changed = |options: &[StartOption]| -> Vec<String> {
            let after = tensors(&start(options)).into_iter();
            let changed = after.filter(|(key, data)| *data != before[key]);
            changed.map(|(key, _)| key).collect()
        };
        let of_layers = |names: &[&str]| -> Vec<String> {
            let of = |layer: usize| {
                names
                    .iter()
                    .map(move |name| format!("model.layers.{layer}.mamba.{name}"))
            };
            of(0).chain(of(2)).collect()
        };
        assert!(changed(&[]).is_empty());
        let conv = ["conv1d.bias", "conv1d.weight"];
        assert_eq!(changed(&[IdentityConv]), of_layers(&conv));
        let taps = values(
            &tensors(&start(&[IdentityConv])),
            "model.layers.0.mamba.conv1d.weight",
        );
        assert_eq!(taps[..8], [0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]);
        let (c, scaled) = match kind {
            MixerKind::Mamba1 => ("C_proj.weight", "out_proj.weight"),
            _ => ("in_proj.weight", "norm.weight"),
        };
        assert_eq!(changed(&[ScaleC]), of_layers(&[c]));
        // Head width 16; of Mamba2 only the rows of C, 128 to 192, are those of queries.
        let key = format!("model.layers.2.mamba.{c}");
        let (old, new) = (
            values(&before, &key),
            values(&tensors(&start(&[ScaleC])), &key),
        );
        let width = 64;
        for (index, (old, new)) in old.iter().zip(new).enumerate() {
            let is_c = kind == MixerKind::Mamba1 || (128..192).contains(&(index / width));
            assert_eq!(
                if is_c { 0.25 * old } else { *old },
                new,
                "{kind:?} {index}"
            );
        }
        assert_eq!(changed(&[MatchOutput]), of_layers(&[scaled]));
        let matched = start(&[IdentityConv, ScaleC, MatchOutput]);
        let inputs = teacher.block_inputs(some_tokens(3, 17, 97));
        for layer in [0, 2] {
            let size = |model: &HybridModel<Inner>| {
                let output = model.block_output(layer, inputs[layer].clone(), BlockOutput::Mixer);
                let squares = output
                    .into_data()
                    .iter::<f32>()
                    .map(|v| f64::from(v).powi(2))
                    .sum::<f64>();
                squares.sqrt()
            };
            let (found, expected) = (size(&matched), size(&teacher));
            assert!(
                (found - expected).abs() < 1e-4 * expected,
                "{kind:?}: {found} {expected}"
            );
        }
    }
}

#[test]
fn a_seed_fixes_the_fresh_weights_and_another_changes_them() {
    let one = tensors(&converted(MixerKind::Mamba2, 0.5, InitFrom::Attention, 1));
    assert_eq!(
        one,
        tensors(&converted(MixerKind::Mamba2, 0.5, InitFrom::Attention, 1))
    );
    let other = tensors(&converted(MixerKind::Mamba2, 0.5, InitFrom::Attention, 2));
    let key = "model.layers.0.mamba.conv1d.weight";
    assert_ne!(one[key], other[key]);
    // A layer starts the same whatever else is converted.
    let more = tensors(&converted(MixerKind::Mamba2, 0.0, InitFrom::Attention, 1));
    assert_eq!(one[key], more[key]);
    assert_ne!(more[key], more["model.layers.2.mamba.conv1d.weight"]);
}

#[test]
fn a_hybrid_becomes_a_sparser_one_and_keeps_its_trained_mixers() {
    for name in ["hybrid_mamba1", "hybrid_mamba2"] {
        let half = model::<Inner>(name);
        let ssm = half.config().ssm.clone().unwrap();
        let plan = LayerPlan::uniform(4, 0.25).unwrap();
        let quarter = half.convert(&ssm, &plan, InitFrom::Attention, 8).unwrap();
        assert_eq!(quarter.config().attn_layers, [3]);
        let (before, after) = (tensors(&half), tensors(&quarter));
        for (key, data) in &after {
            match before.get(key) {
                Some(held) => assert_eq!(data, held, "{key}"),
                None => assert!(key.starts_with("model.layers.1.mamba."), "{key}"),
            }
        }
        let out = values(&after, "model.layers.1.mamba.out_proj.weight");
        assert_eq!(
            out,
            values(&before, "model.layers.1.self_attn.o_proj.weight")
        );
    }
}

#[test]
fn blocks_of_a_conversion_in_the_teacher_are_a_smaller_conversion() {
    for kind in [MixerKind::Mamba1, MixerKind::Mamba2] {
        let teacher = model::<Inner>("teacher");
        let all = converted(kind, 0.0, InitFrom::Attention, 7);
        let half = converted(kind, 0.5, InitFrom::Attention, 7);
        let replaced: Vec<usize> = (0..teacher.n_layers())
            .filter(|layer_idx| !half.config().attn_layers.contains(layer_idx))
            .collect();
        let grafted = teacher.with_blocks_of(&all, &replaced).unwrap();
        assert_eq!(grafted.config(), half.config());
        assert_eq!(tensors(&grafted), tensors(&half));
        let tokens = || some_tokens::<Inner>(1, 12, 97);
        let logits = |model: &HybridModel<Inner>| model.forward(tokens()).into_data();
        assert_eq!(logits(&grafted), logits(&half));
        // Back again: attention of the teacher in the conversion.
        let restored = all.with_blocks_of(&teacher, &half.config().attn_layers);
        assert_eq!(tensors(&restored.unwrap()), tensors(&half));
        let none = teacher.with_blocks_of(&all, &[]).unwrap();
        assert_eq!(tensors(&none), tensors(&teacher));
        let error = teacher.with_blocks_of(&all, &[teacher.n_layers()]);
        assert!(error.unwrap_err().to_string().contains("without a layer"));
    }
    let other = converted(MixerKind::Mamba1, 0.5, InitFrom::Attention, 7);
    let error = other.with_blocks_of(
        &converted(MixerKind::Mamba2, 0.0, InitFrom::Attention, 7),
        &[0],
    );
    assert!(error.unwrap_err().to_string().contains("of other sizes"));
}

#[test]
fn keeping_every_layer_is_the_teacher() {
    let tokens = some_tokens(2, 11, 97);
    let teacher = model::<Inner>("teacher")
        .forward(tokens.clone())
        .into_data();
    let kept = converted(MixerKind::Mamba1, 1.0, InitFrom::Attention, 0);
    assert_eq!(kept.forward(tokens).into_data(), teacher);
}

#[test]
fn impossible_conversions_say_what_is_possible() {
    let hybrid = model::<Inner>("hybrid_mamba2");
    let ssm = hybrid.config().ssm.clone().unwrap();
    let error = |ssm: &SsmConfig, plan: LayerPlan| {
        let result = hybrid.convert(ssm, &plan, InitFrom::Attention, 0);
        result.expect_err("cannot be done").to_string()
    };
    let back = LayerPlan {
        attn_layers: vec![0, 1, 3],
        n_layers: 4,
    };
    assert!(error(&ssm, back).contains("attention in layer 0"));
    assert!(error(&ssm, LayerPlan::uniform(8, 0.25).unwrap()).contains("for 4 layers"));
    let other = SsmConfig::published(MixerKind::Mamba1, &config("teacher").llama);
    assert!(error(&other, LayerPlan::uniform(4, 0.25).unwrap()).contains("Mamba2"));

    let teacher = model::<Inner>("teacher");
    let mut ssm = SsmConfig::published(MixerKind::Mamba1, &config("teacher").llama);
    ssm.d_state = 24;
    ssm.gqa_repeat = GqaRepeat::Head;
    let plan = LayerPlan::uniform(4, 0.5).unwrap();
    let error = teacher
        .convert(&ssm, &plan, InitFrom::Attention, 0)
        .unwrap_err()
        .to_string();
    assert!(error.contains("`d_state` is 24"), "{error}");
}
