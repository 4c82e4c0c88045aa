use burn::backend::Flex;

use super::*;
use crate::Finish;
use crate::config::{HybridConfig, LlamaConfig, MixerKind, SsmConfig};
use crate::decode::sampler::read_ids;

const PROMPTS: [&[u32]; 4] = [&[3, 1, 4, 1, 5, 9, 2, 6], &[5], &[3, 5, 8, 9, 7], &[9, 3]];

/// Two layers of width 16, vocabulary 29; layer 1 is `mixer`.
fn tiny(mixer: MixerKind) -> HybridModel<Flex> {
    let llama = LlamaConfig {
        d_model: 16,
        n_layers: 2,
        n_heads: 4,
        n_kv_heads: 2,
        head_dim: 8,
        intermediate_size: 24,
        vocab_size: 29,
        rope_theta: 10_000.0,
        rope_scaling: None,
        rms_norm_eps: 1e-5,
        tie_word_embeddings: false,
        max_position_embeddings: 64,
        sliding_window: None,
        qkv_bias: false,
        bos_token_id: None,
        eos_token_ids: vec![],
    };
    let config = match mixer {
        MixerKind::Attention => HybridConfig {
            llama,
            attn_layers: vec![0, 1],
            ssm: None,
        },
        _ => {
            let ssm = Some(SsmConfig::published(mixer, &llama));
            HybridConfig {
                llama,
                attn_layers: vec![0],
                ssm,
            }
        }
    };
    HybridModel::init(&config, &Default::default())
}

fn prompts() -> Vec<Vec<u32>> {
    PROMPTS.iter().map(|prompt| prompt.to_vec()).collect()
}

fn last_row(model: &HybridModel<Flex>, tokens: &[u32]) -> u32 {
    let rows = [tokens.to_vec()];
    let logits = model.forward(token_tensor(&rows, &model.device()));
    let last: Tensor<Flex, 2> = logits.narrow(1, tokens.len() - 1, 1).squeeze_dim(1);
    read_ids(last.argmax(1))[0]
}

#[test]
fn a_ragged_batch_answers_each_row_as_if_it_were_alone() {
    for mixer in [MixerKind::Attention, MixerKind::Mamba1, MixerKind::Mamba2] {
        let model = tiny(mixer);
        let sampling = Sampling::greedy(12);
        let batch = generate_batch(&model, &prompts(), &sampling).unwrap();
        for (reply, prompt) in batch.iter().zip(PROMPTS) {
            let alone = model.generate(prompt, &sampling).unwrap();
            assert_eq!(reply.tokens, alone.tokens, "{mixer:?} {prompt:?}");
            // And as a forward pass over everything so far says, without a cache.
            let mut tokens = prompt.to_vec();
            for token in &reply.tokens {
                assert_eq!(last_row(&model, &tokens), *token, "{mixer:?} {prompt:?}");
                tokens.push(*token);
            }
            assert_eq!((reply.tokens.len(), reply.finish), (12, Finish::Length));
        }
    }
}

#[test]
fn a_reply_ends_before_a_stop_token_while_the_others_go_on() {
    let model = tiny(MixerKind::Mamba2);
    let free = generate_batch(&model, &prompts(), &Sampling::greedy(12)).unwrap();
    let stop = free[0].tokens[5];
    let sampling = Sampling::greedy(12).stop_at([stop]);
    let stopped = generate_batch(&model, &prompts(), &sampling).unwrap();
    for (free, stopped) in free.iter().zip(&stopped) {
        match free.tokens.iter().position(|token| *token == stop) {
            Some(at) => {
                assert_eq!(stopped.tokens, free.tokens[..at]);
                assert_eq!(stopped.finish, Finish::Stop);
            }
            None => assert_eq!(stopped.tokens, free.tokens),
        }
    }
}

