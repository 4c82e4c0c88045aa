//! The loss of packed documents is that of rows of their own, with every gradient.

use burn::backend::{Autodiff, Flex};
use burn::module::AutodiffModule;
use model::HybridModel;

use super::{Denominators, distillation_loss};
use crate::data::{Batch, Example, RowLength};
use crate::recipe::{KlMask, LossPlan};
use crate::testing::{examples, student, teacher};

/// Cross-entropy, KL and gradients of a student on one batch.
pub(super) fn measure(batch: &Batch, kl_mask: KlMask) -> (f64, f64, Vec<(String, Vec<f64>)>) {
    let plan = LossPlan {
        ce_weight: 1.0,
        kl_weight: 0.5,
        kl_mask,
        ..LossPlan::CROSS_ENTROPY
    };
    let device = Default::default();
    let student = HybridModel::<Autodiff<Flex>>::from_inner(student()).freeze(|_| true);
    let over = Denominators::of([batch]);
    let parts = distillation_loss(&student, Some(&teacher()), batch, &plan, over, &device);
    let gradients = student.named_gradients(&parts.loss.backward());
    let gradients = gradients
        .into_iter()
        .map(|(key, data)| (key, data.iter::<f64>().collect()))
        .collect();
    let number = |tensor: burn::tensor::Tensor<Flex, 1>| f64::from(tensor.into_scalar());
    (number(parts.ce), number(parts.kl), gradients)
}

/// Examples whose every token is a target, so that one at a start would count.
fn documents() -> Vec<Example> {
    let mut documents = examples(6);
    for document in &mut documents {
        document.targets.fill(true);
    }
    documents
}

#[test]
fn packing_changes_neither_loss_nor_gradients() {
    let documents = documents();
    let alone = Batch::new(&documents, RowLength::Exactly(12));
    let rows: Vec<Vec<&Example>> = documents
        .chunks(3)
        .map(|row| row.iter().collect())
        .collect();
    let packed = Batch::packed(&rows, 36);
    for kl_mask in [KlMask::Labels, KlMask::All] {
        let (ce, kl, gradients) = measure(&packed, kl_mask);
        let (expected_ce, expected_kl, expected) = measure(&alone, kl_mask);
        assert!((ce - expected_ce).abs() < 1e-5, "{ce} {expected_ce}");
        assert!(expected_kl > 1e-6, "{expected_kl}: nothing to compare");
        assert!(
            (kl - expected_kl).abs() < 1e-4 * expected_kl,
            "{kl} {expected_kl}"
        );
        assert_eq!(gradients.len(), expected.len());
        for ((key, found), (_, expected)) in gradients.iter().zip(&expected) {
            let mean = expected.iter().map(|v| v * v).sum::<f64>() / expected.len() as f64;
            let near = 1e-3 * mean.sqrt();
            assert!(near > 0.0, "{key}: nothing to compare");
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() < near, "{key}: {found} {expected}");
            }
        }
    }
}

#[test]
fn without_boundaries_the_loss_is_another() {
    let documents = documents();
    let rows: Vec<Vec<&Example>> = documents
        .chunks(3)
        .map(|row| row.iter().collect())
        .collect();
    let exact = Batch::packed(&rows, 36);
    let published = Batch::packed_without_boundaries(&rows, 36);
    assert_eq!(exact.target_count(), 6 * 11);
    assert_eq!(published.target_count(), 2 * 35, "starts of documents too");
    let (exact_ce, exact_kl, _) = measure(&exact, KlMask::All);
    let (ce, kl, _) = measure(&published, KlMask::All);
    assert!((ce - exact_ce).abs() > 1e-3 * exact_ce, "{ce} {exact_ce}");
    assert!((kl - exact_kl).abs() > 1e-3 * exact_kl, "{kl} {exact_kl}");
}
