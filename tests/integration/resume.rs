//! Interrupted and resumed equals uninterrupted, bit for bit.
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::teacher::Workplace;

const LAST: &str = "checkpoints/chain/0-dpo/model.safetensors";

#[cfg(unix)]
#[test]
fn interrupted_sweep_ends_like_an_uninterrupted_one() {
    let place = Workplace::new();
    let (code, _, stderr) = place.run(&["sweep", "--recipe", "recipe.toml", "--out", "whole"]);
    assert_eq!(code, Some(0), "{stderr}");
    let read = |run: &str| std::fs::read(place.path(run).join(LAST)).unwrap();

    for signal in ["INT", "TERM"] {
        // Longer stages would only make the test slower: the signal is sent at the first sign of the second stage.
        let mut child = place
            .distill(&["sweep", "--recipe", "recipe.toml", "--out", signal])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap())
            .lines()
            .map_while(Result::ok);
        assert!(lines.any(|line| line.starts_with("chain 50 % sft")));
        let sent = Command::new("kill")
            .args([&format!("-{signal}"), &child.id().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
        let rest: Vec<String> = lines.collect();
        let status = child.wait().unwrap();
        assert_eq!(status.code(), Some(130), "{signal}: {rest:?}");
        let cure = format!("--resume {signal}");
        assert!(rest.iter().any(|line| line.contains(&cure)), "{rest:?}");
        assert!(!place.path(signal).join("report.json").exists());

        let (code, _, stderr) = place.run(&["sweep", "--resume", signal]);
        assert_eq!(code, Some(0), "{stderr}");
        assert!(
            stderr.contains("reusing checkpoints/chain/50-distillation"),
            "{stderr}"
        );
        assert!(read(signal) == read("whole"), "the last checkpoints differ");
    }
}
