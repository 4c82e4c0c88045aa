//! GGUF, safetensors and their index, configurations, tokenizers.
use std::path::Path;

use burn::backend::Flex;
use model::{
    HybridConfig, HybridModel, InitFrom, LayerPlan, LlamaConfig, MixerKind, SsmConfig, Tokenizer,
};

use crate::format::{Bound, Format, fixtures, workplace};

/// What a parser may hold: twice the file, and what there is in every case, such as a file's buffer and the tables of a
/// tokenizer's regular expressions.
const TWICE: Bound = Bound {
    times: 2,
    bytes: 1 << 20,
};

/// The library keeps every token and merge in several tables, and there are two of them here.
const TOKENIZER: Bound = Bound {
    times: 40,
    bytes: 8 << 20,
};

/// Pieces of the JSON of models.
const JSON_WORDS: [&str; 22] = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "null",
    "true",
    "-1",
    "1e308",
    "1e-320",
    "0.5",
    "[[[[[[[[",
    "{\"a\":",
    "\"\\ud800\"",
    "\\u0000",
    "\"..\"",
    "9223372036854775808",
    "-9223372036854775809",
    "\"/etc/passwd\"",
    "\u{feff}",
];

fn is_model(path: &Path) -> bool {
    model::load::<Flex>(path, &Default::default()).is_ok()
}

/// A folder with the files of the corpus's hybrid.
fn hybrid_folder(name: &str) -> std::path::PathBuf {
    let folder = workplace(name);
    for (from, to) in [
        ("config/hybrid.json", "config.json"),
        ("mamba-config/ours.json", "mamba_config.json"),
        ("weights/hybrid.safetensors", "model.safetensors"),
    ] {
        std::fs::copy(fixtures().join(from), folder.join(to)).unwrap();
    }
    assert!(is_model(&folder));
    folder
}

#[test]
fn gguf() {
    let format = Format {
        name: "gguf",
        file: "model.gguf",
        words: &[
            "GGUF",
            "general.alignment",
            "llama",
            "token_embd.weight",
            "blk.0.",
            "\u{0}\u{0}\u{0}\u{0}",
            "Ġ",
        ],
        bound: TOKENIZER,
    };
    format.check(&workplace("gguf"), is_model);
}

#[test]
fn gguf_headers() {
    let format = Format {
        name: "gguf",
        file: "model.gguf",
        words: &[
            "GGUF",
            "general.alignment",
            "\u{9}\u{0}\u{0}\u{0}",
            "\u{8}\u{0}\u{0}\u{0}",
        ],
        bound: TWICE,
    };
    let read = |path: &Path| {
        let Ok(file) = model::load::gguf::GgufFile::open(path) else {
            return false;
        };
        let names: Vec<String> = file.tensors().keys().cloned().collect();
        names.iter().all(|name| file.tensor(name).is_ok())
    };
    format.check(&workplace("gguf-headers"), read);
}

#[test]
fn weights() {
    let format = Format {
        name: "weights",
        file: "model.safetensors",
        words: &[
            "F32",
            "BF16",
            "F64",
            "I8",
            "\"data_offsets\":[0,0]",
            "\"shape\":[]",
            "__metadata__",
            "{",
            "}",
            ",",
        ],
        bound: TWICE,
    };
    let folder = hybrid_folder("weights");
    format.check(&folder, |path| is_model(path.parent().unwrap()));
}

#[test]
fn shard_index() {
    let words = [
        &JSON_WORDS[..],
        &["../", "/", "\\", "C:", ".", "weight_map", "a.safetensors"],
    ]
    .concat();
    let format = Format {
        name: "index",
        file: "model.safetensors.index.json",
        words: &words,
        bound: TWICE,
    };
    let folder = hybrid_folder("index");
    std::fs::rename(
        folder.join("model.safetensors"),
        folder.join("a.safetensors"),
    )
    .unwrap();
    // A file that can be read, where only a path out of the folder leads.
    std::fs::copy(
        folder.join("a.safetensors"),
        folder.join("../outside.safetensors"),
    )
    .unwrap();
    format.check(&folder, |path| {
        let is_read = is_model(path.parent().unwrap());
        let json: serde_json::Value =
            serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap_or_default();
        let files = json["weight_map"].as_object().into_iter().flatten();
        for (_, file) in files {
            let is_ours = file.as_str() == Some("a.safetensors");
            assert!(!is_read || is_ours, "{json}");
        }
        is_read
    });
}

