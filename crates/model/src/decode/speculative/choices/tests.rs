use burn::tensor::{Int, activation::softmax};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::decode::sampler::token_tensor;
use crate::decode::speculative::accept::draw;
use crate::decode::speculative::tests::chi_square;
use crate::tests::fixtures::Inner;

const VOCAB: usize = 32;
const DRAFTS: usize = 3;
const ROWS: usize = 10_000;
const DRAWS: usize = 1_000_000;
const TEMPERATURE: f32 = 0.9;
/// Statistics of the tests, as ratios to the value of one in a hundred: all draws of the process share one generator, so no run is like
/// another, and a right rule passes this once in a million times.
const UNLIKELY: f64 = 1.6;

/// Rounds until there are [`DRAWS`] tokens, of rows with one distribution, every fourth with one draft in place of three; the most unlikely
/// chi-square of all positions. `bias` is what the verifier's probabilities of drafts are multiplied by.
fn worst(certain: bool, bias: f32) -> f64 {
    let mut rng = ChaCha8Rng::seed_from_u64(u64::from(certain));
    let mut logits = |spread: f32, around: &[f32]| -> Vec<f32> {
        let noise = around
            .iter()
            .map(|logit| logit + rng.random_range(-spread..spread));
        noise.collect()
    };
    let p = logits(2.0, &[0.0; (DRAFTS + 1) * VOCAB]);
    let q = logits(1.5, &p[..DRAFTS * VOCAB]);
    let device = Default::default();
    let logits = |values: &[f32]| -> Tensor<Inner, 3> {
        let positions = values.len() / VOCAB;
        let values = TensorData::new(values.to_vec(), [1, positions, VOCAB]);
        Tensor::from_data(values, &device)
    };
    let (verified, drafted) = (logits(&p), logits(&q));
    let distributions = |logits: &Tensor<Inner, 3>| -> Vec<f32> {
        let scaled = logits.clone().div_scalar(TEMPERATURE);
        softmax(scaled, 2).into_data().iter::<f32>().collect()
    };
    let (expected, of_drafter) = (distributions(&verified), distributions(&drafted));
    let verified = verified.repeat_dim(0, ROWS);
    let drafted = drafted.repeat_dim(0, ROWS);
    let mut counts = vec![vec![0; VOCAB]; DRAFTS + 1];
    let mut drawn = 0;
    while drawn < DRAWS {
        let mut draft = |at: usize| -> u32 {
            let q = &of_drafter[at * VOCAB..][..VOCAB];
            if certain {
                let by_probability = |a: &usize, b: &usize| q[*a].total_cmp(&q[*b]);
                return (0..VOCAB).max_by(by_probability).unwrap() as u32;
            }
            draw(VOCAB, |id| f64::from(q[id]), rng.random()).unwrap()
        };
        let rows: Vec<Vec<u32>> = (0..ROWS)
            .map(|_| (0..DRAFTS).map(&mut draft).collect())
            .collect();
        let tokens: Tensor<Inner, 2, Int> = token_tensor(&rows, &device);
        let drafts = Drafts {
            tokens,
            counts: (0..ROWS)
                .map(|row| if row % 4 == 0 { 1 } else { DRAFTS })
                .collect(),
            logits: None,
        };
        let drafted = (!certain).then(|| drafted.clone());
        let mut choices = Choices::new(&drafts, verified.clone(), drafted, TEMPERATURE);
        choices.verified.iter_mut().for_each(|p| *p *= bias);
        let verdicts = choices.judge(&mut || rng.random());
        for ((drafts, verdict), row) in verdicts.into_iter().zip(&rows) {
            assert_eq!(drafts, row[..drafts.len()]);
            let kept = drafts[..verdict.accepted].iter().chain([&verdict.token]);
            for (token, counts) in kept.zip(&mut counts) {
                counts[*token as usize] += 1;
                drawn += 1;
            }
        }
    }
    let positions = counts.iter().zip(expected.chunks_exact(VOCAB));
    let ratios = positions.map(|(counts, expected)| chi_square(counts, expected));
    ratios.fold(0.0, f64::max)
}

#[test]
fn a_million_tokens_are_distributed_as_the_verifier_says() {
    for certain in [false, true] {
        let worst = worst(certain, 1.0);
        assert!(worst < UNLIKELY, "certain {certain}: {worst}");
    }
}

#[test]
fn accepting_two_percent_too_often_is_noticed() {
    let worst = worst(false, 1.02);
    assert!(worst > UNLIKELY, "{worst}");
}
