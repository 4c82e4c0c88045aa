//! Packed rows are their documents run alone.

use burn::module::{AutodiffModule, Module, ModuleMapper, Param};
use burn::tensor::activation::log_softmax;
use burn::tensor::{Int, Tensor, TensorData, backend::Backend};
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::fixtures::{Inner, Train, assert_values_near, root_mean_square, some_tokens};
use super::laws::models;
use crate::documents::Documents;
use crate::hybrid::HybridModel;

/// Rounding between two orders of summation, relative to the root mean square: of what is computed forward, and of gradients.
const FORWARD: f64 = 2e-4;
const GRADIENT: f64 = 1e-3;
/// Or against what the last bit of every weight does to the gradient: a gated norm divides a group that is nearly zero by
/// next to nothing, and then all before it is rounded much more coarsely than the tensor's size tells.
const TIMES: f64 = 8.0;

/// Weights changed at random by at most their last bit.
struct Nudger(ChaCha8Rng);

impl<B: Backend> ModuleMapper<B> for Nudger {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        param.map(|weight| {
            let shape = weight.dims();
            let bit = f32::EPSILON;
            let count = shape.iter().product();
            let factors: Vec<f32> = (0..count)
                .map(|_| 1.0 + self.0.random_range(-bit..=bit))
                .collect();
            let factors = TensorData::new(factors, shape);
            weight.clone() * Tensor::from_data(factors, &weight.device())
        })
    }
}

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
    let mut packed_loss = zero();
    for span in spans(rows) {
        let what = format!("{name}, {rows:?}, document {span:?}");
        let own = part_of_tokens(&tokens, span);
        let alone = values(model.hidden(own.clone()));
        let near = FORWARD * root_mean_square(&alone);
        let found: Vec<f32> = part(&hidden, span).into_data().into_vec().unwrap();
        assert_values_near(&format!("{what}, hidden"), &found, &alone, near);
        let expected = values(model.forward(own.clone()));
        let near = FORWARD * root_mean_square(&expected);
        let found: Vec<f32> = part(&logits, span).into_data().into_vec().unwrap();
        assert_values_near(&format!("{what}, logits"), &found, &expected, near);
        if span.2 > 1 {
            packed_loss = packed_loss + cross_entropy(part(&logits, span), own);
        }
    }
    let apart = |model: &HybridModel<Train>| {
        let long = spans(rows).into_iter().filter(|span| span.2 > 1);
        let loss = long.fold(zero(), |loss, span| {
            let own = part_of_tokens(&tokens, span);
            loss + cross_entropy(model.forward(own.clone()), own)
        });
        model.named_gradients(&loss.backward())
    };
    let packed = model.named_gradients(&packed_loss.backward());
    let nudged = model.valid().map(&mut Nudger(ChaCha8Rng::seed_from_u64(1)));
    let nudged = HybridModel::<Train>::from_inner(nudged).freeze(|_| true);
    let (apart, nudged) = (apart(&model), apart(&nudged));
    assert_eq!(packed.len(), model.named_tensors().len());
    let numbers = |data: &TensorData| data.iter::<f64>().collect::<Vec<f64>>();
    for (((key, found), (_, expected)), (_, nudged)) in packed.iter().zip(&apart).zip(&nudged) {
        let found: Vec<f32> = found.to_vec().unwrap();
        let [expected, nudged] = [expected, nudged].map(numbers);
        let size = root_mean_square(&expected);
        assert!(size > 1e-6, "{name}, {key}: nothing to compare");
        let last_bit = expected.iter().zip(&nudged).map(|(e, n)| (e - n).abs());
        let near = (GRADIENT * size).max(TIMES * last_bit.fold(0.0, f64::max));
        let what = format!("{name}, {rows:?}, gradient of {key}");
        assert_values_near(&what, &found, &expected, near);
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
