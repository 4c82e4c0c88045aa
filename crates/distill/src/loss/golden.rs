//! Losses against values made by the original research code (`tests/fixtures/mamba/README.md`).

use std::collections::HashMap;
use std::path::PathBuf;

use burn::backend::{Autodiff, Flex};
use burn::tensor::{Tensor, TensorData};
use model::{GqaRepeat, HybridConfig, HybridModel, LlamaConfig, MixerKind, SsmConfig};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

use super::TeacherRows;
use super::{
    Denominators, Distribution, HeadRows, PairValues, Targets, distillation_loss, divergence,
    dpo_loss, fused_loss, sequence_log_probs,
};
use crate::data::{Batch, Example, RowLength};
use crate::recipe::{
    Divergence, DpoPlan, DpoReference, KlMask, KlReduction, LossPlan, PreferenceLoss,
};

const STUDENTS: [&str; 3] = ["hybrid_mamba1", "hybrid_mamba2", "pure_mamba2"];
/// Absolute, for values near 1: f32 against f64.
const TOLERANCE: f64 = 1e-4;

type Numbers = HashMap<String, (Vec<usize>, Vec<f64>)>;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures/mamba")
        .join(name)
}

fn json(name: &str) -> Value {
    let text = std::fs::read_to_string(path(name)).expect("the fixture is in the repository");
    serde_json::from_str(&text).expect("the fixture is JSON")
}

fn tensors(name: &str) -> Numbers {
    let bytes = std::fs::read(path(name)).expect("the fixture is in the repository");
    let file = SafeTensors::deserialize(&bytes).expect("the fixture is sound");
    let numbers = |view: &safetensors::tensor::TensorView| -> Vec<f64> {
        let data = view.data();
        match view.dtype() {
            Dtype::F64 => data
                .as_chunks()
                .0
                .iter()
                .map(|b| f64::from_le_bytes(*b))
                .collect(),
            Dtype::F32 => data
                .as_chunks()
                .0
                .iter()
                .map(|b| f32::from_le_bytes(*b).into())
                .collect(),
            Dtype::I64 => data
                .as_chunks()
                .0
                .iter()
                .map(|b| i64::from_le_bytes(*b) as f64)
                .collect(),
            _ => data.iter().map(|b| f64::from(*b)).collect(),
        }
    };
    file.tensors()
        .into_iter()
        .map(|(key, view)| (key, (view.shape().to_vec(), numbers(&view))))
        .collect()
}

fn model<B: kernels::SsmBackend>(name: &str) -> HybridModel<B> {
    let config = json(&format!("{name}.config.json"));
    let llama = LlamaConfig::from_hf(&config, name).expect("a Llama configuration");
    let hybrid = match name {
        "teacher" => HybridConfig::teacher(llama),
        _ => {
            let kind = if name.ends_with("mamba1") {
                MixerKind::Mamba1
            } else {
                MixerKind::Mamba2
            };
            let ssm = SsmConfig::published(kind, &llama);
            assert!(kind == MixerKind::Mamba2 || ssm.gqa_repeat == GqaRepeat::ChunkN);
            let attn_layers =
                serde_json::from_value(config["attn_layers"].clone()).expect("layer indices");
            HybridConfig {
                llama,
                attn_layers,
                ssm: Some(ssm),
            }
        }
    };
    let f32s = |(shape, values): &(Vec<usize>, Vec<f64>)| {
        TensorData::new(values.iter().map(|v| *v as f32).collect(), shape.clone())
    };
    let own = tensors(&format!("{name}.weights.safetensors"));
    let mut named: Vec<_> = own
        .iter()
        .map(|(key, tensor)| (key.clone(), f32s(tensor)))
        .collect();
    if let Some(shared) = config["keys_identical_to_teacher"].as_array() {
        let teacher = tensors("teacher.weights.safetensors");
        named.extend(
            shared
                .iter()
                .filter_map(Value::as_str)
                .map(|key| (key.into(), f32s(&teacher[key]))),
        );
    }
    HybridModel::load_named(&hybrid, named, &Default::default()).expect("the fixture fits")
}

