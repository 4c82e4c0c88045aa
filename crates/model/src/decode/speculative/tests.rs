//! Speculative decoding against plain decoding.

mod planted;
mod sampled;

use std::ops::ControlFlow;

use super::*;
use crate::decode::sampler::Sampling;
use crate::decode::{Reply, generate_batch};
use crate::tests::fixtures::Inner;
use crate::tests::laws::models;
use crate::{HybridModel, verify_state_bytes};
use planted::Planted;

/// Pearson's statistic of `counts` against `expected`, as a ratio to the value that is passed once in a hundred. Cells that are
/// expected less than five times are put together.
pub(super) fn chi_square(counts: &[usize], expected: &[f32]) -> f64 {
    let total = counts.iter().sum::<usize>() as f64;
    let sum: f64 = expected.iter().map(|p| f64::from(*p)).sum();
    let (mut statistic, mut cells, mut rest) = (0.0, 0.0, [0.0; 2]);
    for (count, p) in counts.iter().zip(expected) {
        let (found, wanted) = (*count as f64, total * f64::from(*p) / sum);
        assert!(wanted > 0.0 || found == 0.0, "drawn, with probability 0");
        if wanted < 5.0 {
            rest = [rest[0] + found, rest[1] + wanted];
            continue;
        }
        statistic += (found - wanted).powi(2) / wanted;
        cells += 1.0;
    }
    if rest[1] > 0.0 {
        statistic += (rest[0] - rest[1]).powi(2) / rest[1].max(1.0);
        cells += 1.0;
    }
    let freedom = f64::max(cells - 1.0, 1.0);
    // Wilson and Hilferty's cube, at the normal deviate of 1 %.
    let spread = 2.0 / (9.0 * freedom);
    statistic / (freedom * (1.0 - spread + 2.3263 * spread.sqrt()).powi(3))
}

/// Prompts of different lengths; the second is longer than one piece of reading.
fn prompts(batch: usize) -> Vec<Vec<u32>> {
    let prompt = |row: usize| {
        let length = [7, 150, 1, 30][row];
        (0..length).map(move |at| ((at * at * 7 + 13 * row + 5) % 97) as u32)
    };
    (0..batch).map(|row| prompt(row).collect()).collect()
}

fn speculate(
    model: &HybridModel<Inner>,
    drafter: &mut dyn Drafter<Inner>,
    prompts: &[Vec<u32>],
    sampling: &Sampling,
    draft_len: DraftLen,
) -> (Vec<Reply>, SpeculationReport) {
    let mut speculation = Speculation::new(draft_len);
    let mut each = |_, _| ControlFlow::Continue(());
    generate_speculative(
        model,
        drafter,
        prompts,
        sampling,
        &mut speculation,
        &mut each,
    )
    .unwrap()
}

#[track_caller]
fn assert_same_replies(what: &str, found: &[Reply], expected: &[Reply]) {
    assert_eq!(found.len(), expected.len());
    for (row, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert_eq!(found.tokens, expected.tokens, "{what}, row {row}");
        assert_eq!(found.finish, expected.finish, "{what}, row {row}");
    }
}

/// The last layer of a model, or its first and last.
fn self_drafter(model: &HybridModel<Inner>, layers: usize) -> ModelDrafter<Inner> {
    let layers = crate::spread_layers(model.n_layers(), layers);
    ModelDrafter::new(model.shrink(&layers).unwrap())
}

