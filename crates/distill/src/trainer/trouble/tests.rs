//! Steps with planted trouble: what is named is where it was planted.
use burn::backend::{Autodiff, Flex};
use burn::module::{AutodiffModule, Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::{FloatDType, Tensor};

use super::*;
use crate::data::{Batch, RowLength};
use crate::loss::{Denominators, distillation_loss};
use crate::recipe::LossPlan;
use crate::testing::examples;
use crate::trainer::tests::{config, trainable};
use crate::trainer::{StepReport, Trainer};

type Tape = Autodiff<Flex>;

/// Near the largest number that f32 and bf16 hold.
const HUGE: f32 = 3e38;

/// Fills one tensor.
struct Filled {
    id: ParamId,
    value: f32,
}

impl ModuleMapper<Tape> for Filled {
    fn map_float<const D: usize>(
        &mut self,
        param: Param<Tensor<Tape, D>>,
    ) -> Param<Tensor<Tape, D>> {
        if param.id != self.id {
            return param;
        }
        let filled = param.val().inner() * 0.0 + self.value;
        Param::initialized(self.id, Tensor::from_inner(filled).require_grad())
    }
}

/// The sum of one tensor.
struct Sum {
    id: ParamId,
    sum: Option<Tensor<Tape, 1>>,
}

impl ModuleVisitor<Tape> for Sum {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<Tape, D>>) {
        if param.id == self.id {
            self.sum = Some(param.val().sum());
        }
    }
}

fn id(model: &Model<Flex>, key: &str) -> ParamId {
    let mut keys = model.param_keys().into_iter();
    keys.find(|(_, found)| found == key)
        .expect("there is one")
        .0
}

fn filled(key: &str, value: f32) -> Model<Flex> {
    let model = trainable(|_| true);
    let id = id(&model, key);
    model.map(&mut Filled { id, value })
}

/// A step in two micro-batches; to the loss of each comes what `extra` makes of the model.
fn step(model: Model<Flex>, extra: impl Fn(&Model<Flex>) -> Option<Tensor<Tape, 1>>) -> StepReport {
    let before = model.valid().named_tensors();
    let examples = examples(4);
    let batches: Vec<_> = examples
        .chunks(2)
        .map(|rows| Batch::new(rows, RowLength::UpTo(16)))
        .collect();
    let over = Denominators::of(&batches);
    let plan = LossPlan::CROSS_ENTROPY;
    let forward = |model: &Model<Flex>, index: usize| {
        let batch = &batches[index];
        let parts = distillation_loss(model, None, batch, &plan, over, &Default::default());
        MicroStep {
            loss: extra(model).map_or(parts.loss.clone(), |extra| parts.loss + extra),
            metrics: parts.ce,
            blocks: parts.blocks,
        }
    };
    let mut trainer = Trainer::new(config(), &model, &Default::default());
    let (model, report) = trainer.step(model, 2, forward);
    let is_same = before == model.valid().named_tensors();
    assert_eq!(is_same, !report.is_applied());
    report
}

#[test]
fn the_layer_whose_output_overflows_is_named_in_f32_and_bf16() {
    for compute in [None, Some(FloatDType::BF16)] {
        for (layer_idx, kind) in [(0, MixerKind::Mamba2), (1, MixerKind::Attention)] {
            for is_checkpointed in [false, true] {
                let key = format!("model.layers.{layer_idx}.post_attention_layernorm.weight");
                let model = filled(&key, HUGE).computing_in(compute);
                let report = step(model.checkpointed(is_checkpointed), |_| None);
                assert!(report.loss.is_nan(), "{compute:?}: {report:?}");
                let expected = NotFinite::Output(layer_idx, kind);
                assert_eq!(report.not_finite, Some(expected), "{compute:?}");
            }
        }
    }
    let text = NotFinite::Output(1, MixerKind::Attention).to_string();
    assert_eq!(text, "first in layer 1 (attention)");
}

#[test]
fn a_step_size_that_explodes_is_named_and_a_large_one_is_not() {
    let key = "model.layers.0.mamba.dt_bias";
    let report = step(filled(key, 1e4), |_| None);
    assert!(report.is_applied(), "{report:?}");
    let report = step(filled(key, f32::INFINITY), |_| None);
    let expected = NotFinite::Output(0, MixerKind::Mamba2);
    assert_eq!(report.not_finite, Some(expected));
}

#[test]
fn gradients_that_are_not_finite_are_named_by_their_last_layer() {
    // The slope of a root at zero is infinite, and nought of it no number.
    let root = |key: &'static str| {
        move |model: &Model<Flex>| {
            let id = id(model, key);
            let mut visitor = Sum { id, sum: None };
            model.visit(&mut visitor);
            visitor.sum.map(|sum| (sum * 0.0).sqrt())
        }
    };
    for (key, expected, text) in [
        (
            "model.layers.0.mamba.dt_bias",
            NotFinite::Gradients(0, MixerKind::Mamba2),
            "first in the gradients of layer 0 (mamba2)",
        ),
        (
            "model.layers.1.mlp.up_proj.weight",
            NotFinite::Gradients(1, MixerKind::Attention),
            "first in the gradients of layer 1 (attention)",
        ),
        (
            "model.norm.weight",
            NotFinite::Rest,
            "in no layer's gradients for itself",
        ),
    ] {
        let report = step(trainable(|_| true), root(key));
        assert!(
            report.loss.is_finite() && report.grad_norm.is_nan(),
            "{report:?}"
        );
        assert_eq!(report.not_finite, Some(expected), "{key}");
        assert_eq!(expected.to_string(), text);
    }
}

#[test]
fn a_loss_that_is_not_finite_after_finite_layers_is_named() {
    let nan = |_: &Model<Flex>| Some(Tensor::full([1], f32::NAN, &Default::default()));
    let report = step(trainable(|_| true), nan);
    assert_eq!(report.not_finite, Some(NotFinite::Loss));
}