#[test]
fn rows_that_are_over_leave_and_the_others_go_on_as_before() {
    const LENGTHS: [usize; 4] = [9, 2, 12, 4];
    for mixer in [MixerKind::Attention, MixerKind::Mamba1, MixerKind::Mamba2] {
        let model = tiny(mixer);
        let sampling = Sampling::greedy(12);
        let whole = generate_batch(&model, &prompts(), &sampling).unwrap();
        let mut told = [0; 4];
        let mut each = |row: usize, _| {
            told[row] += 1;
            match told[row] == LENGTHS[row] {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        };
        let found = generate_rows(&model, &prompts(), &sampling, &mut each).unwrap();
        for ((found, whole), length) in found.iter().zip(&whole).zip(LENGTHS) {
            assert_eq!(found.tokens, whole.tokens[..length], "{mixer:?}");
        }
    }
}

#[test]
fn a_long_prompt_prefilled_in_pieces_gives_the_same_cache() {
    let model = tiny(MixerKind::Mamba2);
    let prompt: Vec<u32> = (0..40).map(|at| (at * 7 + 3) % 29).collect();
    let rows = [prompt.clone()];
    let last = |piece| {
        let hidden = prefill(&model, &rows, 40, piece, &mut model.new_cache(1, 48));
        last_logits(&model, hidden.unwrap())
    };
    let difference = (last(64) - last(7)).abs().max().into_scalar();
    assert!(difference < 1e-5, "{difference}");
}

#[test]
fn the_host_sampler_with_one_candidate_is_greedy() {
    let model = tiny(MixerKind::Attention);
    let greedy = generate_batch(&model, &prompts(), &Sampling::greedy(6)).unwrap();
    let one = Sampling {
        top_k: Some(1),
        ..Sampling::with_temperature(6, 1.0, 7)
    };
    let drawn = generate_batch(&model, &prompts(), &one).unwrap();
    for (greedy, drawn) in greedy.iter().zip(&drawn) {
        assert_eq!(greedy.tokens, drawn.tokens);
    }
}

#[test]
fn gumbel_draws_follow_the_softmax() {
    let device = Default::default();
    let n = 20_000;
    let row = Tensor::<Flex, 2>::from_floats([[0.0, 2.0, 1.0, -1.0]], &device);
    let sampling = Sampling::with_temperature(1, 2.0, 11);
    let rows = row.clone().repeat_dim(0, n);
    let drawn = read_ids(Sampler::new::<Flex>(&sampling, &device).draw(rows));
    let weights = [0.0f64, 2.0, 1.0, -1.0].map(|z| (z / 2.0).exp());
    for (id, weight) in weights.iter().enumerate() {
        let expected = weight / weights.iter().sum::<f64>();
        let found = drawn.iter().filter(|token| **token == id as u32).count() as f64 / n as f64;
        // Four standard errors.
        let allowed = 4.0 * (expected * (1.0 - expected) / n as f64).sqrt();
        assert!(
            (found - expected).abs() < allowed,
            "{id}: {found} against {expected}"
        );
    }
}

#[test]
fn a_prompt_that_cannot_be_answered_is_an_error() {
    let model = tiny(MixerKind::Attention);
    let sampling = Sampling::greedy(1);
    let empty = generate_batch(&model, &[vec![1], vec![]], &sampling).unwrap_err();
    assert_eq!(empty.to_string(), "prompt 1: it is empty, needs a token");
    let outside = model.generate(&[29], &sampling).unwrap_err();
    assert_eq!(
        outside.to_string(),
        "prompt 0: id 29 is outside the vocabulary of 29"
    );
    assert!(generate_batch(&model, &[], &sampling).unwrap().is_empty());
    assert!(
        model
            .generate(&[1], &Sampling::greedy(0))
            .unwrap()
            .tokens
            .is_empty()
    );
}

#[test]
fn tokens_are_told_as_they_are_drawn_and_a_break_ends_the_reply() {
    let model = tiny(MixerKind::Attention);
    let whole = model.generate(PROMPTS[0], &Sampling::greedy(6)).unwrap();
    let mut told = Vec::new();
    let reply = model
        .generate_each(PROMPTS[0], &Sampling::greedy(6), |token| {
            told.push(token);
            if told.len() == 3 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })
        .unwrap();
    assert_eq!(told, whole.tokens[..3]);
    assert_eq!(reply.tokens, told);
    assert_eq!(reply.finish, Finish::Stop);
}
