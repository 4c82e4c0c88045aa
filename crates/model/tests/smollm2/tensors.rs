//! Header, dequantisation and row order, by hash.

use model::load::gguf::{llama_config, llama_tensors};
use sha2::{Digest, Sha256};

use crate::files::{fixture, gguf};

fn sha256(values: &[f32]) -> String {
    let mut hash = Sha256::new();
    values
        .iter()
        .for_each(|value| hash.update(value.to_le_bytes()));
    hash.finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[test]
fn dequantised_tensors_have_the_expected_hashes() {
    let Some(file) = gguf() else { return };
    let golden = fixture("tensors.json");
    for record in golden["tensors"].as_array().unwrap() {
        let name = record["name"].as_str().unwrap();
        let (shape, values) = file.tensor(name).unwrap();
        let expected: Vec<_> = record["shape"]
            .as_array()
            .unwrap()
            .iter()
            .map(|n| n.as_u64().unwrap())
            .collect();
        assert_eq!(
            shape.iter().map(|n| *n as u64).collect::<Vec<_>>(),
            expected,
            "{name}"
        );
        for (at, first) in record["first8"].as_array().unwrap().iter().enumerate() {
            assert_eq!(values[at], first.as_f64().unwrap() as f32, "{name}[{at}]");
        }
        assert_eq!(
            sha256(&values),
            record["sha256_f32le"].as_str().unwrap(),
            "{name}"
        );
    }
}

#[test]
fn query_and_key_rows_are_put_in_hugging_face_order() {
    let Some(file) = gguf() else { return };
    let golden = fixture("tensors.json");
    let tensors = llama_tensors(&file, &llama_config(&file).unwrap()).unwrap();
    assert_eq!(tensors.len(), 272);
    for (stored, key) in [("attn_q", "q_proj"), ("attn_k", "k_proj")] {
        let stored = format!("blk.0.{stored}.weight");
        let records = golden["tensors"].as_array().unwrap();
        let record = records
            .iter()
            .find(|record| record["name"] == stored.as_str())
            .unwrap();
        let key = format!("model.layers.0.self_attn.{key}.weight");
        let (_, data) = tensors.iter().find(|(name, _)| *name == key).unwrap();
        let expected = record["sha256_f32le_unpermuted"].as_str().unwrap();
        assert_eq!(sha256(data.as_slice::<f32>().unwrap()), expected, "{key}");
    }
}

#[test]
fn metadata_gives_the_configuration() {
    let Some(file) = gguf() else { return };
    let config = llama_config(&file).unwrap();
    let golden = &fixture("tensors.json")["config"];
    for (key, found) in [
        ("vocab_size", config.vocab_size),
        ("hidden_size", config.d_model),
        ("intermediate_size", config.intermediate_size),
        ("num_hidden_layers", config.n_layers),
        ("num_attention_heads", config.n_heads),
        ("num_key_value_heads", config.n_kv_heads),
        ("head_dim", config.head_dim),
        ("max_position_embeddings", config.max_position_embeddings),
    ] {
        assert_eq!(found as u64, golden[key].as_u64().unwrap(), "{key}");
    }
    assert_eq!(
        config.rms_norm_eps,
        golden["rms_norm_eps"].as_f64().unwrap()
    );
    assert_eq!(config.rope_theta, golden["rope_theta"].as_f64().unwrap());
    assert!(config.tie_word_embeddings && config.rope_scaling.is_none());
    assert_eq!(
        (config.bos_token_id, config.eos_token_ids),
        (Some(1), vec![2])
    );
}
