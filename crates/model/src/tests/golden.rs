//! Four models against the published code's numbers: see `tests/fixtures/mamba/README.md`.

use burn::tensor::{Int, Tensor, activation::log_softmax, backend::Backend};
use kernels::SsmBackend;

use super::fixtures::{
    Golden, Inner, Train, assert_near, assert_values_near, config, model, root_mean_square,
};
use crate::cache::{Cache, LayerCache};
use crate::hybrid::HybridModel;
use crate::mixer::{AttentionContext, PassContext};
use crate::rope::{Rotary, frequencies};

const LOGITS: f64 = 1e-4;
/// Of the root mean square of what is expected.
const RELATIVE: f64 = 1e-3;

fn golden(name: &str) -> Golden {
    Golden::open(&format!("{name}.golden.safetensors"))
}

fn last<B: Backend>(logits: Tensor<B, 3>) -> Tensor<B, 2> {
    let [batch, seq, vocab] = logits.dims();
    logits.narrow(1, seq - 1, 1).reshape([batch, vocab])
}

fn states_match(golden: &Golden, prefix: &str, cache: &Cache<Inner>) {
    for (layer_idx, layer) in cache.layers().iter().enumerate() {
        let (window, state): (_, Vec<f32>) = match layer {
            LayerCache::Attention(_) => continue,
            LayerCache::Ssm(s) => {
                let s = s.settled().unwrap();
                let state = s.ssm_state.to_data().into_vec().unwrap();
                (s.conv_window.clone(), state)
            }
        };
        let key = format!("{prefix}.ssm_state.{layer_idx}");
        let expected = golden.values(&key);
        assert_values_near(
            &key,
            &state,
            expected,
            RELATIVE * root_mean_square(expected),
        );

        // The file keeps four inputs a channel, the cache the last three of them.
        let key = format!("{prefix}.conv_state.{layer_idx}");
        let width = golden.shape(&key)[2];
        let kept: Vec<f64> = golden
            .values(&key)
            .chunks(width)
            .flat_map(|taps| &taps[1..])
            .copied()
            .collect();
        assert_near(&key, window.swap_dims(1, 2), &kept, LOGITS);
    }
}

fn forward_matches(name: &str) {
    let (golden, model) = (golden(name), model::<Inner>(name));
    let tokens = golden.tokens("input_ids");
    let (hidden, logits) = model.hidden_states(tokens.clone());
    for (layer_idx, hidden) in hidden.iter().enumerate() {
        let key = format!("hidden.{layer_idx}");
        assert_near(&key, hidden.clone(), golden.values(&key), LOGITS);
    }
    assert_near("logits", logits, golden.values("logits"), LOGITS);
    assert_near(
        "forward",
        model.forward(tokens),
        golden.values("logits"),
        LOGITS,
    );
}

fn mixers_match(name: &str) {
    let (golden, model) = (golden(name), model::<Inner>(name));
    let device = Default::default();
    let rotary = Rotary::new(&frequencies(&config(name).llama), 0, 37, &device);
    let context = PassContext {
        attention: Some(AttentionContext::new(rotary)),
        reset: None,
        compute: None,
    };
    let mut x = model.embed_tokens.forward(golden.tokens("input_ids"));
    let mut compared = 0;
    for (layer_idx, block) in model.layers.iter().enumerate() {
        let key = format!("mixer_out.{layer_idx}");
        if golden.keys().any(|k| *k == key) {
            let output = block.mixer_output(x.clone(), &context);
            assert_near(&key, output, golden.values(&key), LOGITS);
            compared += 1;
        }
        x = block.forward(x, &context);
    }
    assert_eq!(compared, 2);
}