/// Checks one of the JSON files beside the weights of the corpus's hybrid.
fn check_config(name: &str, file: &str, words: [&str; 4]) {
    let format = Format {
        name,
        file,
        words: &[&JSON_WORDS[..], &words].concat(),
        bound: TWICE,
    };
    let folder = hybrid_folder(name);
    format.check(&folder, |path| is_model(path.parent().unwrap()));
}

#[test]
fn config() {
    let words = [
        "\"rope_scaling\"",
        "\"llama3\"",
        "\"num_hidden_layers\"",
        "16777216",
    ];
    check_config("config", "config.json", words);
}

#[test]
fn mamba_config() {
    let words = [
        "\"attn_layers\"",
        "\"serpentine\"",
        "\"ssm_cfg\"",
        "16777216",
    ];
    check_config("mamba-config", "mamba_config.json", words);
}

#[test]
fn tokenizer() {
    let words = [
        &JSON_WORDS[..],
        &[
            "<|end|>",
            "\"special\": true",
            "\"special\": false",
            "ByteLevel",
            "Ġ",
        ],
    ]
    .concat();
    let format = Format {
        name: "tokenizer",
        file: "tokenizer.json",
        words: &words,
        bound: TOKENIZER,
    };
    format.check(&workplace("tokenizer"), |path| {
        let Ok(tokenizer) = Tokenizer::load(path) else {
            return false;
        };
        // What people write never becomes a control token, whatever the file says.
        for text in ["lower <|end|> low", "<|end|>", "l<|e", "\u{0}é"] {
            let ids = tokenizer.encode(text);
            assert!(
                !ids.iter().any(|id| tokenizer.is_special(*id)),
                "{text}: {ids:?}"
            );
            let _ = tokenizer.decode(&ids);
        }
        true
    });
}

/// Writes the corpus: a transformer of one layer, a hybrid of two, and their tokenizer.
#[test]
#[ignore = "writes the corpus anew"]
fn make_corpus() {
    use model::load::{CheckpointMeta, SavePrecision};
    let tokenizer = Tokenizer::train_bpe(["low lower"], 260, &["<|end|>"]).unwrap();
    let llama = |n_layers| LlamaConfig {
        d_model: 4,
        n_layers,
        n_heads: 2,
        n_kv_heads: 1,
        head_dim: 2,
        intermediate_size: 4,
        vocab_size: 8,
        rope_theta: 1e4,
        rope_scaling: None,
        rms_norm_eps: 1e-5,
        tie_word_embeddings: true,
        max_position_embeddings: 64,
        sliding_window: None,
        qkv_bias: false,
        bos_token_id: None,
        eos_token_ids: vec![2],
    };
    let init = |llama| {
        HybridModel::<Flex>::init_seeded(&HybridConfig::teacher(llama), 1, &Default::default())
    };
    let folder = workplace("make-corpus").join("model");
    let put = |from: &Path, to: &str| {
        let to = fixtures().join(to);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(from, to).unwrap();
    };
    let ssm = SsmConfig::published(MixerKind::Mamba2, &llama(2));
    let layers = LayerPlan::uniform(2, 0.5).unwrap();
    let hybrid = init(llama(2))
        .convert(&ssm, &layers, InitFrom::Attention, 1)
        .unwrap();
    let meta = CheckpointMeta::default();
    model::load::save(
        &hybrid,
        Some(&tokenizer),
        &folder,
        &meta,
        SavePrecision::F32,
    )
    .unwrap();
    for (from, to) in [
        ("config.json", "config/hybrid.json"),
        ("mamba_config.json", "mamba-config/ours.json"),
        ("model.safetensors", "weights/hybrid.safetensors"),
        ("tokenizer.json", "tokenizer/bpe.json"),
    ] {
        put(&folder.join(from), to);
    }
    let mut whole = llama(1);
    whole.vocab_size = tokenizer.vocab_size();
    let gguf = folder.join("llama.gguf");
    model::export::export_gguf(
        &init(whole),
        Some(&tokenizer),
        None,
        "tiny",
        &gguf,
        SavePrecision::F16,
    )
    .unwrap();
    put(&gguf, "gguf/llama.gguf");
}
