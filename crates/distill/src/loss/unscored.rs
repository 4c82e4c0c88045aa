//! Batches and documents with nothing to learn.

use super::packed::measure;
use crate::data::{Batch, Example, RowLength};
use crate::recipe::KlMask;
use crate::testing::examples;

#[test]
fn a_batch_without_a_target_has_neither_loss_nor_gradient() {
    let mut examples = examples(3);
    for example in &mut examples {
        example.targets.fill(false);
    }
    let batch = Batch::new(&examples, RowLength::UpTo(16));
    let (ce, kl, gradients) = measure(&batch, KlMask::Labels);
    assert_eq!((ce, kl), (0.0, 0.0));
    assert!(!gradients.is_empty());
    for (key, gradient) in gradients {
        assert!(gradient.iter().all(|value| *value == 0.0), "{key}");
    }
    // Under this mask every position is compared with the teacher, whether it is a target or not.
    let (ce, kl, gradients) = measure(&batch, KlMask::All);
    assert!(ce == 0.0 && kl > 1e-6 && kl.is_finite(), "{ce} {kl}");
    let mut values = gradients.iter().flat_map(|(_, gradient)| gradient);
    assert!(values.all(|value| value.is_finite()));
}

#[test]
fn a_document_of_one_token_adds_nothing() {
    let documents = examples(2);
    let one = Example {
        ids: vec![7],
        targets: vec![true],
    };
    let [first, second] = [&documents[0], &documents[1]];
    let without = Batch::packed(&[vec![first], vec![second]], 12);
    let with = Batch::packed(&[vec![&one, first], vec![second, &one]], 13);
    let (ce, kl, gradients) = measure(&with, KlMask::Labels);
    let (expected_ce, expected_kl, expected) = measure(&without, KlMask::Labels);
    assert!((ce - expected_ce).abs() < 1e-5, "{ce} {expected_ce}");
    assert!(
        (kl - expected_kl).abs() < 1e-4 * expected_kl,
        "{kl} {expected_kl}"
    );
    for ((key, found), (_, expected)) in gradients.iter().zip(&expected) {
        for (a, b) in found.iter().zip(expected) {
            assert!((a - b).abs() < 1e-4, "{key}: {a} against {b}");
        }
    }
}
