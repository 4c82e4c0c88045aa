//! Llama 3.1, Mistral and Qwen2 in small against numbers computed elsewhere: `tests/fixtures/teachers/README.md`.

use burn::tensor::{Int, Tensor, backend::Backend};

use super::fixtures::{Golden, Inner, Train, assert_near, path};
use crate::config::{InitFrom, MixerKind, SsmConfig};
use crate::convert::LayerPlan;
use crate::documents::Documents;
use crate::export::export_gguf;
use crate::hybrid::HybridModel;
use crate::load::{CheckpointMeta, SavePrecision, load, save};

const NAMES: [&str; 3] = ["llama", "mistral", "qwen2"];
/// Logits are up to 7; f32 leaves that much of them.
const LOGITS: f64 = 1e-4;

fn golden(name: &str) -> Golden {
    Golden::open(&format!("../teachers/{name}.golden.safetensors"))
}

fn teacher<B: kernels::SsmBackend>(name: &str) -> HybridModel<B> {
    let folder = path("../teachers").join(name);
    load::<B>(folder, &Default::default()).unwrap().model
}

#[test]
fn whole_sequences_give_the_reference_logits() {
    for name in NAMES {
        let golden = golden(name);
        let logits = teacher::<Inner>(name).forward(golden.tokens("input_ids"));
        assert_near(name, logits, golden.values("logits"), LOGITS);
        let logits = teacher::<Train>(name).forward(golden.tokens("input_ids"));
        assert_near(name, logits, golden.values("logits"), LOGITS);
    }
}

/// Columns `start..end` of the tokens.
fn part<B: Backend>(tokens: &Tensor<B, 2, Int>, start: usize, end: usize) -> Tensor<B, 2, Int> {
    tokens.clone().narrow(1, start, end - start)
}

#[test]
fn prompts_in_parts_and_single_tokens_give_them_too() {
    for name in NAMES {
        let golden = golden(name);
        let (model, tokens) = (teacher::<Inner>(name), golden.tokens("input_ids"));
        for cuts in [&[0, 9, 10, 11, 12, 24][..], &[0, 3, 4, 20, 21, 22, 23, 24]] {
            let mut cache = model.new_cache(2, 4);
            let parts = cuts
                .windows(2)
                .map(|cut| model.forward_cached(part(&tokens, cut[0], cut[1]), &mut cache));
            let logits = Tensor::cat(parts.collect(), 1);
            assert_near(name, logits, golden.values("logits"), LOGITS);
        }
    }
}

#[test]
fn drafted_tokens_that_are_dropped_leave_no_trace() {
    for name in NAMES {
        let golden = golden(name);
        let (model, tokens) = (teacher::<Inner>(name), golden.tokens("input_ids"));
        let mut cache = model.new_cache(2, 24);
        model.hidden_verify(part(&tokens, 0, 8), &mut cache);
        // Rows keep different numbers of them, and each goes on from its own last.
        cache.keep(&[8, 6]);
        let rows = |starts: [usize; 2], count| {
            let row = |row: usize| {
                tokens
                    .clone()
                    .narrow(0, row, 1)
                    .narrow(1, starts[row], count)
            };
            Tensor::cat(vec![row(0), row(1)], 0)
        };
        model.hidden_verify(rows([8, 6], 5), &mut cache);
        cache.keep(&[2, 5]);
        let hidden = model.hidden_verify(rows([10, 11], 4), &mut cache);
        let logits = model.logits(hidden);
        let all = golden.values("logits");
        let expected: Vec<f64> = [(0, 10), (1, 11)]
            .into_iter()
            .flat_map(|(row, start)| all[(row * 24 + start) * 40..][..4 * 40].iter().copied())
            .collect();
        assert_near(name, logits, &expected, LOGITS);
    }
}

#[test]
fn a_window_does_not_reach_into_the_document_before() {
    let model = teacher::<Inner>("mistral");
    let tokens: Tensor<Inner, 2, Int> = golden("mistral").tokens("input_ids");
    let documents = Documents::from_lengths(&[vec![10, 14], vec![3, 21]], &Default::default());
    let packed = model.forward_packed(tokens.clone(), &documents.unwrap());
    for (row, start, end) in [(0, 0, 10), (0, 10, 24), (1, 0, 3), (1, 3, 24)] {
        let alone = model.forward(part(&tokens, start, end).narrow(0, row, 1));
        let alone: Vec<f64> = alone.into_data().iter::<f64>().collect();
        let found = packed
            .clone()
            .narrow(0, row, 1)
            .narrow(1, start, end - start);
        assert_near("packed", found, &alone, 1e-5);
    }
}

