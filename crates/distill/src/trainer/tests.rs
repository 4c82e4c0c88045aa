use burn::backend::Flex;
use burn::module::AutodiffModule;
use burn::tensor::{Tensor, TensorData};

use super::*;
use crate::data::{Batch, RowLength};
use crate::loss::{Denominators, distillation_loss};
use crate::recipe::LossPlan;
use crate::testing::{examples, student};

type TrainModel = HybridModel<Autodiff<Flex>>;

pub(super) fn config() -> TrainerConfig {
    TrainerConfig {
        schedule: Schedule::cosine(1e-2, 1, 50),
        betas: [0.9, 0.999],
        weight_decay: 0.1,
        clip_norm: 1.0,
    }
}

pub(super) fn trainable(predicate: impl Fn(&str) -> bool) -> TrainModel {
    TrainModel::from_inner(student()).freeze(predicate)
}

/// Cross-entropy on `batch`.
fn micro_step(model: &TrainModel, batch: &Batch, over: Denominators) -> MicroStep<Flex> {
    let plan = LossPlan::CROSS_ENTROPY;
    let parts = distillation_loss(model, None, batch, &plan, over, &Default::default());
    MicroStep {
        loss: parts.loss,
        metrics: parts.ce,
        blocks: parts.blocks,
    }
}

/// One step on examples dealt into `micro_batches`.
fn step(
    trainer: &mut Trainer<Flex>,
    model: TrainModel,
    micro_batches: usize,
) -> (TrainModel, StepReport) {
    let examples = examples(4);
    let batches: Vec<_> = examples
        .chunks(4 / micro_batches)
        .map(|rows| Batch::new(rows, RowLength::UpTo(16)))
        .collect();
    let over = Denominators::of(&batches);
    let forward = |model: &TrainModel, index: usize| micro_step(model, &batches[index], over);
    trainer.step(model, micro_batches, forward)
}

fn changed(before: &[(String, TensorData)], after: &TrainModel) -> Vec<String> {
    let after = after.valid().named_tensors();
    let pairs = before.iter().zip(after);
    pairs
        .filter(|((_, a), (_, b))| a != b)
        .map(|((key, _), _)| key.clone())
        .collect()
}

#[test]
fn frozen_tensors_stay_bit_equal_and_the_others_change() {
    let model = trainable(|key| key.contains(".mamba."));
    let before = model.valid().named_tensors();
    let mut trainer = Trainer::new(config(), &model, &Default::default());
    let mut model = model;
    for _ in 0..3 {
        model = step(&mut trainer, model, 1).0;
    }
    let changed = changed(&before, &model);
    let mixers: Vec<_> = before
        .iter()
        .map(|(key, _)| key.clone())
        .filter(|key| key.contains(".mamba."))
        .collect();
    assert!(!mixers.is_empty());
    assert_eq!(changed, mixers);
}

#[test]
fn a_frozen_tensor_is_not_in_the_norm() {
    let norm = |predicate: fn(&str) -> bool| {
        let model = trainable(predicate);
        let mut trainer = Trainer::new(config(), &model, &Default::default());
        step(&mut trainer, model, 1).1.grad_norm
    };
    let (mixers, rest, all) = (
        norm(|key| key.contains(".mamba.")),
        norm(|key| !key.contains(".mamba.")),
        norm(|_| true),
    );
    assert!(mixers > 0.0 && rest > 0.0);
    assert!(
        (mixers.hypot(rest) - all).abs() < 1e-5 * all,
        "{mixers} {rest} {all}"
    );
}

#[test]
fn two_micro_batches_equal_one_of_double_size() {
    let run = |micro_batches| {
        let model = trainable(|_| true);
        let mut trainer = Trainer::new(config(), &model, &Default::default());
        let (model, report) = step(&mut trainer, model, micro_batches);
        (model.valid().named_tensors(), report)
    };
    let ((one, first), (two, second)) = (run(1), run(2));
    assert!((first.loss - second.loss).abs() < 1e-6);
    assert!((first.grad_norm - second.grad_norm).abs() < 1e-5);
    for ((key, one), (_, two)) in one.iter().zip(&two) {
        for (a, b) in one.iter::<f32>().zip(two.iter::<f32>()) {
            // Adam's first step is about the sign of the gradient, so rounding near zero may show.
            assert!((a - b).abs() < 2e-3, "{key}: {a} against {b}");
        }
    }
}

