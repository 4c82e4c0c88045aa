//! Tensors by name: in and out, and what is said when they do not fit.

use burn::backend::Flex;
use burn::tensor::TensorData;

use super::fixtures::{Inner, Train, config, model, weights};
use crate::error::ModelError;
use crate::hybrid::HybridModel;

fn load(tensors: Vec<(String, TensorData)>) -> Result<HybridModel<Flex>, ModelError> {
    HybridModel::load_named(&config("hybrid_mamba1"), tensors, &Default::default())
}

fn error(tensors: Vec<(String, TensorData)>) -> String {
    load(tensors).unwrap_err().to_string()
}

#[test]
fn what_goes_in_comes_out() {
    for name in ["teacher", "hybrid_mamba1", "hybrid_mamba2", "pure_mamba2"] {
        let mut given = weights(name);
        let mut read = model::<Inner>(name).named_tensors();
        given.sort_by(|a, b| a.0.cmp(&b.0));
        read.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(read, given, "{name}");
        let keys = model::<Train>(name).param_keys();
        assert_eq!(keys.len(), given.len(), "{name}");
    }
}

#[test]
fn a_tied_head_has_no_tensor_and_the_logits_of_the_embedding() {
    let mut config = config("teacher");
    config.llama.tie_word_embeddings = true;
    let mut tensors = weights("teacher");
    tensors.retain(|(key, _)| key != "lm_head.weight");
    let tied = HybridModel::<Inner>::load_named(&config, tensors.clone(), &Default::default());
    let tied = tied.unwrap();
    assert!(
        tied.named_tensors()
            .iter()
            .all(|(key, _)| key != "lm_head.weight")
    );

    config.llama.tie_word_embeddings = false;
    let embedding = tensors
        .iter()
        .find(|(key, _)| key == "model.embed_tokens.weight");
    let head = ("lm_head.weight".to_string(), embedding.unwrap().1.clone());
    tensors.push(head);
    let untied = HybridModel::<Inner>::load_named(&config, tensors, &Default::default()).unwrap();
    let tokens = super::fixtures::some_tokens(2, 5, 97);
    let difference = (tied.forward(tokens.clone()) - untied.forward(tokens))
        .abs()
        .max();
    assert!(difference.into_scalar() < 1e-5);
}

#[test]
fn missing_unknown_and_repeated_keys_are_listed() {
    let mut tensors = weights("hybrid_mamba1");
    tensors.retain(|(key, _)| key != "model.layers.2.mamba.D");
    tensors.push((
        "model.layers.1.self_attn.q_proj.bias".into(),
        TensorData::from([0.0_f32]),
    ));
    let norm = ("model.norm.weight".to_string(), TensorData::from([0.0_f32]));
    tensors.push(norm);
    let text = error(tensors);
    for part in [
        "missing: `model.layers.2.mamba.D`",
        "unknown: `model.layers.1.self_attn.q_proj.bias`",
        "given twice: `model.norm.weight`",
    ] {
        assert!(text.contains(part), "{text}");
    }
    let text = error(weights("teacher"));
    assert!(text.contains("and 16 more"), "long lists are cut: {text}");
}

#[test]
fn a_wrong_shape_names_key_found_and_expected() {
    let mut tensors = weights("hybrid_mamba1");
    let at = tensors
        .iter()
        .position(|(key, _)| key.ends_with("0.mamba.conv1d.weight"))
        .unwrap();
    tensors[at].1 = TensorData::new(vec![0.0_f32; 4 * 32], [32, 1, 4]);
    let text = error(tensors);
    assert!(
        text.contains("`model.layers.0.mamba.conv1d.weight` has shape [32, 1, 4]")
            && text.contains("[64, 1, 4]"),
        "{text}"
    );
}

#[test]
fn tensors_of_integers_are_refused() {
    let mut tensors = weights("hybrid_mamba1");
    let at = tensors
        .iter()
        .position(|(key, _)| key == "model.norm.weight")
        .unwrap();
    tensors[at].1 = TensorData::new(vec![1_i64; 64], [64]);
    let text = error(tensors);
    assert!(
        text.contains("model.norm.weight") && text.contains("I64"),
        "{text}"
    );
}

#[test]
fn a_bad_configuration_is_an_error_before_anything_is_built() {
    let mut config = config("hybrid_mamba2");
    config.attn_layers = vec![3, 1];
    let result = HybridModel::<Inner>::load_named(&config, vec![], &Default::default());
    assert!(result.unwrap_err().to_string().contains("attn_layers"));
}