#[test]
fn greedy_replies_are_those_of_plain_decoding_at_every_length() {
    for (name, model) in models() {
        for batch in [1, 4] {
            let (prompts, sampling) = (prompts(batch), Sampling::greedy(24));
            let plain = generate_batch(&model, &prompts, &sampling).unwrap();
            for length in 1..=8 {
                let mut few = self_drafter(&model, 1);
                let mut all = self_drafter(&model, model.n_layers());
                let mut ngram = NGramDrafter::new(&model.device());
                let other = Box::new(self_drafter(&model, model.n_layers()));
                let mut first = LookUpFirst::new(other, &model.device());
                let drafters: [(&str, &mut dyn Drafter<Inner>); 4] = [
                    ("one layer", &mut few),
                    ("all", &mut all),
                    ("n-gram", &mut ngram),
                    ("n-gram, then all", &mut first),
                ];
                for (drafter_name, drafter) in drafters {
                    let what = format!("{name}, batch {batch}, {length} by {drafter_name}");
                    let draft_len = DraftLen::fixed(length);
                    let (found, report) =
                        speculate(&model, drafter, &prompts, &sampling, draft_len);
                    assert_same_replies(&what, &found, &plain);
                    let (rows, tokens) = (report.sequence_rounds, report.emitted);
                    assert!((rows..=rows * (1 + length)).contains(&tokens), "{what}");
                    if drafter_name == "all" {
                        assert_eq!(report.acceptance(), 1.0, "{what}");
                    }
                    if drafter_name == "one layer" {
                        assert!(report.drafted > 0 && report.acceptance() < 1.0, "{what}");
                    }
                }
            }
        }
    }
}

#[test]
fn lengths_may_change_in_every_round() {
    for (name, model) in models() {
        let (prompts, sampling) = (prompts(4), Sampling::greedy(60));
        let plain = generate_batch(&model, &prompts, &sampling).unwrap();
        for lengths in [vec![0], vec![3, 0, 0, 8, 1, 0, 2], vec![0, 0, 0, 0, 5]] {
            let draft_len = DraftLen::cycle(lengths.clone());
            let mut drafter = self_drafter(&model, 1);
            let (found, report) = speculate(&model, &mut drafter, &prompts, &sampling, draft_len);
            assert_same_replies(&format!("{name}, {lengths:?}"), &found, &plain);
            assert!(report.plain_rounds > 0);
        }
        let mut drafter = self_drafter(&model, model.n_layers());
        let draft_len = DraftLen::auto(8);
        let (found, _) = speculate(&model, &mut drafter, &prompts, &sampling, draft_len);
        assert_same_replies(&format!("{name}, auto"), &found, &plain);
    }
}

#[test]
fn planted_drafts_right_and_wrong_do_not_change_a_reply() {
    for (name, model) in models() {
        for batch in [1, 4] {
            let (prompts, sampling) = (prompts(batch), Sampling::greedy(40));
            let longer = Sampling::greedy(60);
            let script = generate_batch(&model, &prompts, &longer).unwrap();
            let plain = generate_batch(&model, &prompts, &sampling).unwrap();
            // Drafts and how many of them are right, by row and round.
            type Plan = fn(usize, usize) -> (usize, usize);
            let plans: [(&str, Plan); 5] = [
                ("no drafts", |_, _| (0, 0)),
                ("all accepted", |_, _| (5, 5)),
                ("none accepted", |_, _| (5, 0)),
                ("some rows without drafts", |row, round| {
                    match (row + round) % 3 {
                        0 => (0, 0),
                        right => (4, 2 * right),
                    }
                }),
                ("every number", |row, round| (5, (3 * row + round) % 6)),
            ];
            for (plan_name, plan) in plans {
                let mut planted = Planted::new(&script, plan);
                let draft_len = DraftLen::fixed(5);
                let (found, report) =
                    speculate(&model, &mut planted, &prompts, &sampling, draft_len);
                let what = format!("{name}, batch {batch}, {plan_name}");
                assert_same_replies(&what, &found, &plain);
                match plan_name {
                    "no drafts" => assert_eq!(report.rounds, 0, "{what}"),
                    "all accepted" => assert_eq!(report.rounds, 7, "{what}"),
                    "none accepted" => assert_eq!(report.accepted, 0, "{what}"),
                    _ => assert!(report.accepted > 0 && report.acceptance() < 1.0, "{what}"),
                }
            }
        }
    }
}

