//! Sampled replies: their distribution is that of the verifier.

use burn::tensor::{Tensor, TensorData, activation::softmax};

use super::*;
use crate::config::{HybridConfig, MixerKind, SsmConfig};
use crate::decode::sampler::Filter;
use crate::tests::fixtures::config;

const VOCAB: usize = 32;

/// A hybrid of two layers with sharp distributions over 32 tokens.
fn model(kind: MixerKind) -> HybridModel<Inner> {
    let mut llama = config("teacher").llama;
    llama.vocab_size = VOCAB;
    llama.n_layers = 2;
    let ssm = Some(SsmConfig::published(kind, &llama));
    let config = HybridConfig {
        llama,
        attn_layers: vec![1],
        ssm,
    };
    let model = HybridModel::<Inner>::init_seeded(&config, 3, &Default::default());
    let tensors = model.named_tensors().into_iter().map(|(key, data)| {
        let is_matrix = data.shape.len() >= 2 && !key.ends_with("A_log");
        let factor = if is_matrix { 6.0 } else { 1.0 };
        let values: Vec<f32> = data.to_vec::<f32>().unwrap();
        let values: Vec<f32> = values.into_iter().map(|v| v * factor).collect();
        (key, TensorData::new(values, data.shape))
    });
    HybridModel::load_named(&config, tensors, &Default::default()).unwrap()
}

/// What plain decoding draws from after each of `rows`, `[rows, vocab]`.
fn distributions(
    model: &HybridModel<Inner>,
    rows: &[Vec<u32>],
    sampling: &Sampling,
) -> Vec<Vec<f32>> {
    let seq = rows[0].len();
    let tokens = crate::decode::sampler::token_tensor(rows, &model.device());
    let last = model.forward(tokens).narrow(1, seq - 1, 1);
    let last: Tensor<Inner, 2> = last.squeeze_dim(1);
    let filter = Filter {
        temperature: sampling.temperature,
        top_k: sampling.top_k,
        top_p: sampling.top_p,
    };
    let is_filtered = sampling.top_k.is_some() || sampling.top_p.is_some();
    let softmaxed = softmax(last.clone().div_scalar(sampling.temperature), 1);
    let values: Vec<f32> = match is_filtered {
        true => last.into_data().into_vec().unwrap(),
        false => softmaxed.into_data().into_vec().unwrap(),
    };
    let rows = values.chunks_exact(VOCAB);
    rows.map(|row| match is_filtered {
        true => filter.probabilities(row),
        false => row.to_vec(),
    })
    .collect()
}

#[test]
fn pairs_of_tokens_are_distributed_as_plain_decoding_draws_them() {
    const ROWS: usize = 1_500;
    let plain = Sampling::with_temperature(2, 1.0, 5);
    let filtered = Sampling {
        top_k: Some(12),
        top_p: Some(0.9),
        ..Sampling::with_temperature(2, 0.8, 6)
    };
    for (kind, sampling) in [(MixerKind::Mamba1, plain), (MixerKind::Mamba2, filtered)] {
        let model = model(kind);
        let prompt = vec![3, 1, 4, 1, 5];
        let first = distributions(&model, std::slice::from_ref(&prompt), &sampling).swap_remove(0);
        let continued: Vec<Vec<u32>> = (0..VOCAB as u32)
            .map(|token| [prompt.clone(), vec![token]].concat())
            .collect();
        let second = distributions(&model, &continued, &sampling);
        let pairs = first.iter().zip(&second);
        let expected: Vec<f32> = pairs
            .flat_map(|(first, second)| second.iter().map(move |second| first * second))
            .collect();
        let mut drafter = self_drafter(&model, 1);
        let mut counts = vec![0; VOCAB * VOCAB];
        let (mut drafted, mut accepted) = (0, 0);
        for seed in 0..10 {
            let sampling = Sampling {
                seed,
                ..sampling.clone()
            };
            let prompts = vec![prompt.clone(); ROWS];
            let (replies, report) = speculate(
                &model,
                &mut drafter,
                &prompts,
                &sampling,
                DraftLen::fixed(1),
            );
            for reply in replies {
                counts[reply.tokens[0] as usize * VOCAB + reply.tokens[1] as usize] += 1;
            }
            drafted += report.drafted;
            accepted += report.accepted;
        }
        // Some drafts are accepted, and some are not: both ways are counted.
        let share = accepted as f64 / drafted as f64;
        assert!((0.1..0.9).contains(&share), "{kind:?}: {share}");
        let ratio = chi_square(&counts, &expected);
        assert!(ratio < 1.0, "{kind:?}: {ratio}");
    }
}

#[test]
fn equal_seeds_draw_equal_replies_at_a_fixed_length() {
    let model = model(MixerKind::Mamba2);
    let sampling = Sampling {
        top_k: Some(10),
        ..Sampling::with_temperature(20, 1.0, 9)
    };
    let prompts = vec![vec![1, 2, 3], vec![4]];
    let reply = |seed| {
        let sampling = Sampling {
            seed,
            ..sampling.clone()
        };
        let mut drafter = self_drafter(&model, 1);
        let draft_len = DraftLen::fixed(3);
        let (replies, _) = speculate(&model, &mut drafter, &prompts, &sampling, draft_len);
        replies
            .into_iter()
            .map(|reply| reply.tokens)
            .collect::<Vec<_>>()
    };
    assert_eq!(reply(9), reply(9));
    assert_ne!(reply(9), reply(10));
}
