//! `forward` against numbers made outside this project: the fixture models and SmolLM2.
use std::path::Path;

use assert_cmd::Command;

use crate::fixture_model::{Numbers, fixture, write_checkpoint};

/// Largest difference allowed in a logit of the fixture models, f32 against f64.
const LOGITS: f64 = 1e-4;
/// Largest difference allowed in the residual stream, of size about 1.
const HIDDEN: f64 = 1e-4;

/// Runs the binary; panics with its errors unless it succeeds.
fn distill<I: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = I>) -> Vec<u8> {
    let output = Command::new(env!("CARGO_BIN_EXE_distill"))
        .args(arguments)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

fn forward(model: &Path, dir: &Path, tokens: &str, steps: &str) -> Numbers {
    let (tokens_file, steps_file, output) = (
        dir.join("tokens.json"),
        dir.join("steps.json"),
        dir.join("out.safetensors"),
    );
    std::fs::write(&tokens_file, tokens).unwrap();
    std::fs::write(&steps_file, steps).unwrap();
    let paths = [model, &tokens_file, &steps_file, &output].map(|path| path.to_str().unwrap());
    distill([
        "forward", "--model", paths[0], "--tokens", paths[1], "--steps", paths[2], "--output",
        paths[3],
    ]);
    assert!(!dir.join("out.safetensors.part").exists());
    Numbers::read(&output)
}

fn assert_close(name: &str, got: (&[usize], &[f64]), expected: (&[usize], &[f64]), tolerance: f64) {
    assert_eq!(got.0, expected.0, "shape of {name}");
    let rms = (expected.1.iter().map(|x| x * x).sum::<f64>() / expected.1.len() as f64).sqrt();
    assert!(rms > 10.0 * tolerance, "{name}: zeros would pass");
    for (index, (got, expected)) in got.1.iter().zip(expected.1).enumerate() {
        let difference = (got - expected).abs();
        // A NaN is not below the tolerance either.
        assert!(
            difference <= tolerance,
            "{name}[{index}]: got {got}, expected {expected}"
        );
    }
}

#[test]
fn forward_equals_the_goldens_of_the_fixture_models() {
    for name in ["teacher", "hybrid_mamba1", "hybrid_mamba2", "pure_mamba2"] {
        let dir = tempfile::tempdir().unwrap();
        let model = dir.path().join(name);
        write_checkpoint(name, &model);
        let golden = Numbers::read(&fixture(&format!("{name}.golden.safetensors")));
        let got = forward(
            &model,
            dir.path(),
            &golden.ids_json("input_ids"),
            &golden.ids_json("decode_ids"),
        );
        assert_eq!(
            got.names(),
            [
                "hidden.0",
                "hidden.1",
                "hidden.2",
                "hidden.3",
                "logits",
                "step_logits"
            ],
            "{name}"
        );
        let label = |tensor: &str| format!("{name}: {tensor}");
        assert_close(
            &label("logits"),
            got.get("logits"),
            golden.get("logits"),
            LOGITS,
        );
        assert_close(
            &label("step_logits"),
            got.get("step_logits"),
            golden.get("decode_logits"),
            LOGITS,
        );
        for layer_idx in 0..4 {
            let tensor = format!("hidden.{layer_idx}");
            assert_close(
                &label(&tensor),
                got.get(&tensor),
                golden.get(&tensor),
                HIDDEN,
            );
        }
    }
}

#[test]
fn converted_checkpoints_load_and_nest() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    write_checkpoint("teacher", &dir.path().join("teacher"));
    for mixer in ["mamba1", "mamba2"] {
        let (half, none) = (
            path(&format!("{mixer}-half")),
            path(&format!("{mixer}-none")),
        );
        distill([
            "convert",
            "--model",
            &path("teacher"),
            "--ratio",
            "0.5",
            "--mixer",
            mixer,
            "--out",
            &half,
        ]);
        distill([
            "convert", "--model", &half, "--ratio", "0", "--mixer", mixer, "--out", &none,
        ]);
        for (folder, ratio) in [(&half, 0.5), (&none, 0.0)] {
            let report: serde_json::Value =
                serde_json::from_slice(&distill(["inspect", folder, "--json"])).unwrap();
            assert_eq!(report["attention_ratio"], ratio);
            assert_eq!(report["non_finite"], 0);
            let kept = report["mixers"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|kind| *kind == "attention");
            assert_eq!(kept.count() as f64, ratio * 4.0);
        }
        let golden = Numbers::read(&fixture("teacher.golden.safetensors"));
        let ids = golden.ids_json("input_ids");
        let (half, none) = (Path::new(&half), Path::new(&none));
        let (half, none) = (
            forward(half, dir.path(), &ids, "[[1], [2]]"),
            forward(none, dir.path(), &ids, "[[1], [2]]"),
        );
        // The first layer is the same mixer in both.
        assert_eq!(half.get("hidden.0"), none.get("hidden.0"), "{mixer}");
        assert_ne!(half.get("logits"), none.get("logits"), "{mixer}");
    }
}