#[test]
fn a_reply_ends_before_a_stop_token_inside_a_draft() {
    for (name, model) in models() {
        let prompts = prompts(4);
        let script = generate_batch(&model, &prompts, &Sampling::greedy(40)).unwrap();
        for at in [0, 1, 9, 12] {
            let stop = script[0].tokens[at];
            let sampling = Sampling::greedy(30).stop_at([stop]);
            let plain = generate_batch(&model, &prompts, &sampling).unwrap();
            let mut planted = Planted::new(&script, |_, _| (6, 6));
            let draft_len = DraftLen::fixed(6);
            let (found, _) = speculate(&model, &mut planted, &prompts, &sampling, draft_len);
            assert_same_replies(&format!("{name}, stop at {at}"), &found, &plain);
            assert!(found[0].tokens.len() <= at, "{name}");
        }
    }
}

#[test]
fn replies_end_at_their_longest_and_where_the_caller_wants_no_more() {
    let (_, model) = models().swap_remove(2);
    let prompts = prompts(4);
    let script = generate_batch(&model, &prompts, &Sampling::greedy(40)).unwrap();
    for max_tokens in 0..8 {
        let sampling = Sampling::greedy(max_tokens);
        let plain = generate_batch(&model, &prompts, &sampling).unwrap();
        let mut planted = Planted::new(&script, |_, _| (4, 4));
        let (found, _) = speculate(
            &model,
            &mut planted,
            &prompts,
            &sampling,
            DraftLen::fixed(4),
        );
        assert_same_replies(&format!("{max_tokens} tokens"), &found, &plain);
    }
    let mut told = vec![Vec::new(); 4];
    let mut each = |row: usize, token| {
        told[row].push(token);
        match row == 1 && told[1].len() == 3 {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    };
    let mut planted = Planted::new(&script, |_, _| (4, 4));
    let (found, _) = generate_speculative(
        &model,
        &mut planted,
        &prompts,
        &Sampling::greedy(9),
        &mut Speculation::new(DraftLen::fixed(4)),
        &mut each,
    )
    .unwrap();
    let lengths: Vec<usize> = told.iter().map(Vec::len).collect();
    assert_eq!(lengths, [9, 3, 9, 9]);
    for (told, (reply, script)) in told.iter().zip(found.iter().zip(&script)) {
        assert_eq!(told, &reply.tokens);
        assert_eq!(told, &script.tokens[..told.len()]);
    }
}

#[test]
fn the_decode_state_stays_that_of_one_round() {
    for (name, model) in models() {
        let prompts = vec![vec![3, 1, 4, 1, 5]];
        let script = generate_batch(&model, &prompts, &Sampling::greedy(40)).unwrap();
        for accepted in [0, 2, 4] {
            let plan = move |_, _| (4, accepted);
            let mut planted = Planted::new(&script, plan);
            let sampling = Sampling::greedy(25);
            let draft_len = DraftLen::fixed(4);
            let (_, report) = speculate(&model, &mut planted, &prompts, &sampling, draft_len);
            // One state before the tokens of the round and one after, however many were kept.
            let most = verify_state_bytes(model.config(), 5 + 25, 4);
            let least = verify_state_bytes(model.config(), 5, 4);
            let found = report.state_bytes;
            assert!((least..=most).contains(&found), "{name}: {found} of {most}");
        }
    }
}

#[test]
fn a_drafter_with_another_vocabulary_is_an_error() {
    let (_, model) = models().swap_remove(0);
    let mut config = model.config().clone();
    config.llama.vocab_size = 50;
    let other = HybridModel::<Inner>::init(&config, &model.device());
    let error = generate_speculative(
        &model,
        &mut ModelDrafter::new(other),
        &prompts(1),
        &Sampling::greedy(3),
        &mut Speculation::new(DraftLen::fixed(2)),
        &mut |_, _| ControlFlow::Continue(()),
    )
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the drafter's vocabulary has 50 tokens, expected 97 as the model's has (take a drafter made from the same model)"
    );
}
