//! A sliding window bounds what a cache holds, and changes nothing else.

use burn::tensor::{Int, Tensor};

use super::fixtures::{Inner, some_tokens, under_a_window};
use crate::HybridModel;
use crate::cache::{Cache, LayerCache, decode_state_bytes};
use crate::decode::Sampling;

/// Most keys and values that any layer has room for, of each sequence.
fn room(cache: &Cache<Inner>) -> usize {
    let rooms = cache.layers().iter().filter_map(|layer| match layer {
        LayerCache::Attention(cache) => cache.room(),
        LayerCache::Ssm(_) => None,
    });
    rooms.max().expect("the model has attention")
}

/// What a window of `size` needs beside `seq` new tokens, in whole steps of 16, and what drafts may leave.
fn bound(size: usize, seq: usize) -> usize {
    (size - 1 + seq).next_multiple_of(16) + 16 + 64
}

fn last_logits(model: &HybridModel<Inner>, tokens: &Tensor<Inner, 2, Int>) -> Tensor<Inner, 3> {
    let [_, seq] = tokens.dims();
    model.forward(tokens.clone()).narrow(1, seq - 1, 1)
}

#[test]
fn prompts_in_parts_and_hundreds_of_tokens_stay_within_the_window_and_the_whole_pass() {
    for size in [1, 2, 6, 33] {
        let model = under_a_window::<Inner>(size);
        let tokens: Tensor<Inner, 2, Int> = some_tokens(2, 420, 97);
        let whole = model.forward(tokens.clone());
        let mut cache = model.new_cache(2, 420);
        let mut at = 0;
        for part in [100, 7, 100, 1]
            .into_iter()
            .chain(std::iter::repeat_n(1, 212))
        {
            let new = tokens.clone().narrow(1, at, part);
            let found = model.forward_cached(new, &mut cache);
            let expected = whole.clone().narrow(1, at, part);
            let error: f32 = (found - expected).abs().max().into_scalar();
            assert!(error < 5e-5, "window {size}, token {at}: {error}");
            at += part;
            assert!(
                room(&cache) <= bound(size, part),
                "window {size}: {}",
                room(&cache)
            );
        }
        assert_eq!((at, cache.len()), (420, 420));
        let one = decode_state_bytes(model.config(), 420);
        assert_eq!(cache.state_bytes(), 2 * one);
        assert_eq!(one, decode_state_bytes(model.config(), size));
    }
}

#[test]
fn rows_of_different_lengths_are_bounded_each_by_its_own_window() {
    let model = under_a_window::<Inner>(6);
    let tokens: Tensor<Inner, 2, Int> = some_tokens(3, 200, 97);
    let row = |row: usize, length: usize| tokens.clone().narrow(0, row, 1).narrow(1, 0, length);
    let read = |index: usize, length: usize| {
        let mut cache = model.new_cache(1, 0);
        model.hidden_cached(row(index, length), &mut cache);
        cache
    };
    let mut cache = read(0, 90);
    cache.append(vec![read(1, 3), read(2, 40)]);
    let mut lens = [90, 3, 40];
    for step in 0..60 {
        if step == 30 {
            cache.select(&[2, 0, 1]);
            lens = [lens[2], lens[0], lens[1]];
        }
        let order = if step < 30 { [0, 1, 2] } else { [2, 0, 1] };
        let next =
            std::iter::zip(order, lens).map(|(index, len)| row(index, len + 1).narrow(1, len, 1));
        let found = model.forward_cached(Tensor::cat(next.collect(), 0), &mut cache);
        for (at, index) in order.into_iter().enumerate() {
            lens[at] += 1;
            let expected = last_logits(&model, &row(index, lens[at]));
            let error: f32 = (found.clone().narrow(0, at, 1) - expected)
                .abs()
                .max()
                .into_scalar();
            assert!(error < 5e-5, "step {step}, row {index}: {error}");
        }
        assert!(room(&cache) <= bound(6, 1));
    }
}

#[test]
fn replies_far_past_the_window_are_those_without_a_cache() {
    let model = under_a_window::<Inner>(6);
    let prompt = vec![3, 14, 15, 92, 65, 35, 89, 79, 32, 38];
    let reply = model.generate(&prompt, &Sampling::greedy(150)).unwrap();
    let mut text = prompt;
    for token in reply.tokens {
        let ids: Vec<i32> = text.iter().map(|id| *id as i32).collect();
        let ids = burn::tensor::TensorData::new(ids, [1, text.len()]);
        let ids = Tensor::from_data(ids, &Default::default());
        let next = last_logits(&model, &ids).argmax(2).into_scalar();
        assert_eq!(token as i64, next as i64);
        text.push(token);
    }
}

#[test]
fn a_mark_is_returned_to_over_keys_that_the_window_has_passed_since() {
    let model = under_a_window::<Inner>(6);
    let tokens: Tensor<Inner, 2, Int> = some_tokens(1, 200, 97);
    let part = |start: usize, count: usize| tokens.clone().narrow(1, start, count);
    let mut cache = model.new_cache(1, 0);
    model.hidden_cached(part(0, 50), &mut cache);
    let mark = cache.mark();
    for at in 60..160 {
        model.hidden_verify(part(at, 1), &mut cache);
    }
    cache.return_to(mark);
    let found = model.forward_cached(part(50, 20), &mut cache);
    let expected = model.forward(part(0, 70)).narrow(1, 50, 20);
    let error: f32 = (found - expected).abs().max().into_scalar();
    assert!(error < 5e-5, "{error}");
}