#[test]
fn perplexity_of_the_fixture_teacher_is_that_of_its_loss() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("teacher");
    write_checkpoint("teacher", &model);
    let golden = Numbers::read(&fixture("teacher.golden.safetensors"));
    let ids = dir.path().join("ids.json");
    std::fs::write(&ids, golden.ids_json("input_ids")).unwrap();
    let paths = [&model, &ids].map(|path| path.to_str().unwrap());
    let arguments = [
        "eval",
        "perplexity",
        "--model",
        paths[0],
        "--tokens",
        paths[1],
        "--window",
        "37",
        "--json",
    ];
    let report: serde_json::Value = serde_json::from_slice(&distill(arguments)).unwrap();
    let (_, loss) = golden.get("ce_loss");
    let mean_nll = report["mean_nll"].as_f64().unwrap();
    assert!(
        (mean_nll - loss[0]).abs() < 1e-5,
        "{mean_nll} against {}",
        loss[0]
    );
    assert_eq!(report["scored_tokens"], 72);
}

/// Perplexity of Brown's first 512 tokens under SmolLM2, through the verb, with the reference value beside the ids.
#[test]
#[expect(clippy::print_stderr, reason = "a skipped test must say so")]
fn perplexity_of_smollm2_is_that_of_the_reference() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let fixture = |name: &str| -> serde_json::Value {
        let path = workspace.join("tests/fixtures/smollm2").join(name);
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    };
    // Asked for by name, a missing file is a failure, not a skip.
    let model = match std::env::var_os("SERPENTINE_SMOLLM2_GGUF") {
        Some(path) => path.into(),
        None => workspace.join("data/SmolLM2-135M-Instruct.Q4_1.gguf"),
    };
    if !model.exists() && std::env::var_os("SERPENTINE_SMOLLM2_GGUF").is_none() {
        eprintln!("skipped: needs the weights, see tests/fixtures/smollm2/README.md");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let tokens = dir.path().join("ids.json");
    std::fs::write(
        &tokens,
        serde_json::json!([fixture("brown_first_512.json")["ids"]]).to_string(),
    )
    .unwrap();
    let expected = fixture("ppl_brown.json")["first_512"]["mean_nll"]
        .as_f64()
        .unwrap();

    let mut sources = vec![["--tokens".into(), tokens.into_os_string()]];
    match std::env::var_os("SERPENTINE_BROWN") {
        Some(folder) => sources.push(["--brown".into(), folder]),
        None => eprintln!("skipped: joining the corpus needs `SERPENTINE_BROWN`"),
    }
    for source in sources {
        let mut arguments: Vec<std::ffi::OsString> = [
            "eval",
            "perplexity",
            "--window",
            "512",
            "--max-tokens",
            "512",
            "--json",
            "--model",
        ]
        .map(Into::into)
        .into();
        arguments.push(model.clone().into_os_string());
        arguments.extend(source.clone());
        let report: serde_json::Value = serde_json::from_slice(&distill(arguments)).unwrap();
        let mean_nll = report["mean_nll"].as_f64().unwrap();
        // 1e-4 of the mean is 0.01 % of the perplexity.
        assert!(
            (mean_nll - expected).abs() < 1e-4,
            "{source:?}: {mean_nll}, expected {expected}"
        );
    }
}
