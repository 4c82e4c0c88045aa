//! Small inputs for the tests of losses.

use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use proptest::prelude::*;
use rand::{Rng as _, SeedableRng as _};

use super::HeadRows;
use crate::recipe::Divergence;

/// Width of the hidden states.
pub(crate) const D_MODEL: usize = 4;

/// Hidden states and a head, from `seed`, with logits of about `scale`.
pub(crate) fn rows<B: Backend>(rows: usize, vocab: usize, seed: u64, scale: f32) -> HeadRows<B> {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    let mut draw = |count: usize, scale: f32| -> Tensor<B, 2> {
        let values: Vec<f32> = (0..count * D_MODEL)
            .map(|_| scale * rng.random_range(-1.0..1.0))
            .collect();
        Tensor::from_data(
            TensorData::new(values, [count, D_MODEL]),
            &Default::default(),
        )
    };
    HeadRows {
        hidden: draw(rows, scale),
        weight: draw(vocab, 1.0),
    }
}

/// Any divergence on `vocab` tokens.
pub(crate) fn any_divergence(vocab: usize) -> impl Strategy<Value = Divergence> {
    prop_oneof![
        Just(Divergence::ForwardKl),
        Just(Divergence::ReverseKl),
        (0.05..0.95f64).prop_map(|beta| Divergence::Jsd { beta }),
        (1..=vocab).prop_map(|k| Divergence::TopK { k }),
    ]
}

fn log_softmax(logits: &[f64]) -> Vec<f64> {
    let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logits.iter().map(|logit| (logit - max).exp()).sum();
    logits.iter().map(|logit| logit - max - sum.ln()).collect()
}

/// `-log softmax(logits)[label]` in f64.
pub(crate) fn cross_entropy(logits: &[f64], label: usize) -> f64 {
    -log_softmax(logits)[label]
}

/// A divergence by its definition, in f64, from logits of one row.
pub(crate) fn divergence(kind: Divergence, teacher: &[f64], student: &[f64]) -> f64 {
    let log_p = log_softmax(teacher);
    let log_q = log_softmax(student);
    let kl =
        |a: &[f64], b: &[f64]| -> f64 { a.iter().zip(b).map(|(a, b)| a.exp() * (a - b)).sum() };
    match kind {
        Divergence::ForwardKl => kl(&log_p, &log_q),
        Divergence::ReverseKl => kl(&log_q, &log_p),
        Divergence::Jsd { beta } => {
            let mean = |p: &f64, q: &f64| (beta * p.exp() + (1.0 - beta) * q.exp()).ln();
            let log_m: Vec<f64> = log_p.iter().zip(&log_q).map(|(p, q)| mean(p, q)).collect();
            beta * kl(&log_p, &log_m) + (1.0 - beta) * kl(&log_q, &log_m)
        }
        Divergence::TopK { k } => {
            let mut order: Vec<usize> = (0..log_p.len()).collect();
            order.sort_by(|a, b| log_p[*b].total_cmp(&log_p[*a]));
            let (top, tail) = order.split_at(k.min(order.len()));
            let mut buckets: Vec<[f64; 2]> = top.iter().map(|v| [log_p[*v], log_q[*v]]).collect();
            let mass = |log: &[f64]| tail.iter().map(|v| log[*v].exp()).sum::<f64>().ln();
            if !tail.is_empty() {
                buckets.push([mass(&log_p), mass(&log_q)]);
            }
            buckets.iter().map(|[p, q]| p.exp() * (p - q)).sum()
        }
    }
}

/// Central differences of `f` at `point`.
pub(crate) fn gradient(point: &[f64], f: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    const STEP: f64 = 1e-5;
    let mut moved = point.to_vec();
    (0..point.len())
        .map(|index| {
            let mut at = |value| {
                moved[index] = value;
                f(&moved)
            };
            let slope = (at(point[index] + STEP) - at(point[index] - STEP)) / (2.0 * STEP);
            moved[index] = point[index];
            slope
        })
        .collect()
}

/// Every number of a tensor.
pub(crate) fn numbers<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

/// The worst error over the larger of `floor` and the largest expected value.
pub(crate) fn worst_error(got: &[f64], expected: &[f64], floor: f64) -> f64 {
    assert_eq!(got.len(), expected.len());
    let largest = expected
        .iter()
        .map(|value| value.abs())
        .fold(floor, f64::max);
    let errors = got.iter().zip(expected).map(|(got, expected)| {
        // NaN is no small error.
        let error = (got - expected).abs();
        if error.is_nan() { f64::INFINITY } else { error }
    });
    errors.fold(0.0, f64::max) / largest
}
