//! `doctor` passes where the kernels are right and fails where a golden value is not; `bench kernels` times them.
use std::path::{Path, PathBuf};

use assert_cmd::Command;

fn golden(name: &str) -> PathBuf {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/mamba");
    fixtures.join(format!("kernel_{name}.safetensors"))
}

fn doctor(files: &[PathBuf]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_distill"));
    command.arg("doctor");
    for file in files {
        command.arg("--golden").arg(file);
    }
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let code = output.status.code();
    (code, text(output.stdout), text(output.stderr))
}

#[test]
fn every_kernel_and_every_golden_file_passes() {
    let names = ["selective_scan", "ssd", "gated_norm", "verify"];
    let (code, stdout, stderr) = doctor(&names.map(golden));
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    assert!(stdout.contains(distill::backend::NAME), "{stdout}");
    assert!(stdout.contains(" 0 failed"), "{stdout}");
    assert!(!stdout.contains("FAIL"), "{stdout}");
    for name in ["features", "system", "cpu", "memory", "disk", "backend"] {
        let mut lines = stdout.lines();
        assert!(lines.any(|line| line.starts_with(name)), "{name}: {stdout}");
    }
    let ops = [
        "selective_scan",
        "ssd",
        "causal_conv1d",
        "gated_rms_norm",
        "masked_softmax",
        "decode_step",
    ];
    for op in ops {
        assert!(
            stdout.lines().any(|line| line.starts_with(op)),
            "{op}: {stdout}"
        );
    }
    for tensor in [
        "init_z in chunks of 64: grad.z",
        "no_d: last_state",
        "group16: grad.weight",
        "round2: y",
    ] {
        assert!(stdout.contains(tensor), "{tensor}: {stdout}");
    }
}

#[test]
fn a_wrong_golden_value_fails_with_1() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("wrong.safetensors");
    let mut bytes = std::fs::read(golden("ssd")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let tensor = file.tensor("init_z.grad.D").unwrap();
    let start = tensor.data().as_ptr() as usize - bytes.as_ptr() as usize;
    let end = start + tensor.data().len();
    bytes[start..end].fill(0);
    std::fs::write(&path, bytes).unwrap();
    let (code, stdout, stderr) = doctor(&[path]);
    assert_eq!(code, Some(1), "{stdout}{stderr}");
    let failed: Vec<&str> = stdout
        .lines()
        .filter(|line| line.contains("FAIL"))
        .collect();
    assert!(!failed.is_empty(), "{stdout}");
    for line in failed {
        assert!(line.contains("init_z") && line.contains("grad.d"), "{line}");
    }
    assert!(stderr.starts_with("error: 4 of "), "{stderr}");
    assert_eq!(stderr.lines().count(), 2, "{stderr}");
    let hint = stderr.lines().last().unwrap();
    assert!(
        hint.starts_with("hint: ") && hint.contains("driver"),
        "{stderr}"
    );
}

#[test]
fn other_files_are_one_line_with_1_and_nothing_is_run() {
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().join("text.safetensors");
    std::fs::write(&text, "not tensors").unwrap();
    let cut = dir.path().join("cut.safetensors");
    let bytes = std::fs::read(golden("ssd")).unwrap();
    std::fs::write(&cut, &bytes[..bytes.len() - 8]).unwrap();
    let foreign = golden("ssd").with_file_name("teacher.weights.safetensors");
    for (path, word) in [
        (dir.path().join("absent.safetensors"), "could not read"),
        (text, "expected a safetensors file"),
        (cut, "expected a safetensors file"),
        (foreign, "no tensor `in.u`"),
    ] {
        let (code, stdout, stderr) = doctor(std::slice::from_ref(&path));
        assert_eq!(code, Some(1), "{path:?}: {stderr}");
        assert_eq!(stdout, "", "{path:?}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(
            stderr.starts_with("error: ") && stderr.contains(word),
            "{stderr}"
        );
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(stderr.contains(name), "{stderr}");
    }
}

/// Most memory of a step of the tiny teacher's hybrid, where the operating system tells.
fn peak_of_step(arguments: &[&str]) -> Option<f64> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_distill"));
    let shape = ["--batch-size", "4", "--seq-len", "256"];
    let output = command
        .args(["bench", "step", "--json", "--teacher", "builtin:tiny"])
        .args(shape)
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success());
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    report["peak_resident_bytes"].as_f64()
}

#[test]
fn blocks_that_are_run_again_take_less_memory() {
    let (kept, again) = (
        peak_of_step(&[]),
        peak_of_step(&["--activation-checkpointing"]),
    );
    if let (Some(kept), Some(again)) = (kept, again) {
        assert!(again < 0.7 * kept, "{again} of {kept} bytes");
    }
}

#[test]
fn bench_times_every_kernel() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_distill"));
    let output = command
        .args(["bench", "kernels", "--json"])
        .output()
        .unwrap();
    assert!(output.status.success());
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report["copy_gb_s"].as_f64().unwrap() > 0.0);
    let rows = report["rows"].as_array().unwrap();
    for op in [
        "selective_scan",
        "ssd",
        "causal_conv1d",
        "gated_rms_norm",
        "masked_softmax",
        "decode_step",
    ] {
        let row = rows.iter().find(|row| row["op"] == op).unwrap();
        let forward = row["forward_ms"].as_f64().unwrap();
        assert!(forward > 0.0, "{row}");
        assert_eq!(row["both_ms"].is_null(), op == "decode_step", "{row}");
    }
}

#[test]
fn bench_decode_times_each_mixer_at_each_ratio() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_distill"));
    let output = command
        .args(["bench", "decode", "--json", "--teacher", "builtin:tiny"])
        .args(["--ratio", "1,0.5", "--prompt-tokens", "5", "--tokens", "4"])
        .args(["--precision", "f32,bf16", "--rounds", "1"])
        .output()
        .unwrap();
    assert!(output.status.success());
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = report["rows"].as_array().unwrap();
    let model = |row: &serde_json::Value| {
        let mixer = row["mixer"].as_str().map(str::to_owned);
        (mixer, row["attention_ratio"].as_f64())
    };
    let expected = [("-", 1.0), ("mamba1", 0.5), ("mamba2", 0.5)];
    assert_eq!(rows.len(), 2 * expected.len());
    for (pair, (mixer, ratio)) in rows.chunks_exact(2).zip(expected) {
        let expected = (Some(mixer.to_owned()), Some(ratio));
        let found = [model(&pair[0]), model(&pair[1])];
        assert_eq!(found, [expected.clone(), expected]);
        let floor = |row: &serde_json::Value| row["floor_ms"].as_f64().unwrap();
        assert!(floor(&pair[1]) < 0.7 * floor(&pair[0]), "{pair:?}");
    }
    for row in rows {
        let value = |column: &str| row[column].as_f64().unwrap();
        assert!(value("queue_ms") > 0.0 && value("floor_ms") > 0.0, "{row}");
        assert!(
            (value("tokens_per_s") * value("token_ms") - 1e3).abs() < 20.0,
            "{row}"
        );
    }
}
