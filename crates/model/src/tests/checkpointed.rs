//! Blocks beside the tape give the gradients of blocks on it.

use std::collections::BTreeMap;

use burn::module::AutodiffModule;
use burn::tensor::{Int, Tensor, TensorData, backend::AutodiffBackend};

use super::fixtures::{Inner, Train, some_tokens};
use super::laws::models;
use crate::documents::Documents;
use crate::hybrid::HybridModel;

type Gradients = <Train as AutodiffBackend>::Gradients;

/// Tensors that are trained.
type Trained = fn(&str) -> bool;

/// A loss that every position and channel of the hidden states, and the head, have a share in.
fn loss(model: &HybridModel<Train>, hidden: Tensor<Train, 3>) -> Tensor<Train, 1> {
    model.logits(hidden).powi_scalar(2).mean()
}

/// Gradients of one batch by key, and the loss.
fn gradients(
    model: &HybridModel<Train>,
    lengths: Option<&[Vec<usize>]>,
) -> (BTreeMap<String, TensorData>, TensorData) {
    let tokens: Tensor<Inner, 2, Int> = some_tokens(2, 40, 97);
    let documents =
        lengths.map(|lengths| Documents::from_lengths(lengths, &Default::default()).unwrap());
    let pass = model.training_pass(tokens, documents);
    let loss = loss(model, pass.hidden);
    let value = loss.clone().into_data();
    let mut by_key: BTreeMap<String, Vec<TensorData>> = BTreeMap::new();
    let mut keep = |gradients: Gradients| {
        for (key, data) in model.named_gradients(&gradients) {
            by_key.entry(key).or_default().push(data);
        }
    };
    match pass.blocks {
        None => keep(loss.backward()),
        Some(blocks) => blocks.backward(model, loss.backward(), keep),
    }
    let sum = |parts: Vec<TensorData>| {
        let shape = parts[0].shape.clone();
        let mut parts = parts.iter().map(|part| part.to_vec::<f32>().unwrap());
        let mut sum = parts.next().unwrap();
        for part in parts {
            sum.iter_mut()
                .zip(part)
                .for_each(|(sum, value)| *sum += value);
        }
        TensorData::new(sum, shape)
    };
    let summed = by_key.into_iter().map(|(key, parts)| (key, sum(parts)));
    (summed.collect(), value)
}

#[test]
fn gradients_are_equal_to_the_bit() {
    let trained: [(&str, Trained); 4] = [
        ("everything", |_| true),
        ("mixers", |key| key.contains(".mamba.")),
        ("the last block", |key| key.contains(".layers.1.")),
        ("the final norm", |key| key == "model.norm.weight"),
    ];
    let packed = [vec![25, 15], vec![40]];
    for (name, model) in models() {
        for (what, is_trained) in trained {
            let whole = HybridModel::<Train>::from_inner(model.clone()).freeze(is_trained);
            let expects = whole.param_keys().iter().any(|(_, key)| is_trained(key));
            if !expects {
                continue;
            }
            for lengths in [None, Some(&packed[..])] {
                let (expected, expected_loss) = gradients(&whole, lengths);
                let (found, found_loss) = gradients(&whole.clone().checkpointed(true), lengths);
                assert_eq!(found_loss, expected_loss, "{name}, {what}");
                assert!(!expected.is_empty(), "{name}, {what}");
                let keys = |all: &BTreeMap<String, TensorData>| -> Vec<String> {
                    all.keys().cloned().collect()
                };
                assert_eq!(keys(&found), keys(&expected), "{name}, {what}");
                for (key, data) in &found {
                    assert!(*data == expected[key], "{name}, {what}: {key} differs");
                }
            }
        }
    }
}

#[test]
fn blocks_are_beside_the_tape_only_where_that_was_asked_for() {
    let (_, model) = models().swap_remove(0);
    let model = HybridModel::<Train>::from_inner(model).freeze(|_| true);
    let tokens = || some_tokens::<Inner>(2, 40, 97);
    assert!(model.training_pass(tokens(), None).blocks.is_none());
    let pass = model.checkpointed(true).training_pass(tokens(), None);
    assert!(pass.blocks.is_some());
}
