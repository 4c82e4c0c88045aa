use std::path::Path;

use super::*;
use crate::error::ModelError;
use crate::tokenizer::Tokenizer;

/// Writes GGUF bytes, value by value.
#[derive(Clone, Default)]
struct Writer {
    metadata: Vec<u8>,
    n_metadata: u64,
    table: Vec<u8>,
    n_tensors: u64,
    data: Vec<u8>,
}

impl Writer {
    fn key(&mut self, key: &str, value_type: u32) -> &mut Vec<u8> {
        self.n_metadata += 1;
        put_string(&mut self.metadata, key);
        self.metadata.extend(value_type.to_le_bytes());
        &mut self.metadata
    }

    fn u32(&mut self, key: &str, value: u32) {
        self.key(key, 4).extend(value.to_le_bytes());
    }

    fn f32(&mut self, key: &str, value: f32) {
        self.key(key, 6).extend(value.to_le_bytes());
    }

    fn text(&mut self, key: &str, value: &str) {
        put_string(self.key(key, 8), value);
    }

    fn texts(&mut self, key: &str, values: &[String]) {
        let out = self.key(key, 9);
        out.extend(8u32.to_le_bytes());
        out.extend((values.len() as u64).to_le_bytes());
        values.iter().for_each(|value| put_string(out, value));
    }

    fn i32s(&mut self, key: &str, values: &[i32]) {
        let out = self.key(key, 9);
        out.extend(5u32.to_le_bytes());
        out.extend((values.len() as u64).to_le_bytes());
        values
            .iter()
            .for_each(|value| out.extend(value.to_le_bytes()));
    }

    /// `dims` in GGUF order, the row length first.
    fn tensor(&mut self, name: &str, dims: &[u64], code: u32, data: &[u8]) {
        self.n_tensors += 1;
        put_string(&mut self.table, name);
        self.table.extend((dims.len() as u32).to_le_bytes());
        dims.iter()
            .for_each(|dim| self.table.extend(dim.to_le_bytes()));
        self.table.extend(code.to_le_bytes());
        self.table.extend((self.data.len() as u64).to_le_bytes());
        self.data.extend(data);
        self.data.resize(self.data.len().next_multiple_of(32), 0);
    }

    /// A tensor whose values count up from `first`.
    fn counting(&mut self, name: &str, dims: &[u64], first: f32) {
        let n: u64 = dims.iter().product();
        let values = (0..n).map(|at| first + at as f32);
        self.tensor(
            name,
            dims,
            0,
            &values.flat_map(f32::to_le_bytes).collect::<Vec<_>>(),
        );
    }

    fn finish(&self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(3u32.to_le_bytes());
        out.extend(self.n_tensors.to_le_bytes());
        out.extend(self.n_metadata.to_le_bytes());
        out.extend(&self.metadata);
        out.extend(&self.table);
        out.resize(out.len().next_multiple_of(32), 0);
        out.extend(&self.data);
        out
    }
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

/// A Llama of width 8: 2 layers, 2 heads of 4 over 1 key/value head, vocabulary 5.
fn tiny_llama() -> Writer {
    let mut w = Writer::default();
    w.text("general.architecture", "llama");
    for (key, value) in [
        ("llama.embedding_length", 8),
        ("llama.block_count", 2),
        ("llama.attention.head_count", 2),
        ("llama.attention.head_count_kv", 1),
        ("llama.rope.dimension_count", 4),
        ("llama.feed_forward_length", 12),
        ("llama.context_length", 64),
        ("tokenizer.ggml.bos_token_id", 1),
        ("tokenizer.ggml.eos_token_id", 2),
        ("tokenizer.ggml.eot_token_id", 2),
    ] {
        w.u32(key, value);
    }
    w.f32("llama.attention.layer_norm_rms_epsilon", 1e-5);
    w.counting("token_embd.weight", &[8, 5], 0.0);
    w.counting("output_norm.weight", &[8], 0.0);
    for layer in 0..2 {
        for (name, dims) in [
            ("attn_norm", &[8u64][..]),
            ("attn_q", &[8, 8]),
            ("attn_k", &[8, 4]),
            ("attn_v", &[8, 4]),
            ("attn_output", &[8, 8]),
            ("ffn_norm", &[8]),
            ("ffn_gate", &[8, 12]),
            ("ffn_up", &[8, 12]),
            ("ffn_down", &[12, 8]),
        ] {
            w.counting(&format!("blk.{layer}.{name}.weight"), dims, 0.0);
        }
    }
    w
}

fn open(bytes: &[u8]) -> Result<GgufFile, ModelError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tiny.gguf");
    std::fs::write(&path, bytes).unwrap();
    GgufFile::open(&path)
}

