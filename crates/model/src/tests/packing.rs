//! Packed rows are their documents run alone.

use burn::module::AutodiffModule;
use burn::tensor::activation::log_softmax;
use burn::tensor::{Int, Tensor, backend::Backend};
use proptest::prelude::*;

use super::fixtures::{Inner, Train, assert_values_near, root_mean_square, some_tokens};
use super::laws::models;
use crate::documents::Documents;
use crate::hybrid::HybridModel;

/// Rounding between two orders of summation, relative to the root mean square: of what is computed forward, and of gradients.
const FORWARD: f64 = 2e-4;
const GRADIENT: f64 = 1e-3;

/// Where each document is: its row, its first token, its length.
fn spans(rows: &[Vec<usize>]) -> Vec<(usize, usize, usize)> {
    let mut spans = Vec::new();
    for (row, lengths) in rows.iter().enumerate() {
        let mut start = 0;
        for length in lengths {
            spans.push((row, start, *length));
            start += length;
        }
    }
    spans
}

fn part<B: Backend, const D: usize>(
    whole: &Tensor<B, D>,
    (row, start, length): (usize, usize, usize),
) -> Tensor<B, D> {
    whole.clone().narrow(0, row, 1).narrow(1, start, length)
}

fn part_of_tokens(
    whole: &Tensor<Train, 2, Int>,
    (row, start, length): (usize, usize, usize),
) -> Tensor<Train, 2, Int> {
    whole.clone().narrow(0, row, 1).narrow(1, start, length)
}

/// Sum over the tokens after the first of one document.
fn cross_entropy(logits: Tensor<Train, 3>, tokens: Tensor<Train, 2, Int>) -> Tensor<Train, 1> {
    let [_, seq] = tokens.dims();
    let next = tokens.narrow(1, 1, seq - 1).unsqueeze_dim(2);
    log_softmax(logits.narrow(1, 0, seq - 1), 2)
        .gather(2, next)
        .sum()
        .neg()
}

fn values<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

/// Hidden states, logits and gradients of the summed loss of packed rows are those of the documents run alone.
fn packed_is_apart(name: &str, model: &HybridModel<Inner>, rows: &[Vec<usize>]) {
    let model = HybridModel::<Train>::from_inner(model.clone()).freeze(|_| true);
    let seq = rows[0].iter().sum();
    let tokens: Tensor<Train, 2, Int> = some_tokens(rows.len(), seq, 97);
    let documents = Documents::from_lengths(rows, &Default::default()).unwrap();
    let hidden = model.hidden_packed(tokens.clone(), Some(&documents));
    let logits = model.forward_packed(tokens.clone(), &documents);
    let zero = || Tensor::<Train, 1>::zeros([1], &Default::default());
    let (mut packed_loss, mut apart_loss) = (zero(), zero());
    for span in spans(rows) {
        let what = format!("{name}, {rows:?}, document {span:?}");
        let own = part_of_tokens(&tokens, span);
        let alone = values(model.hidden(own.clone()));
        let near = FORWARD * root_mean_square(&alone);
        let found: Vec<f32> = part(&hidden, span).into_data().into_vec().unwrap();
        assert_values_near(&format!("{what}, hidden"), &found, &alone, near);
        let alone = model.forward(own.clone());
        let expected = values(alone.clone());
        let near = FORWARD * root_mean_square(&expected);
        let found: Vec<f32> = part(&logits, span).into_data().into_vec().unwrap();
        assert_values_near(&format!("{what}, logits"), &found, &expected, near);
        if span.2 > 1 {
            packed_loss = packed_loss + cross_entropy(part(&logits, span), own.clone());
            apart_loss = apart_loss + cross_entropy(alone, own);
        }
    }
    let gradients = |loss: Tensor<Train, 1>| model.named_gradients(&loss.backward());
    let (packed, apart) = (gradients(packed_loss), gradients(apart_loss));
    assert_eq!(packed.len(), model.named_tensors().len());
    for ((key, found), (_, expected)) in packed.iter().zip(&apart) {
        let found: Vec<f32> = found.to_vec().unwrap();
        let expected: Vec<f64> = expected.iter::<f64>().collect();
        let size = root_mean_square(&expected);
        assert!(size > 1e-6, "{name}, {key}: nothing to compare");
        assert_values_near(
            &format!("{name}, {rows:?}, gradient of {key}"),
            &found,
            &expected,
            GRADIENT * size,
        );
    }
}

/// Two rows of equal length, each cut into documents; a document of one token among them now and then.
fn rows() -> impl Strategy<Value = Vec<Vec<usize>>> {
    (8_usize..40).prop_flat_map(|seq| {
        let cuts = || proptest::collection::btree_set(1..seq, 0..5);
        (cuts(), cuts()).prop_map(move |(first, second)| {
            let lengths = |cuts: std::collections::BTreeSet<usize>| {
                let mut lengths = Vec::new();
                let mut start = 0;
                for end in cuts.into_iter().chain([seq]) {
                    lengths.push(end - start);
                    start = end;
                }
                lengths
            };
            vec![lengths(first), lengths(second)]
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn packed_rows_are_their_documents_run_alone(rows in rows()) {
        for (name, model) in models() {
            packed_is_apart(&name, &model, &rows);
        }
    }
}

#[test]
fn boundaries_on_and_beside_the_chunks_keep_documents_apart() {
    for (name, model) in models() {
        packed_is_apart(&name, &model, &[vec![64, 1, 63, 2], vec![15, 16, 34, 65]]);
    }
}

#[test]
fn without_the_description_documents_leak_into_the_next_and_not_the_first() {
    for (name, model) in models() {
        let tokens: Tensor<Inner, 2, Int> = some_tokens(1, 20, 97);
        let documents = Documents::from_lengths(&[vec![9, 11]], &Default::default()).unwrap();
        let apart = model.forward_packed(tokens.clone(), &documents);
        let leaking = model.forward(tokens);
        let difference = |start, length| -> f32 {
            let span = (0, start, length);
            let difference = part(&apart, span) - part(&leaking, span);
            difference.abs().max().into_scalar()
        };
        assert!(difference(0, 9) < 1e-4, "{name}: {}", difference(0, 9));
        assert!(difference(9, 11) > 0.1, "{name}: {}", difference(9, 11));
    }
}
