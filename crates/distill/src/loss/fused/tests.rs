use burn::backend::Flex;
use burn::tensor::activation::log_softmax;
use proptest::prelude::*;

use super::*;
use crate::loss::RowIndex;
use crate::loss::testing::{self, D_MODEL, any_divergence, gradient, numbers, rows, worst_error};
use crate::loss::{CachedTopK, TeacherRows};
use crate::recipe::Divergence;
use crate::teacher_cache::Records;

type T = Autodiff<Flex>;

const ROWS: usize = 6;
const VOCAB: usize = 7;

/// Row 2 is in the divergence alone, row 4 in nothing.
fn targets() -> Targets {
    Targets {
        rows: RowIndex::new((0..ROWS as i32).collect(), ROWS),
        labels: vec![3, 0, 0, 6, 0, 2],
        ce_weights: vec![0.25, 0.25, 0.0, 0.25, 0.0, 0.25],
        kl_weights: vec![0.2, 0.2, 0.2, 0.2, 0.0, 0.2],
        sequences: vec![0; ROWS],
    }
}

fn plan(divergence: Divergence, temperature: f64) -> LossPlan {
    LossPlan {
        ce_weight: 0.7,
        kl_weight: 1.3,
        divergence,
        temperature,
        ..LossPlan::CROSS_ENTROPY
    }
}

struct Run {
    loss: f64,
    parts: [f64; 2],
    /// Of the hidden states and of the head.
    gradients: [Option<Vec<f64>>; 2],
}

/// Loss and gradients of three times the loss.
fn run(plan: &LossPlan, is_head_frozen: bool, rows_at_a_time: usize) -> Run {
    let teacher = TeacherRows::Head(rows::<Flex>(ROWS, VOCAB, 2, 2.0));
    run_with(&teacher, plan, is_head_frozen, rows_at_a_time)
}

fn run_with(
    teacher: &TeacherRows<Flex>,
    plan: &LossPlan,
    is_head_frozen: bool,
    rows_at_a_time: usize,
) -> Run {
    let student = rows::<T>(ROWS, VOCAB, 1, 2.0);
    let student = HeadRows {
        hidden: student.hidden.require_grad(),
        weight: student.weight.set_require_grad(!is_head_frozen),
    };
    let leaves = [student.hidden.clone(), student.weight.clone()];
    let parts = fused_loss(student, Some(teacher), &targets(), plan, rows_at_a_time);
    let gradients = parts.loss.clone().mul_scalar(3.0).backward();
    Run {
        loss: numbers(parts.loss)[0],
        parts: [numbers(parts.ce)[0], numbers(parts.kl)[0]],
        gradients: leaves.map(|leaf| leaf.grad(&gradients).map(numbers)),
    }
}

/// The loss in f64 from hidden states and head of the student, row after row.
fn reference(plan: &LossPlan, hidden: &[f64], head: &[f64]) -> f64 {
    let logits = |hidden: &[f64], head: &[f64], row: usize| -> Vec<f64> {
        let hidden = &hidden[row * D_MODEL..][..D_MODEL];
        let dot = |token: &[f64]| token.iter().zip(hidden).map(|(a, b)| a * b).sum();
        head.chunks(D_MODEL).map(dot).collect()
    };
    let teacher = rows::<Flex>(ROWS, VOCAB, 2, 2.0);
    let (teacher_hidden, teacher_head) = (numbers(teacher.hidden), numbers(teacher.weight));
    let targets = targets();
    let cooled = |logits: Vec<f64>| -> Vec<f64> {
        logits
            .iter()
            .map(|logit| logit / plan.temperature)
            .collect()
    };
    let row = |row: usize| {
        let student = logits(hidden, head, row);
        let ce = testing::cross_entropy(&student, targets.labels[row] as usize);
        let teacher = cooled(logits(&teacher_hidden, &teacher_head, row));
        let kl = testing::divergence(plan.divergence, &teacher, &cooled(student));
        plan.ce_weight * f64::from(targets.ce_weights[row]) * ce
            + plan.kl_weight * f64::from(targets.kl_weights[row]) * plan.temperature.powi(2) * kl
    };
    (0..ROWS).map(row).sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn loss_and_gradients_are_those_of_the_definition(
        divergence in any_divergence(VOCAB),
        temperature in prop_oneof![Just(1.0), 0.5..3.0f64],
        rows_at_a_time in 1..ROWS + 2,
    ) {
        let plan = plan(divergence, temperature);
        let student = rows::<Flex>(ROWS, VOCAB, 1, 2.0);
        let (hidden, head) = (numbers(student.hidden), numbers(student.weight));
        let got = run(&plan, false, rows_at_a_time);
        let expected = reference(&plan, &hidden, &head);
        prop_assert!(worst_error(&[got.loss], &[expected], 0.1) < 1e-5);
        let [got_hidden, got_head] = got.gradients.map(|gradient| gradient.expect("tracked"));
        let slopes = gradient(&hidden, |hidden| 3.0 * reference(&plan, hidden, &head));
        prop_assert!(worst_error(&got_hidden, &slopes, 0.1) < 1e-5, "{got_hidden:?} {slopes:?}");
        let slopes = gradient(&head, |head| 3.0 * reference(&plan, &hidden, head));
        prop_assert!(worst_error(&got_head, &slopes, 0.1) < 1e-5, "{got_head:?} {slopes:?}");
    }

    #[test]
    fn the_size_of_blocks_does_not_change_the_result(
        divergence in any_divergence(VOCAB),
        rows_at_a_time in 1..ROWS,
    ) {
        let plan = plan(divergence, 1.0);
        let (whole, parts) = (run(&plan, false, ROWS), run(&plan, false, rows_at_a_time));
        prop_assert!(worst_error(&parts.parts, &whole.parts, 0.1) < 1e-6);
        for (part, whole) in parts.gradients.iter().zip(&whole.gradients) {
            let (part, whole) = (part.as_ref().expect("tracked"), whole.as_ref().expect("tracked"));
            prop_assert!(worst_error(part, whole, 0.1) < 1e-6);
        }
    }
}

