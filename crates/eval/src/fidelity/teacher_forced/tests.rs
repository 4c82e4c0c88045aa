use burn::backend::Flex;
use model::HybridModel;

use super::*;
use crate::tiny_model::{tiny_model, tiny_model_seeded};

const VOCAB: usize = 97;

/// Log-probabilities of every position but the last, in f64.
fn log_probs(model: &HybridModel<Flex>, ids: &[u32]) -> Vec<Vec<f64>> {
    let data: Vec<i32> = ids.iter().map(|id| *id as i32).collect();
    let data = TensorData::new(data, [1, ids.len()]);
    let tokens = Tensor::from_data(data, &Default::default());
    let logits: Vec<f64> = model.forward(tokens).into_data().iter::<f64>().collect();
    let normalise = |row: &[f64]| {
        let sum = row.iter().map(|logit| logit.exp()).sum::<f64>().ln();
        row.iter().map(|logit| logit - sum).collect()
    };
    logits.chunks(VOCAB).map(normalise).collect()
}

fn top(row: &[f64]) -> usize {
    (0..VOCAB).fold(0, |best, id| if row[id] > row[best] { id } else { best })
}

#[test]
fn sums_are_those_of_the_plain_definition() {
    let (teacher, student) = (tiny_model(VOCAB), tiny_model_seeded(VOCAB, 1));
    let ids = |n: usize| -> Vec<u32> { (0..n).map(|t| ((t * t + n) % VOCAB) as u32).collect() };
    let texts = [ids(7), ids(19), ids(4)];
    let masks: Vec<Vec<bool>> = texts
        .iter()
        .map(|text| (0..text.len()).map(|t| t % 3 != 1).collect())
        .collect();
    let examples: Vec<MaskedExample> = texts
        .iter()
        .zip(&masks)
        .map(|(ids, is_scored)| MaskedExample { ids, is_scored })
        .collect();
    let limits = BatchLimits {
        rows: 2,
        tokens: 64,
        pad_to: 5,
    };
    let found = compare(&teacher, &student, &examples, limits, |_| ()).unwrap();
    for ((example, found), text) in examples.iter().zip(&found).zip(&texts) {
        let (teacher, student) = (log_probs(&teacher, text), log_probs(&student, text));
        let mut expected = Agreement::default();
        for t in (1..text.len()).filter(|t| example.is_scored[*t]) {
            let (p, q) = (&teacher[t - 1], &student[t - 1]);
            expected.tokens += 1;
            expected.kl += p.iter().zip(q).map(|(p, q)| p.exp() * (p - q)).sum::<f64>();
            expected.same_top += usize::from(top(p) == top(q));
            expected.teacher_nll -= p[text[t] as usize];
            expected.student_nll -= q[text[t] as usize];
        }
        assert_eq!(
            (found.tokens, found.same_top),
            (expected.tokens, expected.same_top)
        );
        for (found, expected) in [
            (found.kl, expected.kl),
            (found.teacher_nll, expected.teacher_nll),
            (found.student_nll, expected.student_nll),
        ] {
            assert!((found - expected).abs() < 1e-4, "{found} {expected}");
        }
        assert!(
            expected.kl > 1e-4,
            "models that are alike show nothing: {}",
            expected.kl
        );
    }
    let ratio = perplexity_ratio(&found).unwrap();
    let total: Agreement = found.iter().copied().sum();
    assert!((ratio.value - total.perplexity_ratio()).abs() < 1e-12);
    assert!(ratio.low <= ratio.value && ratio.value <= ratio.high);
}

#[test]
fn a_teacher_agrees_with_itself() {
    let teacher = tiny_model(VOCAB);
    let (ids, is_scored) = (vec![3, 9, 27, 81, 51], vec![true; 5]);
    let example = MaskedExample {
        ids: &ids,
        is_scored: &is_scored,
    };
    let found = compare(&teacher, &teacher, &[example], BatchLimits::HOST, |_| ()).unwrap()[0];
    assert_eq!(
        (found.tokens, found.top1(), found.perplexity_ratio()),
        (4, 1.0, 1.0)
    );
    assert!(found.mean_kl() < 1e-6);
    let other = tiny_model(VOCAB + 1);
    let error = compare(&teacher, &other, &[example], BatchLimits::HOST, |_| ()).unwrap_err();
    assert!(error.to_string().contains("98"), "{error}");
}
