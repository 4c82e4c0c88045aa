use serde_json::{Value, json};

use crate::config::{LlamaConfig, RopeScaling};

fn smollm() -> Value {
    json!({
        "hidden_size": 576,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "intermediate_size": 1536,
        "vocab_size": 49152,
        "rms_norm_eps": 1e-5,
        "rope_theta": 100000,
        "model_type": "llama",
        "hidden_act": "silu",
        "attention_bias": false,
        "rope_interleaved": false,
        "rope_scaling": null,
        "tie_word_embeddings": true,
        "max_position_embeddings": 8192,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "transformers.js_config": {"kv_cache_dtype": "x"},
        "use_cache": true,
    })
}

fn with(changes: Value) -> Result<LlamaConfig, String> {
    let mut config = smollm();
    for (key, value) in changes.as_object().unwrap() {
        config[key] = value.clone();
    }
    LlamaConfig::from_hf(&config, "config.json").map_err(|error| error.to_string())
}

#[test]
fn unknown_keys_are_ignored_and_absent_ones_take_their_defaults() {
    let config = with(json!({})).unwrap();
    assert_eq!(
        (config.head_dim, config.d_inner(), config.d_xb()),
        (64, 576, 192)
    );
    assert_eq!(config.heads_per_kv(), 3);
    assert_eq!((config.rope_theta, config.rope_scaling), (100_000.0, None));
    assert!(config.tie_word_embeddings);
    assert_eq!(
        (config.bos_token_id, config.eos_token_ids),
        (Some(1), vec![2])
    );
}

#[test]
fn an_explicit_head_size_wins_and_end_tokens_may_be_several() {
    let config = with(json!({"head_dim": 128, "eos_token_id": [5, 7], "bos_token_id": null}));
    let config = config.unwrap();
    assert_eq!((config.head_dim, config.d_inner()), (128, 1152));
    assert_eq!(
        (config.bos_token_id, config.eos_token_ids),
        (None, vec![5, 7])
    );
}

#[test]
fn a_window_counts_where_it_is_shorter_than_the_context_and_biases_go_with_qwen2() {
    let of = |changes| {
        let config = with(changes).unwrap();
        (config.sliding_window, config.qkv_bias)
    };
    let mistral = |window| json!({"model_type": "mistral", "sliding_window": window});
    assert_eq!(of(mistral(Some(4096))), (Some(4096), false));
    assert_eq!(of(mistral(Some(8192))), (None, false));
    assert_eq!(of(mistral(None)), (None, false));
    let qwen2 = json!({"model_type": "qwen2", "sliding_window": 4096});
    assert_eq!(of(qwen2), (None, true));
}

#[test]
fn llama3_scaling_is_read_from_both_layouts() {
    let scaling = json!({
        "rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    });
    let expected = RopeScaling {
        factor: 32.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_position_embeddings: 8192,
    };
    let old = with(json!({"rope_scaling": scaling, "rope_theta": 500000.0})).unwrap();
    assert_eq!(
        (old.rope_scaling, old.rope_theta),
        (Some(expected), 500_000.0)
    );
    let mut parameters = scaling;
    parameters["rope_theta"] = json!(500000.0);
    let new = with(json!({"rope_parameters": parameters, "rope_theta": null})).unwrap();
    assert_eq!(new, old);
}

#[test]
fn values_that_change_the_arithmetic_are_refused_by_name() {
    for (changes, part) in [
        (json!({"hidden_act": "gelu"}), "`hidden_act` is \"gelu\""),
        (json!({"model_type": "qwen3"}), "`model_type` is \"qwen3\""),
        (
            json!({"model_type": "qwen2", "use_sliding_window": true}),
            "`use_sliding_window` is true",
        ),
        (json!({"sliding_window": 0}), "`sliding_window` is 0"),
        (json!({"attention_bias": true}), "`attention_bias` is true"),
        (
            json!({"rope_scaling": {"type": "yarn", "factor": 4.0}}),
            "`rope_type` is \"yarn\"",
        ),
        (
            json!({"rope_scaling": {"rope_type": "llama3"}}),
            "`factor` is absent",
        ),
        (
            json!({"num_key_value_heads": 2}),
            "`num_key_value_heads` is 2",
        ),
        (json!({"head_dim": 7}), "`head_dim` is 7"),
        (json!({"hidden_size": null}), "`hidden_size` is absent"),
        (json!({"hidden_size": 577}), "`num_attention_heads` is 9"),
        (
            json!({"num_attention_heads": 0}),
            "`num_attention_heads` is 0",
        ),
        (json!({"vocab_size": -1}), "`vocab_size` is -1"),
        (json!({"num_hidden_layers": 1e30}), "`num_hidden_layers` is"),
        (json!({"rms_norm_eps": 0.0}), "`rms_norm_eps` is 0"),
        (json!({"eos_token_id": "x"}), "`eos_token_id` is \"x\""),
    ] {
        let error = with(changes).unwrap_err();
        assert!(
            error.contains(part) && error.contains("config.json"),
            "{error}"
        );
    }
    assert!(LlamaConfig::from_hf(&json!([1]), "config.json").is_err());
}

#[test]
fn what_is_written_is_what_is_read() {
    for changes in [
        json!({}),
        json!({"eos_token_id": [1, 2], "tie_word_embeddings": false}),
        json!({"eos_token_id": null, "bos_token_id": null}),
        json!({"model_type": "mistral", "sliding_window": 4096}),
        json!({"model_type": "qwen2", "sliding_window": 4096, "use_sliding_window": false}),
        json!({"rope_scaling": {
            "rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4,
            "original_max_position_embeddings": 8192,
        }}),
    ] {
        let config = with(changes).unwrap();
        assert_eq!(
            LlamaConfig::from_hf(&config.to_hf(), "written").unwrap(),
            config
        );
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<LlamaConfig>(&text).unwrap(), config);
    }
}