fn decoding_matches(name: &str) {
    let (golden, model) = (golden(name), model::<Inner>(name));
    let mut cache = model.new_cache(2, 45);
    let logits = model.forward_cached(golden.tokens("input_ids"), &mut cache);
    assert_near("prefill", logits, golden.values("logits"), LOGITS);
    if name != "teacher" {
        states_match(&golden, "prompt", &cache);
    }
    let given: Tensor<Inner, 2, Int> = golden.tokens("decode_ids");
    let mut steps = Vec::new();
    for step in 0..8 {
        steps.push(model.forward_cached(given.clone().narrow(1, step, 1), &mut cache));
        if name != "teacher" && (step == 2 || step == 7) {
            states_match(&golden, &format!("after{}", step + 1), &cache);
        }
    }
    assert_near(
        "steps",
        Tensor::cat(steps, 1),
        golden.values("decode_logits"),
        LOGITS,
    );
    assert_eq!(cache.len(), 45);

    let mut cache = model.new_cache(2, 0);
    let mut logits = last(model.forward_cached(golden.tokens("input_ids"), &mut cache));
    let mut drawn = Vec::new();
    for _ in 0..8 {
        let next = logits.argmax(1); // [batch, 1]
        drawn.push(next.clone());
        logits = last(model.forward_cached(next, &mut cache));
    }
    let expected: Tensor<Inner, 2, Int> = golden.tokens("greedy_ids");
    assert_eq!(Tensor::cat(drawn, 1).into_data(), expected.into_data());
}

fn cross_entropy<B: SsmBackend>(model: &HybridModel<B>, tokens: Tensor<B, 2, Int>) -> Tensor<B, 1> {
    let [batch, seq] = tokens.dims();
    let logits = model.forward(tokens.clone()).narrow(1, 0, seq - 1);
    let next = tokens.narrow(1, 1, seq - 1).reshape([batch, seq - 1, 1]);
    log_softmax(logits, 2).gather(2, next).mean().neg()
}

fn gradients_match(name: &str) {
    let golden = golden(name);
    let model = model::<Train>(name).freeze(|_| true);
    let loss = cross_entropy(&model, golden.tokens("input_ids"));
    let gradients = loss.backward();
    assert_near("ce_loss", loss.inner(), golden.values("ce_loss"), 1e-5);
    let found = model.named_gradients(&gradients);
    assert_eq!(
        found.len(),
        model.named_tensors().len(),
        "every parameter has a gradient"
    );
    let mut compared = 0;
    for (key, data) in &found {
        let key = format!("grad.{key}");
        if !golden.keys().any(|k| *k == key) {
            continue;
        }
        assert_eq!(data.shape.to_vec(), golden.shape(&key), "{key}");
        let expected = golden.values(&key);
        let values: Vec<f32> = data.to_vec().unwrap();
        assert_values_near(
            &key,
            &values,
            expected,
            RELATIVE * root_mean_square(expected),
        );
        compared += 1;
    }
    let expected = golden.keys().filter(|key| key.starts_with("grad.")).count();
    assert_eq!(compared, expected, "every gradient of the file is compared");
}

macro_rules! golden_tests {
    ($($name:ident: $($check:ident)*;)*) => {
        $(mod $name {
            $(#[test]
            fn $check() {
                super::$check(stringify!($name));
            })*
        })*
    };
}

golden_tests! {
    teacher: forward_matches decoding_matches gradients_match;
    hybrid_mamba1: forward_matches mixers_match decoding_matches gradients_match;
    hybrid_mamba2: forward_matches mixers_match decoding_matches gradients_match;
    pure_mamba2: forward_matches decoding_matches gradients_match;
}

#[test]
fn frozen_parameters_have_no_gradient_and_the_others_keep_theirs() {
    let model = model::<Train>("hybrid_mamba1").freeze(|key| key.contains(".mamba."));
    let tokens = golden("hybrid_mamba1").tokens("input_ids");
    let gradients = cross_entropy(&model, tokens).backward();
    let found = model.named_gradients(&gradients);
    assert_eq!(found.len(), 24);
    assert!(found.iter().all(|(key, _)| key.contains(".mamba.")));
}
