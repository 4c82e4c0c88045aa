use burn::backend::Flex;
use burn::tensor::TensorData;
use proptest::prelude::*;

use super::*;
use crate::loss::testing::{self, any_divergence, numbers, worst_error};

const VOCAB: usize = 9;

fn row(logits: &[f64]) -> Distribution<Flex> {
    let logits: Vec<f32> = logits.iter().map(|logit| *logit as f32).collect();
    let data = TensorData::new(logits, [1, VOCAB]);
    Distribution::new(Tensor::from_data(data, &Default::default()))
}

fn logits() -> impl Strategy<Value = Vec<f64>> {
    // Numbers that f32 holds exactly, so that both sides see the same.
    prop::collection::vec(-8f32..8.0, VOCAB)
        .prop_map(|row| row.into_iter().map(f64::from).collect())
}

fn run(kind: Divergence, teacher: &[f64], student: &[f64]) -> (f64, Vec<f64>) {
    let parts = divergence(kind, &row(teacher), &row(student));
    (numbers(parts.value)[0], numbers(parts.gradient))
}

proptest! {
    #[test]
    fn value_and_gradient_are_those_of_the_definition(
        kind in any_divergence(VOCAB),
        teacher in logits(),
        student in logits(),
    ) {
        let expected = testing::divergence(kind, &teacher, &student);
        let slopes = testing::gradient(&student, |student| {
            testing::divergence(kind, &teacher, student)
        });
        let (value, gradient) = run(kind, &teacher, &student);
        prop_assert!(worst_error(&[value], &[expected], 1.0) < 1e-5, "{value} {expected}");
        // Log-ratios of up to 25 stand behind both.
        prop_assert!(worst_error(&gradient, &slopes, 1.0) < 1e-5, "{gradient:?} {slopes:?}");
    }

    #[test]
    fn divergences_are_not_negative(
        kind in any_divergence(VOCAB),
        teacher in logits(),
        student in logits(),
    ) {
        prop_assert!(run(kind, &teacher, &student).0 >= -1e-6);
    }

    #[test]
    fn equal_distributions_have_neither_value_nor_gradient(
        kind in any_divergence(VOCAB),
        teacher in logits(),
        shift in -3f64..3.0,
    ) {
        // Adding a number to all logits leaves the distribution as it is.
        let student: Vec<f64> = teacher.iter().map(|logit| logit + shift).collect();
        let (value, gradient) = run(kind, &teacher, &student);
        prop_assert!(value.abs() < 2e-6, "{value}");
        prop_assert!(worst_error(&gradient, &[0.0; VOCAB], 1.0) < 2e-6, "{gradient:?}");
    }

    #[test]
    fn top_k_of_the_whole_vocabulary_is_forward_kl(teacher in logits(), student in logits()) {
        // Once through the shortcut for a large k, once through the buckets.
        let expected = run(Divergence::ForwardKl, &teacher, &student);
        prop_assert_eq!(&run(Divergence::TopK { k: VOCAB + 3 }, &teacher, &student), &expected);
        let parts = top_k_kl(VOCAB, &row(&teacher), &row(&student));
        prop_assert!((numbers(parts.value)[0] - expected.0).abs() < 1e-6);
        prop_assert!(worst_error(&numbers(parts.gradient), &expected.1, 1.0) < 1e-6);
    }

    #[test]
    fn top_k_is_never_above_forward_kl(
        k in 1..=VOCAB,
        teacher in logits(),
        student in logits(),
    ) {
        // Merging tokens into a bucket loses information (log-sum inequality).
        let (merged, _) = run(Divergence::TopK { k }, &teacher, &student);
        prop_assert!(merged <= run(Divergence::ForwardKl, &teacher, &student).0 + 1e-5);
    }
}

#[test]
fn symmetric_jsd_of_disjoint_distributions_is_ln_2() {
    let far = |hot: usize| -> Vec<f64> {
        (0..VOCAB)
            .map(|v| if v == hot { 200.0 } else { -200.0 })
            .collect()
    };
    let (value, gradient) = run(Divergence::Jsd { beta: 0.5 }, &far(0), &far(1));
    assert!((value - std::f64::consts::LN_2).abs() < 1e-6, "{value}");
    assert!(
        gradient.iter().all(|slope| slope.is_finite()),
        "{gradient:?}"
    );
}

#[test]
fn distributions_far_apart_stay_finite() {
    let far = |hot: usize| -> Vec<f64> {
        (0..VOCAB)
            .map(|v| if v == hot { 500.0 } else { -500.0 })
            .collect()
    };
    for kind in [
        Divergence::ForwardKl,
        Divergence::ReverseKl,
        Divergence::Jsd { beta: 0.1 },
        Divergence::TopK { k: 1 },
    ] {
        let (value, gradient) = run(kind, &far(0), &far(1));
        assert!(value.is_finite() && value > 0.1, "{kind:?}: {value}");
        assert!(gradient.iter().all(|slope| slope.is_finite()), "{kind:?}");
    }
}