#[test]
fn the_one_operation_equals_the_tensor_operations() {
    let plan = plan(Divergence::ForwardKl, 1.0);
    let columns = Columns::<Flex>::new(&targets(), &Default::default());
    let logits = |seed| rows::<Flex>(ROWS, VOCAB, seed, 2.0).logits(&(0..ROWS));
    let teacher = Distribution::new(logits(2));
    let forward_kl =
        |student: &Distribution<Flex>| divergence::divergence(plan.divergence, &teacher, student);
    let expected = of_block(logits(1), forward_kl, &columns, &plan);
    let got = by_kernel(logits(1), Some(logits(2)), columns, &plan, true);
    let near = |got: Vec<f64>, expected: Vec<f64>| worst_error(&got, &expected, 0.1) < 1e-6;
    assert!(near(numbers(got.ce), numbers(expected.ce)));
    assert!(near(numbers(got.divergence), numbers(expected.divergence)));
    let [got, expected] = [got.gradient, expected.gradient].map(|g| numbers(g.expect("wanted")));
    assert!(near(got, expected));
}

#[test]
fn a_frozen_head_gets_no_gradient_and_the_hidden_states_the_same() {
    let plan = plan(Divergence::ForwardKl, 1.0);
    let (frozen, trained) = (run(&plan, true, 4), run(&plan, false, 4));
    assert!(frozen.gradients[1].is_none() && trained.gradients[1].is_some());
    assert_eq!(frozen.gradients[0], trained.gradients[0]);
}

#[test]
fn a_teacher_that_was_asked_before_gives_the_loss_of_its_likeliest_tokens() {
    for k in [1, 3, VOCAB - 1] {
        let plan = plan(Divergence::TopK { k }, 1.0);
        let log_probs = log_softmax(rows::<Flex>(ROWS, VOCAB, 2, 2.0).logits(&(0..ROWS)), 1);
        let mut records = Records::default();
        for log_probs in numbers(log_probs).chunks(VOCAB) {
            let mut ids: Vec<usize> = (0..VOCAB).collect();
            ids.sort_by(|a, b| log_probs[*b].total_cmp(&log_probs[*a]));
            let (top, rest) = ids.split_at(k);
            records.ids.extend(top.iter().map(|id| *id as i32));
            let of = |id: &usize| log_probs[*id] as f32;
            records.log_probs.extend(top.iter().map(of));
            let mass: f64 = rest.iter().map(|id| log_probs[*id].exp()).sum();
            records.log_residuals.push(mass.ln() as f32);
        }
        let cached = TeacherRows::TopK(CachedTopK::new(&records, k, &Default::default()));
        let asked = TeacherRows::Head(rows::<Flex>(ROWS, VOCAB, 2, 2.0));
        for rows_at_a_time in [ROWS, 2] {
            let found = run_with(&cached, &plan, false, rows_at_a_time);
            let expected = run_with(&asked, &plan, false, rows_at_a_time);
            let near = |found: &[f64], expected: &[f64]| worst_error(found, expected, 0.1) < 1e-5;
            assert!(near(&[found.loss], &[expected.loss]), "{k}");
            assert!(near(&found.parts, &expected.parts), "{k}");
            for (found, expected) in found.gradients.iter().zip(&expected.gradients) {
                let [found, expected] = [found, expected].map(|g| g.as_ref().expect("wanted"));
                assert!(near(found, expected), "{k}: {found:?} {expected:?}");
            }
        }
    }
}

#[test]
fn without_a_teacher_the_loss_is_cross_entropy() {
    let student = rows::<T>(ROWS, VOCAB, 1, 2.0);
    let plan = LossPlan::CROSS_ENTROPY;
    let parts = fused_loss(student, None, &targets(), &plan, 2);
    let without_kl = LossPlan {
        kl_weight: 0.0,
        ..plan
    };
    let student = rows::<Flex>(ROWS, VOCAB, 1, 2.0);
    let expected = reference(
        &without_kl,
        &numbers(student.hidden),
        &numbers(student.weight),
    );
    assert!(worst_error(&numbers(parts.loss), &[expected], 0.1) < 1e-6);
    assert_eq!(numbers(parts.kl), [0.0]);
}
