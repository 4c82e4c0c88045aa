//! A teacher of a few thousand random weights, with data, for tests that run the binary.
use std::path::{Path, PathBuf};
use std::process::Command;

use distill::backend::{Device, InnerBackend};
use model::load::{CheckpointMeta, SavePrecision};
use model::{HybridConfig, HybridModel, LlamaConfig, Tokenizer};

/// A folder with `teacher/`, `chat.jsonl`, `pairs.jsonl` and `recipe.toml`, and the binary to run in it.
pub struct Workplace {
    dir: tempfile::TempDir,
}

impl Workplace {
    /// Makes the files.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        save_teacher(&dir.path().join("teacher"));
        std::fs::write(dir.path().join("chat.jsonl"), chats()).unwrap();
        std::fs::write(dir.path().join("pairs.jsonl"), pairs()).unwrap();
        std::fs::write(dir.path().join("recipe.toml"), RECIPE).unwrap();
        Self { dir }
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The binary with these arguments, in the folder.
    pub fn distill(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_distill"));
        command
            .current_dir(self.dir.path())
            .env("NO_COLOR", "1")
            .args(arguments);
        command
    }

    /// Runs the binary to its end: exit code, stdout, stderr.
    pub fn run(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let output = self.distill(arguments).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (
            output.status.code(),
            text(output.stdout),
            text(output.stderr),
        )
    }
}

const RECIPE: &str = r#"
name = "probe"
[teacher]
path = "teacher"
[student]
mixer = "mamba2"
[sweep]
attention_ratios = [0.5, 0.0]
stages = ["distillation", "sft", "dpo"]
controls = [{ init = "random-mixer", attention_ratios = [0.0] }]
[data]
chat = ["chat.jsonl"]
preferences = ["pairs.jsonl"]
seq_len = 48
pseudo_labels = 6
pseudo_label_tokens = 8
[distillation]
steps = 4
batch_size = 2
grad_accumulation = 2
[sft]
steps = 4
batch_size = 2
[dpo]
steps = 3
batch_size = 2
[eval]
perplexity_sequences = 4
task_examples = 2
speed_tokens = 4
"#;

fn save_teacher(folder: &Path) {
    let specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];
    let tokenizer =
        Tokenizer::train_bpe(["the snake sleeps", "a snake eats"], 300, &specials).unwrap();
    let config = HybridConfig::teacher(LlamaConfig {
        d_model: 32,
        n_layers: 4,
        n_heads: 4,
        n_kv_heads: 2,
        head_dim: 8,
        intermediate_size: 48,
        vocab_size: tokenizer.vocab_size(),
        rope_theta: 10_000.0,
        rope_scaling: None,
        rms_norm_eps: 1e-5,
        tie_word_embeddings: true,
        max_position_embeddings: 512,
        sliding_window: None,
        qkv_bias: false,
        bos_token_id: None,
        eos_token_ids: vec![2],
    });
    let model = HybridModel::<InnerBackend>::init(&config, &Device::default());
    let meta = CheckpointMeta::default();
    model::load::save(&model, Some(&tokenizer), folder, &meta, SavePrecision::F32).unwrap();
}

fn chats() -> String {
    let animals = [
        "snake", "cat", "dog", "owl", "fox", "hen", "cow", "ant", "bee", "eel", "emu", "yak",
    ];
    let line = |animal| {
        format!("{{\"prompt\":\"Where is the {animal}?\",\"reply\":\"The {animal} sleeps.\"}}\n")
    };
    animals.map(line).concat()
}

fn pairs() -> String {
    let animals = ["snake", "cat", "dog", "owl", "fox", "hen"];
    let line = |animal| {
        format!(
            "{{\"prompt\":\"Where is the {animal}?\",\"chosen\":\"The {animal} sleeps.\",\"rejected\":\"No {animal}.\"}}\n"
        )
    };
    animals.map(line).concat()
}
