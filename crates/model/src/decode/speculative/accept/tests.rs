use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::decode::sampler::Filter;
use crate::decode::speculative::tests::chi_square;

const VOCAB: usize = 32;
/// Tokens drawn, all sequences of a batch together.
const DRAWS: usize = 1_000_000;

#[test]
fn greedy_accepts_up_to_the_first_difference() {
    let best = [5, 6, 7, 8];
    for (drafts, accepted, token) in [
        (vec![], 0, 5),
        (vec![4, 6, 7], 0, 5),
        (vec![5, 6, 4], 2, 7),
        (vec![5, 6, 7], 3, 8),
    ] {
        let verdict = accept_greedy(&drafts, &best);
        assert_eq!(verdict, Verdict { accepted, token });
    }
}

/// One sequence of a batch: processed distributions of both models at each position.
struct Sequence {
    drafted: Vec<Vec<f32>>,
    verified: Vec<Vec<f32>>,
}

impl Sequence {
    /// Logits of the drafter are those of the verifier with noise.
    fn new(filter: &Filter, drafts: usize, rng: &mut ChaCha8Rng) -> Self {
        let (mut drafted, mut verified) = (Vec::new(), Vec::new());
        for position in 0..=drafts {
            let p: Vec<f32> = (0..VOCAB).map(|_| rng.random_range(-2.0..2.0)).collect();
            let q = p.iter().map(|logit| logit + rng.random_range(-1.5..1.5));
            let q: Vec<f32> = q.collect();
            verified.push(filter.probabilities(&p));
            if position < drafts {
                drafted.push(filter.probabilities(&q));
            }
        }
        Self { drafted, verified }
    }
}

/// Draws rounds of a batch until there are [`DRAWS`] tokens, by `rule`; the most unlikely chi-square of all positions and
/// sequences, as a ratio to the value that is passed once in a hundred.
fn worst(
    filter: &Filter,
    batch: usize,
    certain: bool,
    rule: impl Fn(f64, f64, f64) -> bool + Copy,
) -> f64 {
    const DRAFTS: usize = 3;
    let mut rng = ChaCha8Rng::seed_from_u64(batch as u64);
    let draw = |distribution: &[f32], rng: &mut ChaCha8Rng| {
        draw(VOCAB, |id| f64::from(distribution[id]), rng.random()).unwrap()
    };
    let sequences: Vec<Sequence> = (0..batch)
        .map(|_| Sequence::new(filter, DRAFTS, &mut rng))
        .collect();
    let mut counts = vec![vec![vec![0_usize; VOCAB]; DRAFTS + 1]; batch];
    let mut drawn = 0;
    while drawn < DRAWS {
        for (sequence, counts) in sequences.iter().zip(&mut counts) {
            let drafts: Vec<u32> = match certain {
                // The most likely tokens of the drafter, as a look-up would give them.
                true => sequence.drafted.iter().map(|q| most_likely(q)).collect(),
                false => sequence.drafted.iter().map(|q| draw(q, &mut rng)).collect(),
            };
            let drafted = (!certain).then_some(sequence.drafted.as_slice());
            let uniform = || rng.random();
            let verdict = accept_by(rule, &drafts, drafted, &sequence.verified, uniform);
            for (draft, counts) in drafts[..verdict.accepted].iter().zip(counts.iter_mut()) {
                counts[*draft as usize] += 1;
            }
            counts[verdict.accepted][verdict.token as usize] += 1;
            drawn += verdict.accepted + 1;
        }
    }
    let mut worst = 0.0_f64;
    for (sequence, counts) in sequences.iter().zip(&counts) {
        for (p, counts) in sequence.verified.iter().zip(counts) {
            worst = worst.max(chi_square(counts, p));
        }
    }
    worst
}

fn most_likely(distribution: &[f32]) -> u32 {
    let by_probability = |a: &usize, b: &usize| distribution[*a].total_cmp(&distribution[*b]);
    (0..VOCAB).max_by(by_probability).unwrap() as u32
}

fn filters() -> [Filter; 3] {
    let filter = |temperature, top_k, top_p| Filter {
        temperature,
        top_k,
        top_p,
    };
    [
        filter(0.7, None, None),
        filter(1.0, Some(8), None),
        filter(1.3, Some(20), Some(0.8)),
    ]
}

/// Of 4 to 16 statistics one may pass the value of one in a hundred: the bound is that of one in ten thousand, about 1.2 times as
/// large with 31 degrees of freedom.
const UNLIKELY: f64 = 1.3;

#[test]
fn a_million_tokens_are_distributed_as_the_verifier_says() {
    for filter in filters() {
        for batch in [1, 4] {
            for certain in [false, true] {
                let worst = worst(&filter, batch, certain, is_accepted);
                assert!(
                    worst < UNLIKELY,
                    "batch {batch}, certain {certain}: {worst}"
                );
            }
        }
    }
}

#[test]
fn so_are_tokens_after_drafts_that_were_not_drawn() {
    let worst = worst(&filters()[2], 1, true, is_accepted);
    assert!(worst < UNLIKELY, "{worst}");
}

#[test]
fn accepting_two_percent_too_often_is_noticed() {
    let biased = |p: f64, q: f64, uniform: f64| uniform * q < 1.02 * p;
    for filter in filters() {
        for batch in [1, 4] {
            let worst = worst(&filter, batch, false, biased);
            assert!(worst > UNLIKELY, "batch {batch}: {worst}");
        }
    }
}

fn distribution() -> impl Strategy<Value = Vec<f32>> {
    prop::collection::vec(prop_oneof![Just(0.0_f32), 0.01_f32..1.0], 6)
        .prop_filter("something can be drawn", |weights| {
            weights.iter().sum::<f32>() > 0.0
        })
        .prop_map(|weights| {
            let sum: f32 = weights.iter().sum();
            weights.iter().map(|weight| weight / sum).collect()
        })
}

proptest! {
    #[test]
    fn nothing_is_said_that_the_verifier_excludes(
        p in prop::collection::vec(distribution(), 4),
        q in prop::collection::vec(distribution(), 3),
        certain: bool,
        seed: u64,
    ) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let drafts: Vec<u32> = q
            .iter()
            .map(|q| draw(q.len(), |id| f64::from(q[id]), rng.random()).unwrap())
            .collect();
        let drafted = (!certain).then_some(q.as_slice());
        let verdict = accept_sampled(&drafts, drafted, &p, || rng.random());
        prop_assert!(p[verdict.accepted][verdict.token as usize] > 0.0);
        for (at, draft) in drafts[..verdict.accepted].iter().enumerate() {
            prop_assert!(p[at][*draft as usize] > 0.0);
        }
    }

    #[test]
    fn a_drafter_that_knows_the_distribution_is_always_right(
        p in prop::collection::vec(distribution(), 4),
        seed: u64,
    ) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let drafts: Vec<u32> = p[..3]
            .iter()
            .map(|p| draw(p.len(), |id| f64::from(p[id]), rng.random()).unwrap())
            .collect();
        let verdict = accept_sampled(&drafts, Some(&p[..3]), &p, || rng.random());
        prop_assert_eq!(verdict.accepted, 3);
    }
}
