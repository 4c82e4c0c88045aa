//! `export` from outside: folders and files that other programs read.
use std::path::Path;

use assert_cmd::Command;
use serde_json::Value;

use crate::fixture_model::{Numbers, fixture, write_checkpoint};

fn distill(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_distill"))
        .env("NO_COLOR", "1")
        .args(arguments)
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    let stderr = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), stderr)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The logits of `model` on the tokens of the reference values.
fn logits(model: &Path, name: &str, dir: &Path) -> Vec<f64> {
    let golden = Numbers::read(&fixture(&format!("{name}.golden.safetensors")));
    let (tokens, out) = (dir.join("ids.json"), dir.join("logits.safetensors"));
    std::fs::write(&tokens, golden.ids_json("input_ids")).unwrap();
    let arguments = [
        "forward",
        "--model",
        text(model),
        "--tokens",
        text(&tokens),
        "--output",
        text(&out),
    ];
    assert_eq!(distill(&arguments).0, Some(0));
    Numbers::read(&out).get("logits").1.to_vec()
}

#[test]
fn exported_folders_and_files_compute_the_reference_logits() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    for (name, format) in [
        ("hybrid_mamba1", "hf"),
        ("hybrid_mamba2", "hf"),
        ("teacher", "hf"),
        ("teacher", "gguf"),
    ] {
        let (source, out) = (
            dir.join(format!("{name}-{format}")),
            dir.join(format!("{name}.{format}")),
        );
        write_checkpoint(name, &source);
        let (code, stderr) = distill(&[
            "export",
            text(&source),
            "--format",
            format,
            "--out",
            text(&out),
        ]);
        assert_eq!(code, Some(0), "{stderr}");
        let is_hybrid = name != "teacher";
        assert_eq!(stderr.contains("--base-model"), is_hybrid, "{stderr}");
        if format == "hf" {
            for file in ["config.json", "generation_config.json", "README.md"] {
                assert!(out.join(file).is_file(), "{name}: {file}");
            }
            let card = std::fs::read_to_string(out.join("README.md")).unwrap();
            assert!(card.starts_with("---\n") && card.contains(&format!("# {name}.hf")));
            assert_eq!(card.contains("layers [1, 3] keep attention"), is_hybrid);
        }
        // A GGUF file says nothing without a tokenizer to those who want text, but its weights are whole.
        if format == "gguf" {
            let file = model::load::gguf::GgufFile::open(&out).unwrap();
            assert_eq!(file.text("general.name").unwrap(), Some("teacher"));
            assert_eq!(file.tensors().len(), 3 + 4 * 9);
            continue;
        }
        let golden = Numbers::read(&fixture(&format!("{name}.golden.safetensors")));
        let (found, expected) = (logits(&out, name, dir), golden.get("logits").1);
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!(
                (found - expected).abs() < 1e-4,
                "{name}: {found}, {expected}"
            );
        }
    }
}

#[test]
fn a_builtin_model_is_exported_with_tokenizer_template_and_a_given_card() {
    let dir = tempfile::tempdir().unwrap();
    let (card, out) = (dir.path().join("card.md"), dir.path().join("tiny"));
    std::fs::write(&card, "# Mine\n").unwrap();
    let arguments = [
        "export",
        "builtin:tiny",
        "--format",
        "hf",
        "--out",
        text(&out),
        "--dtype",
        "bf16",
        "--card",
        text(&card),
        "--shard-size",
        "1MB",
    ];
    let (code, stderr) = distill(&arguments);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    let json = |name: &str| -> Value {
        serde_json::from_slice(&std::fs::read(out.join(name)).unwrap()).unwrap()
    };
    assert!(json("tokenizer_config.json")["chat_template"].is_string());
    assert_eq!(json("tokenizer_config.json")["eos_token"], "<|im_end|>");
    assert_eq!(json("generation_config.json")["eos_token_id"][0], 2);
    assert_eq!(json("config.json")["torch_dtype"], "bfloat16");
    assert!(json("model.safetensors.index.json")["weight_map"].is_object());
    let card = std::fs::read_to_string(out.join("README.md")).unwrap();
    assert_eq!(card, "# Mine\n");
    let names = |folder: &Path| -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    };
    assert!(names(dir.path()).iter().all(|name| !name.starts_with('.')));
    // It answers as the original does, and is not written over.
    let generate = |model: &str| {
        let arguments = [
            "generate",
            "--model",
            model,
            "--prompt",
            "Copy: a b c",
            "--max-tokens",
            "8",
        ];
        let mut command = Command::new(env!("CARGO_BIN_EXE_distill"));
        String::from_utf8(command.args(arguments).output().unwrap().stdout).unwrap()
    };
    assert_eq!(generate(text(&out)), generate("builtin:tiny"));
    let (code, stderr) = distill(&arguments);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("exists already"), "{stderr}");
}

#[test]
fn gguf_says_in_one_line_what_it_has_no_place_for() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("hybrid");
    write_checkpoint("hybrid_mamba1", &source);
    let out = dir.path().join("hybrid.gguf");
    let (code, stderr) = distill(&[
        "export",
        text(&source),
        "--format",
        "gguf",
        "--out",
        text(&out),
    ]);
    assert_eq!(code, Some(1));
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(
        stderr.contains("no GGUF architecture has Mamba1 layers") && stderr.contains("--format hf"),
        "{stderr}"
    );
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}