/// Rows of ids with targets where the label is not -100.
fn batch(ids: &(Vec<usize>, Vec<f64>), labels: &(Vec<usize>, Vec<f64>)) -> Batch {
    let seq = ids.0[1];
    let rows = ids.1.chunks(seq).zip(labels.1.chunks(seq));
    let examples: Vec<_> = rows
        .map(|(ids, labels)| Example {
            ids: ids.iter().map(|id| *id as u32).collect(),
            targets: labels.iter().map(|label| *label >= 0.0).collect(),
        })
        .collect();
    Batch::new(&examples, RowLength::UpTo(seq))
}

fn plan(kl_reduction: KlReduction, kl_mask: KlMask) -> LossPlan {
    LossPlan {
        ce_weight: 1.0,
        kl_weight: 0.1,
        kl_reduction,
        kl_mask,
        divergence: Divergence::ForwardKl,
        temperature: 1.0,
    }
}

fn scalar<B: burn::tensor::backend::Backend>(tensor: Tensor<B, 1>) -> f64 {
    tensor.into_data().iter::<f64>().next().expect("one number")
}

fn assert_near(what: &str, got: f64, expected: f64) {
    let error = (got - expected).abs() / expected.abs().max(1.0);
    assert!(error < TOLERANCE, "{what}: got {got}, expected {expected}");
}

#[test]
fn distillation_losses_equal_the_published_ones() {
    let golden = tensors("losses.safetensors");
    let expected = &json("losses.json")["distill"];
    let batch = batch(&golden["distill.input_ids"], &golden["distill.labels"]);
    assert_eq!(
        batch.target_count() as u64,
        expected["n_valid"].as_u64().expect("a count")
    );
    let device = Default::default();
    let teacher = model::<Flex>("teacher");
    for name in STUDENTS {
        let student = model::<Autodiff<Flex>>(name);
        let run = |reduction, mask| {
            let (plan, over) = (plan(reduction, mask), Denominators::of([&batch]));
            let parts = distillation_loss(&student, Some(&teacher), &batch, &plan, over, &device);
            (scalar(parts.ce), scalar(parts.kl), scalar(parts.loss))
        };
        let value = |key: &str| expected[name][key].as_f64().expect("a number");
        let (ce, kl, loss) = run(KlReduction::TokenMean, KlMask::Labels);
        assert_near(name, ce, value("ce_labels"));
        assert_near(name, kl, value("kl_forward_token_mean"));
        assert_near(name, loss, value("loss_labels"));
        let (ce, kl, loss) = run(KlReduction::Batchmean, KlMask::All);
        assert_near(name, ce, value("ce_labels"));
        assert_near(name, kl, value("upstream_kl_batchmean"));
        assert_near(name, loss, value("upstream_loss"));
    }
}

#[test]
fn kl_of_each_position_equals_the_published_one() {
    let golden = tensors("losses.safetensors");
    let batch = batch(&golden["distill.input_ids"], &golden["distill.labels"]);
    let logits = |name: &str| {
        let logits = model::<Flex>(name).forward(batch.tokens(&Default::default()));
        Distribution::new(logits.flatten::<2>(0, 1))
    };
    let teacher = logits("teacher");
    for name in STUDENTS {
        let parts = divergence(Divergence::ForwardKl, &teacher, &logits(name));
        let kl = parts.value.into_data();
        let expected = &golden[&format!("distill.{name}.kl_per_token")].1;
        for (got, expected) in kl.iter::<f64>().zip(expected) {
            assert_near(name, got, *expected);
        }
    }
}