/// The file stays for tests that read tensors.
fn with_file<T>(bytes: &[u8], test: impl FnOnce(&Path) -> T) -> T {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tiny.gguf");
    std::fs::write(&path, bytes).unwrap();
    test(&path)
}

#[test]
fn a_llama_file_gives_its_configuration_and_hugging_face_tensors() {
    with_file(&tiny_llama().finish(), |path| {
        let file = GgufFile::open(path).unwrap();
        let config = llama_config(&file).unwrap();
        assert_eq!(
            (config.d_model, config.n_layers, config.vocab_size),
            (8, 2, 5)
        );
        assert_eq!(
            (config.n_heads, config.n_kv_heads, config.head_dim),
            (2, 1, 4)
        );
        assert_eq!(
            (config.intermediate_size, config.max_position_embeddings),
            (12, 64)
        );
        assert_eq!(config.rms_norm_eps, f64::from(1e-5f32));
        assert_eq!(config.rope_theta, 10_000.0);
        assert_eq!(
            (config.bos_token_id, &config.eos_token_ids[..]),
            (Some(1), &[2][..])
        );
        assert!(config.tie_word_embeddings);
        let tensors = llama_tensors(&file, &config).unwrap();
        assert_eq!(tensors.len(), 2 + 2 * 9);
        let get = |key: &str| &tensors.iter().find(|(name, _)| name == key).unwrap().1;
        let down = get("model.layers.1.mlp.down_proj.weight");
        assert_eq!(down.shape.as_slice(), [8, 12]);
        // Rows of 8 values counted up: the first value over 8 is the stored row.
        let q = get("model.layers.0.self_attn.q_proj.weight")
            .to_vec::<f32>()
            .unwrap();
        let rows: Vec<f32> = q.iter().step_by(8).map(|value| value / 8.0).collect();
        assert_eq!(rows, [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]);
        let k = get("model.layers.0.self_attn.k_proj.weight")
            .to_vec::<f32>()
            .unwrap();
        let rows: Vec<f32> = k.iter().step_by(8).map(|value| value / 8.0).collect();
        assert_eq!(rows, [0.0, 2.0, 1.0, 3.0]);
        let v = get("model.layers.0.self_attn.v_proj.weight")
            .to_vec::<f32>()
            .unwrap();
        assert!(v.windows(2).all(|pair| pair[1] == pair[0] + 1.0));
    });
}

#[test]
fn a_file_cut_anywhere_is_one_clear_error() {
    let bytes = tiny_llama().finish();
    for length in 0..bytes.len() {
        match open(&bytes[..length]) {
            Err(ModelError::Truncated { needed, found, .. }) => {
                assert_eq!(found, length as u64);
                assert!(
                    needed > found && needed <= bytes.len() as u64,
                    "{needed} at {length}"
                );
            }
            // The last tensor is padded to the alignment; the padding carries nothing.
            Ok(_) => assert!(length + 32 > bytes.len(), "cut at {length} was accepted"),
            other => panic!("cut at {length}: {other:?}"),
        }
    }
    let message = open(&bytes[..bytes.len() - 400]).unwrap_err().to_string();
    assert!(
        message.contains("tensor `blk.1.ffn_down.weight` needs"),
        "{message}"
    );
    assert!(message.contains("fetch it again"), "{message}");
}

#[test]
fn any_byte_may_be_wrong_without_a_panic_or_a_large_allocation() {
    let bytes = tiny_llama().finish();
    for at in 0..bytes.len() {
        for value in [0x00, 0x7f, 0xff] {
            let mut broken = bytes.clone();
            broken[at] = value;
            with_file(&broken, |path| {
                if let Ok(file) = GgufFile::open(path)
                    && let Ok(config) = llama_config(&file)
                {
                    let _ = llama_tensors(&file, &config);
                    let _ = Tokenizer::from_gguf(&file);
                }
            });
            // The header and the table are what can mislead; values cannot.
            if at > 2_200 {
                return;
            }
        }
    }
}