#[test]
fn folders_and_gguf_files_keep_windows_scaling_and_biases() {
    let dir = tempfile::tempdir().unwrap();
    for name in NAMES {
        let model = teacher::<Inner>(name);
        let folder = dir.path().join(name);
        let meta = CheckpointMeta::default();
        save(&model, None, &folder, &meta, SavePrecision::F32).unwrap();
        let loaded = load::<Inner>(&folder, &Default::default()).unwrap().model;
        assert_eq!(loaded.config(), model.config());
        let golden = golden(name);
        let logits = loaded.forward(golden.tokens("input_ids"));
        assert_near(name, logits, golden.values("logits"), LOGITS);

        let file = dir.path().join(format!("{name}.gguf"));
        export_gguf(&model, None, None, name, &file, SavePrecision::F32).unwrap();
        let file = crate::load::gguf::GgufFile::open(&file).unwrap();
        let context = file.unsigned("llama.context_length").unwrap();
        assert_eq!(context, Some(if name == "mistral" { 5 } else { 128 }));
        let factors = file.tensor("rope_freqs.weight");
        assert_eq!(factors.is_ok(), name == "llama");
        if name == "qwen2" {
            let llama = crate::load::gguf::llama_config(&file).unwrap();
            assert!(llama.qkv_bias);
            let tensors = crate::load::gguf::llama_tensors(&file, &llama).unwrap();
            let key = "model.layers.1.self_attn.k_proj.bias";
            let of = |tensors: Vec<(String, burn::tensor::TensorData)>| {
                let found = tensors.into_iter().find(|(name, _)| name == key);
                found.unwrap().1.into_vec::<f32>().unwrap()
            };
            assert_eq!(of(tensors), of(model.named_tensors()));
        }
    }
}

#[test]
fn hybrids_keep_the_window_and_biases_are_not_lost_silently() {
    let plan = LayerPlan::uniform(2, 0.5).unwrap();
    let convert = |name: &str, init| {
        let model = teacher::<Inner>(name);
        let ssm = SsmConfig::published(MixerKind::Mamba2, &model.config().llama);
        model.convert(&ssm, &plan, init, 7)
    };
    let student = convert("mistral", InitFrom::Attention).unwrap();
    assert_eq!(student.config().llama.sliding_window, Some(5));
    let tokens: Tensor<Inner, 2, Int> = golden("mistral").tokens("input_ids");
    let whole: Vec<f64> = student
        .forward(tokens.clone())
        .into_data()
        .iter::<f64>()
        .collect();
    let mut cache = student.new_cache(2, 24);
    let first = student.forward_cached(part(&tokens, 0, 20), &mut cache);
    let steps = (20..24)
        .map(|at| student.forward_cached(part(&tokens, at, at + 1), &mut cache))
        .collect::<Vec<_>>();
    let logits = Tensor::cat([vec![first], steps].concat(), 1);
    assert_near("hybrid", logits, &whole, LOGITS);

    // A mixer without a place for the biases is not filled from attention that has them.
    let model = teacher::<Inner>("qwen2");
    let mut ssm = SsmConfig::published(MixerKind::Mamba2, &model.config().llama);
    ssm.in_proj_bias = false;
    let error = model.convert(&ssm, &plan, InitFrom::Attention, 7);
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("with biases of queries, keys and values") && error.contains("at random"),
        "{error}"
    );
    let student = model
        .convert(&ssm, &plan, InitFrom::RandomMixer, 7)
        .unwrap();
    let has_bias = |key: &str| {
        let tensors = student.named_tensors();
        tensors.iter().any(|(name, _)| name == key)
    };
    assert!(has_bias("model.layers.1.self_attn.q_proj.bias"));
    assert!(!has_bias("model.layers.0.mamba.in_proj.bias"));
}
