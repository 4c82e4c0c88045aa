//! Laws of a cache that drops tokens: what is kept is as if nothing else had been there.

use burn::tensor::{Int, Tensor, TensorData};
use kernels::testing::Seeded;

use super::fixtures::Inner;
use super::laws::models;
use crate::{Cache, HybridModel, verify_state_bytes};

const BATCH: usize = 3;
const VOCAB: usize = 97;

/// Tokens that each sequence kept so far, and a source of more.
struct Rows {
    kept: Vec<Vec<i32>>,
    seeded: Seeded,
}

impl Rows {
    fn new(seed: u64) -> Self {
        Self {
            kept: vec![Vec::new(); BATCH],
            seeded: Seeded::new(seed),
        }
    }

    fn below(&mut self, end: usize) -> usize {
        (self.seeded.uniform(0.0, end as f32) as usize).min(end - 1)
    }

    fn draw(&mut self, seq: usize) -> Vec<Vec<i32>> {
        let mut row = || (0..seq).map(|_| self.below(VOCAB) as i32).collect();
        (0..BATCH).map(|_| row()).collect()
    }
}

fn tensor(rows: &[Vec<i32>]) -> Tensor<Inner, 2, Int> {
    let shape = [rows.len(), rows[0].len()];
    Tensor::from_data(TensorData::new(rows.concat(), shape), &Default::default())
}

/// Runs `seq` random tokens in each row, compares all logits with those of whole sequences, and keeps some tokens.
fn round(
    model: &HybridModel<Inner>,
    cache: &mut Cache<Inner>,
    rows: &mut Rows,
    seq: usize,
    keep: impl Fn(usize) -> usize,
) {
    let tokens = rows.draw(seq);
    let logits = model.logits(model.hidden_verify(tensor(&tokens), cache));
    for (row, new) in tokens.iter().enumerate() {
        let before = rows.kept[row].len();
        let whole = [[rows.kept[row].clone(), new.clone()].concat()];
        let expected = model.forward(tensor(&whole)).narrow(1, before, seq);
        let found = logits.clone().narrow(0, row, 1);
        let largest = expected.clone().abs().max().into_scalar();
        let error = (found - expected).abs().max().into_scalar();
        assert!(
            largest > 0.01 && error < 1e-4 * largest,
            "{error} of {largest}"
        );
    }
    let counts: Vec<usize> = (0..BATCH).map(keep).collect();
    for (row, count) in counts.iter().enumerate() {
        rows.kept[row].extend(&tokens[row][..*count]);
    }
    cache.keep(&counts);
    let lens: Vec<usize> = rows.kept.iter().map(Vec::len).collect();
    assert_eq!(cache.lens(), lens);
}

#[test]
fn rows_that_keep_different_numbers_of_tokens_continue_as_if_alone() {
    for (_, model) in models() {
        let mut rows = Rows::new(11);
        let mut cache = model.new_cache(BATCH, 8);
        let prompt = rows.draw(5);
        model.hidden_cached(tensor(&prompt), &mut cache);
        rows.kept = prompt;
        for seq in [4, 4, 1, 6, 3, 9, 2] {
            let counts: Vec<usize> = (0..BATCH).map(|_| rows.below(seq + 1)).collect();
            round(&model, &mut cache, &mut rows, seq, |row| counts[row]);
        }
    }
}

#[test]
fn a_cache_returns_to_its_mark_and_goes_on_in_single_steps() {
    for (_, model) in models() {
        let mut rows = Rows::new(12);
        let mut cache = model.new_cache(BATCH, 64);
        round(&model, &mut cache, &mut rows, 3, |row| row + 1);
        let mark = cache.mark();
        for _ in 0..3 {
            model.hidden_verify(tensor(&rows.draw(1)), &mut cache);
        }
        cache.return_to(mark);
        round(&model, &mut cache, &mut rows, 2, |_| 2);
        // All were kept, so plain decoding may continue, each row at its own length.
        let next = rows.draw(1);
        let logits = model.forward_cached(tensor(&next), &mut cache);
        for (row, new) in next.iter().enumerate() {
            let whole = [[rows.kept[row].clone(), new.clone()].concat()];
            let expected = model
                .forward(tensor(&whole))
                .narrow(1, rows.kept[row].len(), 1);
            let found = logits.clone().narrow(0, row, 1);
            let error = (found - expected).abs().max().into_scalar();
            assert!(error < 1e-4, "{error}");
        }
    }
}

#[test]
#[should_panic(expected = "dropped tokens are made up for by `hidden_verify`")]
fn plain_decoding_does_not_follow_dropped_tokens() {
    let (_, model) = models().swap_remove(0);
    let mut cache = model.new_cache(1, 8);
    model.hidden_verify(tensor(&[vec![1, 2, 3]]), &mut cache);
    cache.keep(&[1]);
    model.hidden_cached(tensor(&[vec![4]]), &mut cache);
}

#[test]
fn bytes_after_a_round_are_those_of_the_formula_whatever_is_kept() {
    for (name, model) in models() {
        for draft_len in [1, 4, 8] {
            let mut rows = Rows::new(13);
            let mut cache = model.new_cache(BATCH, 32);
            round(&model, &mut cache, &mut rows, draft_len + 1, |_| {
                draft_len + 1
            });
            round(&model, &mut cache, &mut rows, draft_len + 1, |_| 1);
            let expected = BATCH * verify_state_bytes(model.config(), draft_len + 2, draft_len);
            assert_eq!(cache.state_bytes(), expected, "{name}, {draft_len} drafted");
        }
    }
}
