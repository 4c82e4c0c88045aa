//! A very small teacher and student for tests.

use std::path::Path;

use burn::backend::Flex;
use kernels::SsmBackend;
use model::files::faults::{Fault, with};
use model::{
    GqaRepeat, HybridConfig, HybridModel, InitFrom, LayerPlan, Layout, LlamaConfig, MixerKind,
    SsmConfig, Tokenizer,
};

use crate::data::Example;

/// Two layers, 32 tokens.
pub(crate) fn llama() -> LlamaConfig {
    LlamaConfig {
        d_model: 16,
        n_layers: 2,
        n_heads: 2,
        n_kv_heads: 1,
        head_dim: 8,
        intermediate_size: 24,
        vocab_size: 32,
        rope_theta: 1e4,
        rope_scaling: None,
        rms_norm_eps: 1e-5,
        tie_word_embeddings: true,
        max_position_embeddings: 64,
        sliding_window: None,
        qkv_bias: false,
        bos_token_id: None,
        eos_token_ids: vec![0],
    }
}

/// An attention model.
pub(crate) fn teacher<B: SsmBackend>() -> HybridModel<B> {
    HybridModel::init_seeded(&HybridConfig::teacher(llama()), 5, &Default::default())
}

/// Mamba2 as large as its attention.
pub(crate) fn ssm() -> SsmConfig {
    SsmConfig {
        dt_bias_multiplicity: 1,
        gqa_repeat: GqaRepeat::Head,
        ..SsmConfig::published(MixerKind::Mamba2, &llama())
    }
}

/// The teacher with a Mamba2 mixer in its first layer.
pub(crate) fn student() -> HybridModel<Flex> {
    let plan = LayerPlan::for_ratio(2, 0.5, Layout::Interleaved).expect("half of two layers");
    teacher::<Flex>()
        .convert(&ssm(), &plan, InitFrom::Attention, 3)
        .expect("converts")
}

/// Sequences that count up from different numbers; the last six tokens are targets.
pub(crate) fn examples(count: usize) -> Vec<Example> {
    let example = |start: usize| Example {
        ids: (0..12).map(|t| (1 + (start * 5 + t) % 31) as u32).collect(),
        targets: (0..12).map(|t| t >= 6).collect(),
    };
    (0..count).map(example).collect()
}

/// A tokenizer with ChatML's control tokens and little else.
pub(crate) fn chat_tokenizer() -> Tokenizer {
    let specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];
    Tokenizer::train_bpe(["user assistant one two three words"], 280, &specials).expect("trains")
}

/// Reads a folder with every single bit of one of its files flipped: at least `count` errors that name the file.
pub(crate) fn no_flip(
    folder: &Path,
    name: &str,
    count: usize,
    read: impl Fn(&Path) -> Result<(), String>,
) {
    let path = folder.join(name);
    let whole = std::fs::read(&path).unwrap();
    read(folder).unwrap();
    for bit in 0..8 * whole.len() {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(&path, flipped).unwrap();
        let error = read(folder).expect_err("every bit is covered");
        assert!(error.contains(name), "bit {bit}: {error}");
    }
    std::fs::write(&path, &whole).unwrap();
    read(folder).unwrap();
    assert!(8 * whole.len() > count, "{} bits", 8 * whole.len());
}

/// Does `work` with each fault at each of its operations on files, of which there must be `count`, and hands how it ended to `check`.
/// A short write is no failure; the error of any other names `name`, and where space lacks the bytes that are needed.
pub(crate) fn at_every_operation<R>(
    name: &str,
    count: usize,
    mut work: impl FnMut() -> anyhow::Result<R>,
    mut check: impl FnMut(Option<R>),
) {
    for fault in [Fault::NoSpace, Fault::Io, Fault::Short] {
        for at in 1.. {
            let (result, has_struck) = with(fault, at, "", &mut work);
            if let Err(error) = &result {
                let text = format!("{error:#}");
                assert!(fault != Fault::Short, "{at}: {text}");
                assert!(text.contains(name), "{fault:?} at {at}: {text}");
                let is_full = text.contains("no space");
                assert!(!is_full || text.contains(" bytes needed"), "{text}");
            }
            check(result.ok());
            if !has_struck {
                assert!(at > count, "{at} operations");
                break;
            }
        }
    }
}
