use burn::backend::Flex;

use super::*;
use crate::tiny_model::tiny_model;

const VOCAB: usize = 97;

fn ids(count: usize, step: usize) -> Vec<u32> {
    (0..count)
        .map(|index| ((index * index + step * index + 1) % VOCAB) as u32)
        .collect()
}

/// The plain definition: logits of one sequence, in f64.
fn reference(model: &HybridModel<Flex>, request: &Request) -> (f64, bool) {
    let whole: Vec<i32> = request
        .context
        .iter()
        .chain(&request.continuation)
        .map(|id| *id as i32)
        .collect();
    let data = TensorData::new(whole.clone(), [1, whole.len()]);
    let tokens = Tensor::from_data(data, &Default::default());
    let logits: Vec<f64> = model.forward(tokens).into_data().iter::<f64>().collect();
    let (mut total, mut is_greedy) = (0.0, true);
    for t in request.context.len()..whole.len() {
        let row = &logits[(t - 1) * VOCAB..t * VOCAB];
        let target = row[whole[t] as usize];
        total += target - row.iter().map(|logit| logit.exp()).sum::<f64>().ln();
        is_greedy &= row.iter().all(|logit| *logit <= target);
    }
    (total, is_greedy)
}

#[test]
fn batches_of_any_size_give_the_plain_definition() {
    let model = tiny_model(VOCAB);
    let mut requests: Vec<Request> = (0..9)
        .map(|n| Request {
            context: ids(3 + 5 * (n % 4), n),
            continuation: ids(1 + n % 3, 7 * n + 1),
        })
        .collect();
    // The same context with other single tokens runs once; greedy continuations exist.
    for id in [5, 6] {
        requests.push(Request {
            context: ids(11, 2),
            continuation: vec![id],
        });
    }
    let best = (0..VOCAB as u32)
        .map(|id| Request {
            context: ids(4, 1),
            continuation: vec![id],
        })
        .find(|request| reference(&model, request).1)
        .unwrap();
    requests.push(best);
    let small = BatchLimits {
        rows: 2,
        tokens: 40,
        pad_to: 8,
    };
    for limits in [BatchLimits::HOST, small] {
        let mut done = 0;
        let answers = log_likelihoods(&model, &requests, 64, limits, |count| done = count).unwrap();
        assert_eq!(done, requests.len());
        for (request, answer) in requests.iter().zip(&answers) {
            let (total, is_greedy) = reference(&model, request);
            assert!((answer.total - total).abs() < 1e-4, "{answer:?} {total}");
            assert_eq!(answer.is_greedy, is_greedy);
            assert_eq!(
                (answer.tokens, answer.truncated),
                (request.continuation.len(), 0)
            );
        }
        assert!(answers.last().unwrap().is_greedy);
    }
}

#[test]
fn a_long_context_loses_its_start_and_says_so() {
    let model = tiny_model(VOCAB);
    let request = Request {
        context: ids(30, 3),
        continuation: ids(4, 5),
    };
    let answers = log_likelihoods(
        &model,
        std::slice::from_ref(&request),
        20,
        BatchLimits::HOST,
        |_| (),
    )
    .unwrap();
    assert_eq!(answers[0].truncated, 13);
    let cut = Request {
        context: request.context[13..].to_vec(),
        ..request
    };
    assert!((answers[0].total - reference(&model, &cut).0).abs() < 1e-4);
}

#[test]
fn what_cannot_be_scored_is_named() {
    let model = tiny_model(VOCAB);
    let fails = |context: &[u32], continuation: &[u32]| {
        let fine = Request {
            context: ids(3, 1),
            continuation: ids(2, 1),
        };
        let bad = Request {
            context: context.to_vec(),
            continuation: continuation.to_vec(),
        };
        log_likelihoods(&model, &[fine, bad], 8, BatchLimits::HOST, |_| ())
            .unwrap_err()
            .to_string()
    };
    assert_eq!(fails(&[], &[1]), "request 1: its context has no tokens");
    assert_eq!(
        fails(&[1], &[]),
        "request 1: its continuation has no tokens"
    );
    assert_eq!(
        fails(&[1, 2], &[3; 9]),
        "request 1: its continuation is longer than the context of the model"
    );
    assert!(fails(&[97], &[3]).contains("id 97"));
}

#[test]
fn spaces_at_the_end_of_a_context_belong_to_the_continuation() {
    let tokenizer = Tokenizer::train_bpe(["the cat sat on the mat"], 300, &[]).unwrap();
    let request = Request::encode(&tokenizer, None, "the cat  ", "sat");
    assert_eq!(tokenizer.decode(&request.context), "the cat");
    assert_eq!(tokenizer.decode(&request.continuation), "  sat");
    let request = Request::encode(&tokenizer, Some(7), "the cat", " sat");
    assert_eq!(request.context[0], 7);
    assert_eq!(request.context[1..], tokenizer.encode("the cat"));
    assert_eq!(tokenizer.decode(&request.continuation), " sat");
}