#[test]
fn gradient_of_the_logits_equals_the_published_one() {
    let golden = tensors("losses.safetensors");
    let (ids, labels) = (&golden["distill.input_ids"], &golden["distill.labels"]);
    let batch = batch(ids, labels);
    // The fixture's gradient has the teacher's arg-max as labels, so those replace the tokens in the loss.
    let argmax = &golden["distill.teacher_argmax"].1;
    let seq = batch.seq();
    let plan = plan(KlReduction::TokenMean, KlMask::Labels);
    let mut targets = Targets::new(&batch, &plan, Denominators::of([&batch]));
    let mut scored = 0;
    for row in 0..batch.rows() {
        for t in (0..seq - 1).filter(|t| batch.is_target(row, t + 1)) {
            targets.labels[scored] = argmax[row * (seq - 1) + t] as i32;
            scored += 1;
        }
    }
    let device = Default::default();
    let forward = |name| {
        model::<Flex>(name)
            .forward(batch.tokens(&device))
            .flatten::<2>(0, 1)
    };
    let student = Tensor::<Autodiff<Flex>, 2>::from_inner(forward("hybrid_mamba1")).require_grad();
    let picked = targets.rows.select_tracked(student.clone());
    // With the identity as head the hidden states are the logits.
    let vocab = student.dims()[1];
    let student_rows = HeadRows {
        hidden: picked,
        weight: Tensor::eye(vocab, &device),
    };
    let teacher_rows = HeadRows {
        hidden: targets.rows.select(forward("teacher")),
        weight: Tensor::eye(vocab, &device),
    };
    let parts = fused_loss(
        student_rows,
        Some(&TeacherRows::Head(teacher_rows)),
        &targets,
        &plan,
        16,
    );
    let expected = json("losses.json");
    let expected = expected["distill"]["hybrid_mamba1"]["loss_teacher_argmax"].as_f64();
    assert_near(
        "loss",
        scalar(parts.loss.clone().inner()),
        expected.expect("a number"),
    );
    let gradient = student
        .grad(&parts.loss.backward())
        .expect("the logits have a gradient");
    let expected = &golden["distill.hybrid_mamba1.dlogits"].1;
    let rms = (expected.iter().map(|v| v * v).sum::<f64>() / expected.len() as f64).sqrt();
    let worst = gradient
        .into_data()
        .iter::<f64>()
        .zip(expected)
        .map(|(got, expected)| (got - expected).abs())
        .fold(0.0, f64::max);
    assert!(
        rms > 0.0 && worst < 1e-4 * rms.max(1e-3) + 1e-3 * rms,
        "worst {worst}, rms {rms}"
    );
}

#[test]
fn dpo_values_equal_the_published_ones() {
    let golden = tensors("losses.safetensors");
    let expected = &json("losses.json")["dpo"];
    let device = Default::default();
    let log_probs = |model: &HybridModel<Flex>, side: &str| {
        let (ids, labels) = (format!("dpo.{side}_ids"), format!("dpo.{side}_labels"));
        let batch = batch(&golden[&ids], &golden[&labels]);
        let targets = Targets::unweighted(&batch);
        sequence_log_probs(model, &batch, &targets, &device)
    };
    let teacher = model::<Flex>("teacher");
    let reference = [
        log_probs(&teacher, "chosen"),
        log_probs(&teacher, "rejected"),
    ];
    for name in STUDENTS {
        let student = model::<Flex>(name);
        let policy = [
            log_probs(&student, "chosen"),
            log_probs(&student, "rejected"),
        ];
        let near = |what: &str, got: Tensor<Flex, 1>| {
            let expected = expected[name][what].as_array().expect("numbers");
            let got: Vec<f64> = got.into_data().iter::<f64>().collect();
            assert_eq!(got.len(), expected.len());
            for (got, expected) in got.iter().zip(expected) {
                assert_near(
                    &format!("{name} {what}"),
                    *got,
                    expected.as_f64().expect("a number"),
                );
            }
        };
        near("policy_chosen_logps", policy[0].clone());
        near("policy_rejected_logps", policy[1].clone());
        near("reference_chosen_logps", reference[0].clone());
        near("reference_rejected_logps", reference[1].clone());
        let pair = |[chosen, rejected]: [Tensor<Flex, 1>; 2]| PairValues { chosen, rejected };
        let plan = DpoPlan {
            beta: 0.1,
            reference: DpoReference::Teacher,
            loss: PreferenceLoss::Sigmoid,
        };
        let unused = pair([0, 1].map(|_| Tensor::zeros([1], &device)));
        let loss = dpo_loss(pair(policy), pair(reference.clone()), unused, &plan);
        near("losses", loss.per_pair);
        near("margins", loss.margins);
    }
}
