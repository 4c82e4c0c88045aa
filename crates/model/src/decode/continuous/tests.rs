use burn::backend::Flex;

use super::*;
use crate::Finish;
use crate::tests::fixtures::{model, under_a_window};

const MODELS: [&str; 4] = ["teacher", "hybrid_mamba1", "hybrid_mamba2", "pure_mamba2"];

fn prompt(number: usize) -> Vec<u32> {
    let length = 1 + number * 7 % 23;
    let id = |at: usize| ((number * 31 + at * 17 + at * at) % 64) as u32;
    (0..length).map(id).collect()
}

fn go_on(_: StreamId, _: u32) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

#[test]
fn replies_that_join_and_leave_are_those_of_each_prompt_alone() {
    let models = MODELS.map(|name| (name, model::<Flex>(name)));
    let windowed = ("under a window", under_a_window(6));
    for (name, model) in models.into_iter().chain([windowed]) {
        let mut batch = ContinuousBatch::new(&model);
        let mut told: Vec<(StreamId, u32)> = Vec::new();
        let (mut joined, mut over) = (Vec::new(), Vec::new());
        let mut widest = 0;
        // One more every other step, of lengths that end in another order than they came.
        for step in 0.. {
            if step % 2 == 0 && joined.len() < 12 {
                let number = joined.len();
                let sampling = Sampling::greedy(3 + number * 5 % 17);
                let id = batch.join(prompt(number), sampling.clone()).unwrap();
                joined.push((id, number, sampling));
            }
            widest = widest.max(batch.len());
            over.extend(batch.step(&mut |id, token| {
                told.push((id, token));
                ControlFlow::Continue(())
            }));
            if batch.is_empty() && joined.len() == 12 {
                break;
            }
        }
        assert!(widest > 3, "{name}: {widest} at once");
        assert_eq!(batch.state_bytes(), 0, "{name}");
        let order: Vec<StreamId> = over.iter().map(|(id, _)| *id).collect();
        assert!(!order.is_sorted(), "{name}: they left as they came");
        for (id, number, sampling) in joined {
            let alone = model.generate(&prompt(number), &sampling).unwrap();
            let (_, reply) = over.iter().find(|(other, _)| *other == id).unwrap();
            assert_eq!(reply.tokens, alone.tokens, "{name}, prompt {number}");
            assert_eq!(reply.finish, Finish::Length);
            let told = told.iter().filter(|(other, _)| *other == id);
            let told: Vec<u32> = told.map(|(_, token)| *token).collect();
            assert_eq!(told, alone.tokens, "{name}, prompt {number}");
        }
    }
}

#[test]
fn a_reply_ends_by_a_stop_token_by_a_break_or_by_leaving_and_the_others_go_on() {
    let model = model::<Flex>("hybrid_mamba2");
    let mut batch = ContinuousBatch::new(&model);
    let free: Vec<Vec<u32>> = (0..4)
        .map(|n| model.generate(&prompt(n), &Sampling::greedy(30)).unwrap())
        .map(|reply| reply.tokens)
        .collect();
    let stop = free[0][9];
    let first = free[0].iter().position(|token| *token == stop).unwrap();
    let sampling = |number| match number {
        0 => Sampling::greedy(30).stop_at([stop]),
        _ => Sampling::greedy(30),
    };
    let ids: Vec<StreamId> = (0..4)
        .map(|n| batch.join(prompt(n), sampling(n)).unwrap())
        .collect();
    let (mut over, mut count, mut most_bytes) = (Vec::new(), 0, 0);
    while !batch.is_empty() {
        over.extend(batch.step(&mut |id, _| {
            count += usize::from(id == ids[1]);
            match id == ids[1] && count == 5 {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        }));
        most_bytes = most_bytes.max(batch.state_bytes());
        if count >= 3 {
            batch.leave(ids[2]);
        }
    }
    // What one reply of 30 tokens takes, four times and no more.
    let one = crate::decode_state_bytes(model.config(), prompt(3).len() + 30);
    assert!(one < most_bytes && most_bytes < 4 * one, "{most_bytes}");
    let reply = |id| over.iter().find(|(other, _)| *other == id).map(|(_, r)| r);
    let stopped = reply(ids[0]).unwrap();
    assert_eq!(
        (stopped.tokens.as_slice(), stopped.finish),
        (&free[0][..first], Finish::Stop)
    );
    let broken = reply(ids[1]).unwrap();
    assert_eq!(
        (broken.tokens.as_slice(), broken.finish),
        (&free[1][..5], Finish::Stop)
    );
    assert_eq!(reply(ids[2]), None);
    assert_eq!(reply(ids[3]).unwrap().tokens, free[3]);
}

#[test]
fn every_row_draws_by_its_own_rule_and_seed() {
    let model = model::<Flex>("hybrid_mamba1");
    let sampled = |seed, top_p| Sampling {
        top_p: Some(top_p),
        ..Sampling::with_temperature(12, 1.5, seed)
    };
    let rules = [
        sampled(1, 0.9),
        Sampling::greedy(12),
        sampled(2, 0.9),
        sampled(1, 0.99),
    ];
    let mut batch = ContinuousBatch::new(&model);
    for sampling in &rules {
        batch.join(prompt(5), sampling.clone()).unwrap();
        batch.step(&mut go_on);
    }
    let mut over = Vec::new();
    while !batch.is_empty() {
        over.extend(batch.step(&mut go_on));
    }
    let replies: Vec<Vec<u32>> = over.into_iter().map(|(_, reply)| reply.tokens).collect();
    for (tokens, sampling) in replies.iter().zip(&rules) {
        let alone = model.generate(&prompt(5), sampling).unwrap();
        assert_eq!(*tokens, alone.tokens, "{sampling:?}");
    }
    assert_ne!(replies[0], replies[1]);
    assert_ne!(replies[0], replies[2]);
}

#[test]
fn a_long_prompt_is_read_between_the_steps_of_others() {
    let model = model::<Flex>("hybrid_mamba2");
    let long: Vec<u32> = (0..2 * PREFILL_MOST + 1).map(|at| at as u32 % 61).collect();
    let mut batch = ContinuousBatch::new(&model);
    let short = batch.join(prompt(3), Sampling::greedy(50)).unwrap();
    batch.step(&mut go_on);
    let late = batch.join(long.clone(), Sampling::greedy(3)).unwrap();
    let mut told = Vec::new();
    while told.last() != Some(&late) {
        batch.step(&mut |id, _| {
            told.push(id);
            ControlFlow::Continue(())
        });
    }
    let before = told.iter().filter(|id| **id == short).count();
    assert!(before >= 2, "{before} tokens of the other one");
    let mut over = Vec::new();
    while over.is_empty() {
        over = batch.step(&mut go_on);
    }
    let alone = model.generate(&long, &Sampling::greedy(3)).unwrap();
    assert_eq!(over[0].1.tokens, alone.tokens);
}

#[test]
fn prompts_that_cannot_be_answered_do_not_join() {
    let model = model::<Flex>("teacher");
    let mut batch = ContinuousBatch::new(&model);
    assert!(batch.join(vec![], Sampling::greedy(1)).is_err());
    assert!(batch.join(vec![1 << 20], Sampling::greedy(1)).is_err());
    assert!(batch.is_empty() && batch.step(&mut go_on).is_empty());
    let nothing = batch.join(vec![1], Sampling::greedy(0)).unwrap();
    let over = batch.step(&mut go_on);
    assert_eq!((over[0].0, over[0].1.tokens.len()), (nothing, 0));
}
