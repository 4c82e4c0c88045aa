//! Mixers with heads wider than the Mamba1 state, where the repeats differ.

use burn::module::Param;
use burn::nn::RmsNorm;
use burn::tensor::Tensor;

use super::fixtures::{Golden, Inner, assert_near, assert_values_near};
use crate::cache::{Cache, LayerCache};
use crate::config::{GqaRepeat, HybridConfig, LlamaConfig, MixerKind, SsmConfig};
use crate::mixer::{ContinuedContext, Mixer, PassContext};
use crate::params::assign;

const NEAR: f64 = 1e-4;

fn config(kind: MixerKind, repeat_kv_before_conv: bool) -> HybridConfig {
    let llama = LlamaConfig {
        d_model: 64,
        n_layers: 1,
        n_heads: 2,
        n_kv_heads: 1,
        head_dim: 32,
        intermediate_size: 64,
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
    };
    let mut ssm = SsmConfig::published(kind, &llama);
    ssm.repeat_kv_before_conv = repeat_kv_before_conv;
    HybridConfig {
        llama,
        attn_layers: vec![],
        ssm: Some(ssm),
    }
}

fn mixer(golden: &Golden, config: &HybridConfig, name: &str) -> Mixer<Inner> {
    let mixer = Mixer::skeleton(config, 0, &Default::default());
    // The other repeat shares all weights but the convolution.
    let shared = name.replace("conv0", "conv1");
    assign(mixer, |key, shape| {
        let key = key.strip_prefix("model.mamba.").unwrap();
        let own = format!("{name}.weight.{key}");
        let is_own = golden.keys().any(|k| *k == own);
        let key = if is_own {
            own
        } else {
            format!("{shared}.weight.{key}")
        };
        assert_eq!(golden.shape(&key), shape, "{key}");
        Ok(golden.values(&key).iter().map(|v| *v as f32).collect())
    })
    .unwrap()
}

fn input(golden: &Golden, name: &str) -> Tensor<Inner, 3> {
    Tensor::from_data(golden.data(&format!("{name}.x")), &Default::default())
}

/// Leaves what it gets as it is: beside this epsilon the mean square is nothing.
fn identity() -> RmsNorm<Inner> {
    let gamma = Tensor::full([64], 1e6, &Default::default());
    RmsNorm {
        gamma: Param::from_tensor(gamma),
        epsilon: 1e12,
    }
}

/// Whole, and as a prefill of 11 tokens continued one by one.
fn mixer_matches(name: &str, config: &HybridConfig) -> Cache<Inner> {
    let golden = Golden::open("mixer_headdim32.safetensors");
    let mixer = mixer(&golden, config, name);
    let (x, key) = (input(&golden, name), format!("{name}.y"));
    assert_near(
        &key,
        mixer.forward(x.clone(), &PassContext::default()),
        golden.values(&key),
        NEAR,
    );

    let mut cache = Cache::new(config, 1, 0, &Default::default());
    let layer = &mut cache.layers[0];
    let context = ContinuedContext {
        attention: None,
        kept: None,
    };
    let mut continued = |start: usize, length: usize| {
        let part = x.clone().narrow(1, start, length);
        mixer.continued(&identity(), part.clone(), &context, layer) - part
    };
    let mut parts = vec![continued(0, 11)];
    parts.extend((11..19).map(|position| continued(position, 1)));
    assert_near(&key, Tensor::cat(parts, 1), golden.values(&key), NEAR);
    cache
}

#[test]
fn mamba1_repeats_chunks_before_the_convolution() {
    let name = "mamba1.hd32.repeat_before_conv1";
    let config = config(MixerKind::Mamba1, true);
    let cache = mixer_matches(name, &config);
    let golden = Golden::open("mixer_headdim32.safetensors");
    let LayerCache::Ssm(state) = &cache.layers()[0] else {
        unreachable!()
    };
    let state = state.settled().unwrap().ssm_state.to_data();
    let state: Vec<f32> = state.into_vec().unwrap();
    let key = format!("{name}.prompt.ssm_state");
    assert_values_near(&key, &state, golden.values(&key), NEAR);
}

#[test]
fn mamba1_repeats_chunks_after_the_convolution() {
    mixer_matches(
        "mamba1.hd32.repeat_before_conv0",
        &config(MixerKind::Mamba1, false),
    );
}

#[test]
fn mamba2_repeats_heads_before_the_convolution() {
    mixer_matches(
        "mamba2.hd32.repeat_before_conv1",
        &config(MixerKind::Mamba2, true),
    );
}

#[test]
fn repeating_heads_or_adding_the_bias_once_is_another_mixer() {
    let golden = Golden::open("mixer_headdim32.safetensors");
    let name = "mamba1.hd32.repeat_before_conv1";
    let published = config(MixerKind::Mamba1, true);
    let expected = Tensor::from_data(golden.data(&format!("{name}.y")), &Default::default());
    for change in [
        |ssm: &mut SsmConfig| ssm.gqa_repeat = GqaRepeat::Head,
        |ssm: &mut SsmConfig| ssm.dt_bias_multiplicity = 1,
    ] {
        let mut changed = published.clone();
        change(changed.ssm.as_mut().unwrap());
        let y =
            mixer(&golden, &changed, name).forward(input(&golden, name), &PassContext::default());
        let difference: f32 = (y - expected.clone()).abs().max().into_scalar();
        assert!(difference > 0.01, "the flag changes nothing: {difference}");
    }
}
