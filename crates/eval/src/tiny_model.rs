//! A model small enough for unit tests.
use burn::backend::Flex;
use model::{HybridConfig, HybridModel, LlamaConfig};

/// Two attention layers of width 32, random weights from seed 0.
pub(crate) fn tiny_model(vocab_size: usize) -> HybridModel<Flex> {
    tiny_model_seeded(vocab_size, 0)
}

/// The same from another seed.
pub(crate) fn tiny_model_seeded(vocab_size: usize, seed: u64) -> HybridModel<Flex> {
    let llama: LlamaConfig = serde_json::from_value(serde_json::json!({
        "model_type": "llama", "hidden_size": 32, "num_attention_heads": 2, "num_key_value_heads": 1,
        "head_dim": 16, "intermediate_size": 48, "num_hidden_layers": 2, "vocab_size": vocab_size,
        "rope_theta": 10000.0, "rms_norm_eps": 1e-5, "tie_word_embeddings": false,
        "max_position_embeddings": 8192,
    }))
    .unwrap();
    HybridModel::init_seeded(&HybridConfig::teacher(llama), seed, &Default::default())
}
