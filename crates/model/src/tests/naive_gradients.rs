//! Both mixers, with every flag, against `f64` loops: outputs, and every gradient against central
//! differences.

use burn::tensor::{Tensor, TensorData};

use super::fixtures::{Train, assert_near, assert_values_near, root_mean_square};
use super::naive::{self, Weights};
use crate::config::{GqaRepeat, HybridConfig, LlamaConfig, MixerKind, SsmConfig};
use crate::mixer::{Mixer, PassContext};
use crate::params::{assign, gradients};

const SEQ: usize = 7;
const STEP: f64 = 1e-5;

fn llama() -> LlamaConfig {
    LlamaConfig {
        d_model: 6,
        n_layers: 1,
        n_heads: 6,
        n_kv_heads: 2,
        head_dim: 4,
        intermediate_size: 8,
        vocab_size: 8,
        rope_theta: 1e4,
        rope_scaling: None,
        rms_norm_eps: 1e-5,
        tie_word_embeddings: true,
        max_position_embeddings: 64,
        sliding_window: None,
        qkv_bias: false,
        bos_token_id: None,
        eos_token_ids: vec![],
    }
}

/// Numbers in [-1, 1), seeded.
fn numbers(seed: u64, count: usize) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..count)
        .map(|_| {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            f64::from((((state >> 40) as f64) / f64::from(1 << 23) - 1.0) as f32)
        })
        .collect()
}

fn check(ssm: &SsmConfig) {
    let llama = llama();
    let d_model = llama.d_model;
    let config = HybridConfig {
        llama,
        attn_layers: vec![],
        ssm: Some(ssm.clone()),
    };
    config.validate("test").unwrap();
    let llama = &config.llama;

    let mut weights = Weights::new();
    let skeleton = Mixer::<Train>::skeleton(&config, 0, &Default::default());
    let mixer = assign::<Train, _, _>(skeleton, |key, shape| {
        let name = key.strip_prefix("model.mamba.").unwrap();
        let values = numbers(weights.len() as u64 + 3, shape.iter().product());
        weights.insert(name.to_string(), values.clone());
        Ok(values.into_iter().map(|v| v as f32).collect())
    })
    .unwrap();

    let h = numbers(99, SEQ * d_model);
    let rows: Vec<Vec<f64>> = h.chunks(d_model).map(<[f64]>::to_vec).collect();
    let readout = numbers(77, SEQ * d_model);
    let loss = |weights: &Weights, rows: &Vec<Vec<f64>>| -> f64 {
        let y = naive::mixer(weights, llama, ssm, rows);
        y.concat().iter().zip(&readout).map(|(y, r)| y * r).sum()
    };
    let tensor = |values: &[f64]| {
        let values: Vec<f32> = values.iter().map(|v| *v as f32).collect();
        let data = TensorData::new(values, [1, SEQ, d_model]);
        Tensor::<Train, 3>::from_data(data, &Default::default())
    };

    let x = tensor(&h).require_grad();
    let y = mixer.forward(x.clone(), &PassContext::default());
    let expected = naive::mixer(&weights, llama, ssm, &rows).concat();
    assert_near("output", y.clone().inner(), &expected, 1e-5);
    let grads = (y * tensor(&readout)).sum().backward();

    let mut by_input = Vec::new();
    for t in 0..SEQ {
        for i in 0..d_model {
            let at = |step: f64| {
                let mut moved = rows.clone();
                moved[t][i] += step;
                loss(&weights, &moved)
            };
            by_input.push((at(STEP) - at(-STEP)) / (2.0 * STEP));
        }
    }
    let bound = 1e-3 * root_mean_square(&by_input);
    assert_near("input gradient", x.grad(&grads).unwrap(), &by_input, bound);

    let found = gradients::<Train, _>(&mixer, &grads);
    assert_eq!(found.len(), weights.len(), "every parameter has a gradient");
    for (key, data) in found {
        let name = key.strip_prefix("model.mamba.").unwrap();
        let by_difference: Vec<f64> = (0..weights[name].len())
            .map(|i| {
                let at = |step: f64| {
                    let mut moved = weights.clone();
                    moved.get_mut(name).unwrap()[i] += step;
                    loss(&moved, &rows)
                };
                (at(STEP) - at(-STEP)) / (2.0 * STEP)
            })
            .collect();
        let size = root_mean_square(&by_difference);
        assert!(size > 1e-6, "{name} has no influence");
        let values: Vec<f32> = data.to_vec().unwrap();
        assert_values_near(name, &values, &by_difference, 1e-3 * size);
    }
}

#[test]
fn mamba1_gradients_are_those_of_central_differences_for_every_flag() {
    for dt_bias_multiplicity in [1, 2] {
        for gqa_repeat in [GqaRepeat::ChunkN, GqaRepeat::Head] {
            for (repeat_kv_before_conv, in_proj_bias) in
                [(true, false), (false, false), (true, true)]
            {
                check(&SsmConfig {
                    d_state: 2,
                    d_conv: 3,
                    dt_rank: 2,
                    dt_bias_multiplicity,
                    gqa_repeat,
                    repeat_kv_before_conv,
                    in_proj_bias,
                    ..SsmConfig::published(MixerKind::Mamba1, &llama())
                });
            }
        }
    }
}

#[test]
fn mamba2_gradients_are_those_of_central_differences_for_every_flag() {
    for repeat_kv_before_conv in [true, false] {
        for (chunk_size, in_proj_bias) in [(4, false), (256, false), (4, true)] {
            check(&SsmConfig {
                chunk_size,
                repeat_kv_before_conv,
                in_proj_bias,
                ..SsmConfig::published(MixerKind::Mamba2, &llama())
            });
        }
    }
}