#[test]
fn gradients_above_the_limit_are_scaled_to_it() {
    let model = trainable(|_| true);
    let device = Default::default();
    let batch = Batch::new(&examples(4), RowLength::UpTo(16));
    let over = Denominators::of([&batch]);
    let loss = distillation_loss(
        &model,
        None,
        &batch,
        &LossPlan::CROSS_ENTROPY,
        over,
        &device,
    )
    .loss;
    let gradients = GradientsParams::from_grads(loss.backward(), &model);
    let norm = |gradients: &GradientsParams| {
        let squared = norm_squared::<Flex, _>(&model, gradients, &device);
        squared.into_data().iter::<f64>().sum::<f64>().sqrt()
    };
    let before = norm(&gradients);
    let scaled = scaled(
        &model,
        gradients,
        Tensor::<Flex, 1>::full([1], 0.25 / before, &device),
    );
    assert!(before > 0.25);
    assert!((norm(&scaled) - 0.25).abs() < 1e-5);
}

#[test]
fn the_unread_step_equals_the_read_one() {
    let model = trainable(|_| true);
    let config = TrainerConfig {
        clip_norm: 0.1,
        ..config()
    };
    let mut trainer = Trainer::new(config, &model, &Default::default());
    let (read, report) = step(&mut trainer, model.clone(), 1);
    assert!(report.grad_norm > 0.1, "the clip must bite");
    let mut trainer = Trainer::new(config, &model, &Default::default());
    let batch = Batch::new(&examples(4), RowLength::UpTo(16));
    let over = Denominators::of([&batch]);
    let (unread, numbers) =
        trainer.step_unread(model, 1, |model, _| micro_step(model, &batch, over));
    let numbers: Vec<f64> = numbers.into_data().iter::<f64>().collect();
    assert!((numbers[0].sqrt() - report.grad_norm).abs() < 1e-5);
    assert!((numbers[1] - report.loss).abs() < 1e-6);
    let (read, unread) = (read.valid().named_tensors(), unread.valid().named_tensors());
    for ((key, a), (_, b)) in read.iter().zip(&unread) {
        let worst = a
            .iter::<f32>()
            .zip(b.iter::<f32>())
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        assert!(worst < 1e-4, "{key}: {worst}");
    }
}

#[test]
fn loss_falls_and_equal_runs_agree_to_the_bit() {
    let run = || {
        let mut model = trainable(|_| true);
        let mut trainer = Trainer::new(config(), &model, &Default::default());
        let mut losses = Vec::new();
        for _ in 0..25 {
            let (next, report) = step(&mut trainer, model, 1);
            model = next;
            losses.push(report.loss);
        }
        losses
    };
    let losses = run();
    assert!(losses[24] < 0.6 * losses[0], "{losses:?}");
    assert_eq!(losses, run());
}

#[test]
fn a_loss_that_is_not_finite_leaves_the_model_alone() {
    let mut model = trainable(|_| true);
    let before = model.valid().named_tensors();
    let mut trainer = Trainer::new(config(), &model, &Default::default());
    let batch = Batch::new(&examples(2), RowLength::UpTo(16));
    let over = Denominators::of([&batch]);
    let broken = |model: &TrainModel, _: usize| {
        let parts = micro_step(model, &batch, over);
        MicroStep {
            loss: parts.loss.mul_scalar(f32::NAN),
            ..parts
        }
    };
    let (next, report) = trainer.step(model, 1, broken);
    model = next;
    assert!(!report.is_applied() && report.loss.is_nan());
    assert_eq!(changed(&before, &model), Vec::<String>::new());
    assert_eq!(trainer.steps_taken(), 1);
}

#[test]
fn vectors_and_a_log_are_not_decayed() {
    let model = trainable(|_| true);
    let groups = DecayGroups::of::<Flex>(&model);
    let keys: std::collections::HashMap<_, _> = model.param_keys().into_iter().collect();
    let of = |ids: &[burn::module::ParamId]| -> Vec<String> {
        ids.iter().map(|id| keys[id].clone()).collect()
    };
    let undecayed = of(&groups.undecayed);
    for part in [
        "A_log",
        ".D",
        "dt_bias",
        "norm.weight",
        "input_layernorm.weight",
        "conv1d.bias",
    ] {
        assert!(
            undecayed.iter().any(|key| key.ends_with(part)),
            "{part} in {undecayed:?}"
        );
    }
    let decayed = of(&groups.decayed);
    assert!(
        decayed.iter().any(|key| key.ends_with("in_proj.weight")),
        "{decayed:?}"
    );
    assert_eq!(decayed.len() + undecayed.len(), keys.len());
}
