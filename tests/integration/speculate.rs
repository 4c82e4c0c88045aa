//! Speculative decoding from outside: the same replies, and a table of what it takes.

use serde_json::Value;

use crate::cli::output;

fn generate(more: &[&str]) -> String {
    let prompt = "Tell me a story about a cat.";
    let args = [
        "generate",
        "--model",
        "builtin:tiny",
        "--max-tokens",
        "40",
        "--prompt",
        prompt,
    ];
    let (code, stdout, stderr) = output(&[&args, more].concat());
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    stdout
}

#[test]
fn a_reply_is_the_same_with_every_drafter() {
    let plain = generate(&[]);
    assert!(plain.len() > 10, "{plain}");
    for drafter in ["ngram", "self", "self:1", "builtin:tiny"] {
        for tokens in ["1", "5", "auto"] {
            let found = generate(&["--speculate", drafter, "--draft-tokens", tokens]);
            assert_eq!(found, plain, "{drafter}, {tokens}");
        }
    }
}

#[test]
fn a_reply_ends_before_a_stop_text_in_both_ways() {
    let plain = generate(&[]);
    let stop = &plain[plain.len() / 2..plain.len() / 2 + 4];
    let expected = format!("{}\n", &plain[..plain.find(stop).unwrap()]);
    assert_eq!(generate(&["--stop", stop]), expected);
    let found = generate(&[
        "--stop",
        stop,
        "--speculate",
        "builtin:tiny",
        "--draft-tokens",
        "8",
    ]);
    assert_eq!(found, expected);
}

#[test]
fn wrong_drafters_and_lengths_are_named() {
    let prompt = ["generate", "--model", "builtin:tiny", "--prompt", "x"];
    let (code, _, stderr) = output(&[&prompt[..], &["--speculate", "self:0"]].concat());
    assert_eq!(code, Some(2));
    assert!(
        stderr.contains("expected a whole number from 1 on"),
        "{stderr}"
    );
    let fixed = ["--speculate", "ngram", "--draft-tokens", "65"];
    let (code, _, stderr) = output(&[&prompt[..], &fixed].concat());
    assert_eq!(code, Some(2));
    assert!(
        stderr.contains("expected `auto` or a whole number from 1 to 64"),
        "{stderr}"
    );
    let (code, _, stderr) = output(&[&prompt[..], &["--draft-tokens", "3"]].concat());
    assert_eq!(code, Some(2));
    assert!(stderr.contains("--speculate"), "{stderr}");
}

#[test]
fn the_bench_compares_with_plain_decoding() {
    let args = [
        "bench",
        "speculative",
        "--model",
        "builtin:tiny",
        "--tokens",
        "12",
        "--rounds",
        "1",
        "--draft-tokens",
        "2,auto",
        "--batch",
        "2",
        "--json",
    ];
    let (code, stdout, _) = output(&args);
    assert_eq!(code, Some(0));
    let report: Value = serde_json::from_str(&stdout).unwrap();
    // Two replies, two drafters, two lengths.
    assert_eq!(report["agreement"]["compared"], 2 * 12 * 4);
    assert_eq!(report["agreement"]["differing"], 0);
    let rows = report["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 2 * (1 + 4));
    for row in rows {
        assert!(row["tokens_per_s"].as_f64().unwrap() > 0.0);
        assert!(row["tokens_per_round"].as_f64().unwrap() <= 9.0);
    }
}
