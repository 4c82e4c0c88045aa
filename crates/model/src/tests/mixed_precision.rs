//! Mixers and MLPs in bf16 over weights in f32.

use burn::module::{AutodiffModule, Module, ModuleMapper, Param};
use burn::tensor::{DType, FloatDType, Int, Tensor, TensorData, backend::Backend};

use super::fixtures::{Inner, Train, root_mean_square, some_tokens};
use super::laws::models;
use crate::documents::Documents;
use crate::hybrid::HybridModel;

/// Root mean square of the difference over that of `expected`.
fn relative_error(found: &[f64], expected: &[f64]) -> f64 {
    let difference: Vec<f64> = found.iter().zip(expected).map(|(f, e)| f - e).collect();
    root_mean_square(&difference) / root_mean_square(expected)
}

/// Weights rounded to bf16, and kept in f32.
struct Rounder;

impl<B: Backend> ModuleMapper<B> for Rounder {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        param.map(|weight| weight.cast(FloatDType::BF16).cast(FloatDType::F32))
    }
}

/// An error against the one that rounding the weights alone makes: a weight is rounded once, what passes it at each of
/// some ten operations of a block.
const TIMES: f64 = 8.0;

#[test]
fn bf16_rounds_logits_and_gradients_and_leaves_weights_in_f32() {
    for (name, model) in models() {
        let exact = HybridModel::<Train>::from_inner(model).freeze(|_| true);
        let short = exact.clone().computing_in(Some(FloatDType::BF16));
        let rounded = HybridModel::<Train>::from_inner(exact.valid().map(&mut Rounder));
        let rounded = rounded.freeze(|_| true);
        let tokens: Tensor<Train, 2, Int> = some_tokens(2, 40, 97);
        assert_eq!(short.valid().compute(), Some(FloatDType::BF16));
        let documents =
            Documents::from_lengths(&[vec![25, 15], vec![40]], &Default::default()).unwrap();
        let run = |model: &HybridModel<Train>| {
            let logits = model.forward_packed(tokens.clone(), &documents);
            assert_eq!(logits.dtype(), DType::F32, "{name}");
            let loss = logits.clone().powi_scalar(2).mean();
            let gradients = model.named_gradients(&loss.backward());
            let logits: Vec<f64> = logits.into_data().iter::<f64>().collect();
            (logits, gradients)
        };
        let (expected, expected_gradients) = run(&exact);
        let (found, gradients) = run(&short);
        let (scale, gradient_scale) = run(&rounded);
        let error = relative_error(&found, &expected);
        let bound = TIMES * relative_error(&scale, &expected);
        assert!(
            (1e-4..bound).contains(&error),
            "{name}: logits {error} of {bound}"
        );
        assert_eq!(gradients.len(), expected_gradients.len());
        let all = gradients
            .iter()
            .zip(&expected_gradients)
            .zip(&gradient_scale);
        for (((key, found), (_, expected)), (_, scale)) in all {
            assert_eq!(found.dtype, DType::F32, "{name}, {key}");
            let numbers = |data: &TensorData| data.iter::<f64>().collect::<Vec<f64>>();
            let [found, expected, scale] = [found, expected, scale].map(numbers);
            let error = relative_error(&found, &expected);
            let bound = TIMES * relative_error(&scale, &expected);
            assert!(error < bound, "{name}, {key}: {error} of {bound}");
        }
    }
}

#[test]
fn casting_frozen_projections_once_changes_no_bit_and_is_undone() {
    for (name, model) in models() {
        let model = model.computing_in(Some(FloatDType::BF16));
        // Attention's projections train, those of the MLPs do not.
        let frozen = HybridModel::<Train>::from_inner(model.clone());
        let frozen = frozen.freeze(|key| key.contains("_proj") && !key.contains(".mlp."));
        let cast = frozen.clone().with_frozen_projections_cast();
        let tokens: Tensor<Train, 2, Int> = some_tokens(2, 24, 97);
        let run = |model: &HybridModel<Train>| {
            let logits = model.forward(tokens.clone());
            let loss = logits.clone().powi_scalar(2).mean();
            let gradients = model.named_gradients(&loss.backward());
            (logits.into_data(), gradients)
        };
        let (expected, found) = (run(&frozen), run(&cast));
        assert_eq!(found.0, expected.0, "{name}");
        assert!(!found.1.is_empty(), "{name}");
        assert_eq!(found.1, expected.1, "{name}");

        let teacher = model.clone().with_frozen_projections_cast();
        let tokens = tokens.inner();
        let logits = |model: &HybridModel<_>| model.forward(tokens.clone()).into_data();
        assert_eq!(logits(&teacher), logits(&model), "{name}");

        let names = |model: &HybridModel<_>| model.named_tensors();
        assert_ne!(names(&cast.valid()), names(&model), "{name}");
        assert_eq!(
            names(&cast.valid().with_weights_of(&model)),
            names(&model),
            "{name}"
        );
        assert_eq!(
            names(&teacher.with_weights_of(&model)),
            names(&model),
            "{name}"
        );
    }
}

#[test]
fn projections_held_in_bf16_are_the_rounded_weights() {
    for (name, model) in models() {
        let short = model.clone().with_projections_in(FloatDType::BF16);
        let rounded = short.clone().with_projections_in(FloatDType::F32);
        assert!(
            short.bytes_per_token() < rounded.bytes_per_token(),
            "{name}"
        );
        let tokens = some_tokens(2, 9, 97);
        let run = |model: &HybridModel<Inner>| {
            let mut cache = model.new_cache(2, 9);
            let parts = [(0, 6), (6, 1), (7, 1), (8, 1)];
            let logits = parts.map(|(start, length)| {
                let part = tokens.clone().narrow(1, start, length);
                model.forward_cached(part, &mut cache)
            });
            let logits = Tensor::cat(logits.into(), 1);
            assert_eq!(logits.dtype(), DType::F32, "{name}");
            logits.into_data().iter::<f64>().collect::<Vec<_>>()
        };
        let found = run(&short);
        assert_eq!(found, run(&rounded), "{name}");
        assert!(relative_error(&found, &run(&model)) > 1e-4, "{name}");
    }
}