#[test]
fn huge_lengths_are_refused_before_they_are_allocated() {
    let mut w = Writer::default();
    w.key("k", 8).extend(u64::MAX.to_le_bytes());
    let message = open(&w.finish()).unwrap_err().to_string();
    assert!(
        message.contains("metadata key `k` needs 18446744073709551615 bytes"),
        "{message}"
    );

    let mut w = Writer::default();
    let out = w.key("k", 9);
    out.extend(10u32.to_le_bytes());
    out.extend((1u64 << 62).to_le_bytes());
    assert!(matches!(
        open(&w.finish()),
        Err(ModelError::Truncated { .. })
    ));

    let mut w = Writer::default();
    w.tensor("t", &[1 << 40, 1 << 40], 0, &[]);
    assert!(matches!(open(&w.finish()), Err(ModelError::Gguf { .. })));

    let mut counts = Writer::default().finish();
    counts[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(matches!(open(&counts), Err(ModelError::Truncated { .. })));
}

#[test]
fn what_is_not_supported_says_so() {
    let refused = |change: &dyn Fn(&mut Writer)| {
        let mut w = tiny_llama();
        change(&mut w);
        with_file(&w.finish(), |path| {
            let file = GgufFile::open(path)?;
            llama_tensors(&file, &llama_config(&file)?).map(|_| ())
        })
        .unwrap_err()
        .to_string()
    };
    for (message, part) in [
        (
            refused(&|w| w.text("llama.rope.scaling.type", "yarn")),
            "found `yarn`",
        ),
        (
            refused(&|w| w.u32("llama.expert_count", 8)),
            "`llama.expert_count`: found 8",
        ),
        (
            refused(&|w| w.counting("rope_freqs.weight", &[2], 1.0)),
            "scaled RoPE",
        ),
        (
            refused(&|w| w.counting("blk.0.attn_output.bias", &[8], 1.0)),
            "`blk.0.attn_output.bias`",
        ),
        (
            refused(&|w| w.tensor("t", &[7, 2], 3, &[])),
            "multiple of 32, the block size of Q4_1",
        ),
        (
            refused(&|w| w.tensor("t", &[256], 10, &[])),
            "type code 10, expected one of F32",
        ),
        (refused(&|w| w.u32("llama.block_count", 3)), "it twice"),
        (
            refused(&|w| w.u32("llama.attention.key_length", 6)),
            "the head size 6",
        ),
    ] {
        assert!(
            message.contains(part) && message.contains("tiny.gguf"),
            "{message}"
        );
    }
    let mut other = Writer::default();
    other.text("general.architecture", "gpt2");
    let message = llama_config(&open(&other.finish()).unwrap())
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("found `gpt2`, expected `llama`"),
        "{message}"
    );
    let not_gguf = open(b"PK\x03\x04 a zip file, not a model")
        .unwrap_err()
        .to_string();
    assert!(not_gguf.contains("expected `GGUF`"), "{not_gguf}");
}

#[test]
fn a_tokenizer_comes_back_from_metadata() {
    let trained =
        Tokenizer::train_bpe(["the snake and the other snake 12"], 280, &["<|end|>"]).unwrap();
    let json: serde_json::Value = serde_json::from_str(&trained.to_json().unwrap()).unwrap();
    let n = trained.vocab_size() as u32;
    let tokens: Vec<String> = (0..n).map(|id| trained.token(id).unwrap()).collect();
    let merges = json["model"]["merges"]
        .as_array()
        .unwrap()
        .iter()
        .map(|merge| {
            format!(
                "{} {}",
                merge[0].as_str().unwrap(),
                merge[1].as_str().unwrap()
            )
        });
    let mut w = Writer::default();
    w.text("tokenizer.ggml.model", "gpt2");
    w.text("tokenizer.ggml.pre", "smollm");
    w.texts("tokenizer.ggml.merges", &merges.collect::<Vec<_>>());
    let types: Vec<i32> = (0..n).map(|id| if id == 0 { 3 } else { 1 }).collect();
    w.i32s("tokenizer.ggml.token_type", &types);
    let mut broken = w.clone();
    w.texts("tokenizer.ggml.tokens", &tokens);
    let rebuilt = Tokenizer::from_gguf(&open(&w.finish()).unwrap()).unwrap();
    let text = "the snake<|end|> and 12 others";
    assert_eq!(rebuilt.encode(text), trained.encode(text));
    assert_eq!(
        rebuilt.encode_with_specials(text),
        trained.encode_with_specials(text)
    );

    broken.texts("tokenizer.ggml.tokens", &tokens[..100]);
    let message = Tokenizer::from_gguf(&open(&broken.finish()).unwrap())
        .unwrap_err()
        .to_string();
    assert!(message.contains("expected 100, one a token"), "{message}");
}
