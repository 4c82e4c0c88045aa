//! The command line from outside: help, exit codes, one-line errors.
use assert_cmd::Command;

/// The binary, in an empty folder.
fn distill(dir: &std::path::Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_distill"));
    command
        .current_dir(dir)
        .env("NO_COLOR", "1")
        .env("COLUMNS", "100");
    command
}

pub(crate) fn output(arguments: &[&str]) -> (Option<i32>, String, String) {
    let dir = tempfile::tempdir().unwrap();
    let output = distill(dir.path()).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn help_is_as_agreed() {
    let (code, stdout, _) = output(&["--help"]);
    assert_eq!(code, Some(0));
    insta::assert_snapshot!("help", stdout);
    let (code, stdout, _) = output(&["sweep", "--help"]);
    assert_eq!(code, Some(0));
    insta::assert_snapshot!("help_sweep", stdout);
}

/// As `distill env | head -1` does.
#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    for arguments in [&["env"][..], &["inspect", "builtin:tiny"]] {
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_distill"))
            .args(arguments)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), stderr.as_str()), (Some(0), ""));
    }
}

#[test]
fn wrong_usage_ends_with_2() {
    for arguments in [
        &["--nonsense"][..],
        &[],
        &["sweep", "--mixer", "mamba3"],
        &["sweep", "--recipe", "a.toml", "--out", "x", "--resume", "y"],
        &["sweep", "--resume", "nowhere"],
        &["sweep", "--set", "nonsense"],
        &["sweep", "--set", "sft.stepz=3", "--dry-run"],
    ] {
        let (code, stdout, stderr) = output(arguments);
        assert_eq!(code, Some(2), "{arguments:?}: {stderr}");
        assert_eq!(stdout, "", "{arguments:?}");
        assert!(!stderr.contains("panicked"), "{arguments:?}: {stderr}");
    }
}

#[test]
fn missing_recipe_is_one_line_with_1() {
    let (code, _, stderr) = output(&["sweep", "--recipe", "absent.toml"]);
    assert_eq!(code, Some(1));
    insta::assert_snapshot!("missing_recipe", stderr);
}

#[test]
fn other_backend_names_the_rebuild() {
    let other = if distill::backend::NAME == "flex" {
        "cuda"
    } else {
        "flex"
    };
    let (code, _, stderr) = output(&["sweep", "--dry-run", "--backend", other]);
    assert_eq!(code, Some(2));
    assert!(
        stderr.contains("hint: rebuild with `cargo build"),
        "{stderr}"
    );
    assert!(stderr.contains(&format!("--features {other}`")), "{stderr}");
}

#[test]
fn env_tells_versions_features_and_room_but_no_secret() {
    let dir = tempfile::tempdir().unwrap();
    let output = distill(dir.path())
        .arg("env")
        .env("HF_TOKEN", "hf_secret")
        .env("HF_HOME", dir.path())
        .env("RAYON_NUM_THREADS", "2")
        .output()
        .unwrap();
    assert!(output.status.success());
    let stdout = String::from_utf8(output.stdout).unwrap();
    let value = |name: &str| -> &str {
        let mut lines = stdout.lines();
        let line = lines.find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no `{name}` in {stdout}"))
            .trim()
    };
    assert!(value("distill ").starts_with(env!("CARGO_PKG_VERSION")));
    assert!(value("features ").contains(distill::backend::NAME));
    assert!(value("system ").contains(std::env::consts::ARCH));
    assert!(value("disk ").contains(" free of "));
    assert!(value("hub cache ").starts_with(dir.path().to_str().unwrap()));
    assert!(stdout.contains("RAYON_NUM_THREADS=2"), "{stdout}");
    assert!(stdout.contains("HF_TOKEN=(set)"), "{stdout}");
    assert!(!stdout.contains("hf_secret"), "{stdout}");
}
