//! Speculative decoding from outside: the same replies, and a table of what it takes.

use serde_json::Value;

use crate::cli::output;
use crate::teacher::Workplace;

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
    for drafter in ["ngram", "self", "self:1", "builtin:tiny", "ngram+self:1"] {
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
    let (code, _, stderr) = output(&[&prompt[..], &["--speculate", "ngram+ngram"]].concat());
    assert_eq!(code, Some(2));
    assert!(stderr.contains("after `ngram+`"), "{stderr}");
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
        "--rounds",
        "1",
        "--draft-tokens",
        "2,auto",
        "--prompts",
        "3",
        "--batch",
        "2",
        "--json",
    ];
    let run = |more: &[&str]| -> Value {
        let (code, stdout, _) = output(&[&args, more].concat());
        assert_eq!(code, Some(0));
        serde_json::from_str(&stdout).unwrap()
    };
    let report = run(&["--ignore-stop", "--tokens", "12"]);
    // Three replies, two drafters, two lengths.
    assert_eq!(report["agreement"]["compared"], 3 * 12 * 4);
    assert_eq!(report["agreement"]["differing"], 0);
    let rows = report["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 2 * (1 + 4));
    for row in rows {
        assert!(row["tokens_per_s"].as_f64().unwrap() > 0.0);
        assert!(row["tokens_per_round"].as_f64().unwrap() <= 9.0);
    }
    // Replies that end where the model ends them are shorter.
    let report = run(&[
        "--tokens",
        "200",
        "--temperature",
        "0",
        "--drafter",
        "ngram",
    ]);
    let compared = report["agreement"]["compared"].as_u64().unwrap();
    assert!((1..3 * 200 * 2).contains(&compared), "{compared}");
    assert_eq!(report["agreement"]["differing"], 0);
}

#[test]
fn drafters_are_trained_like_a_sweep_and_speak_for_its_hybrids() {
    let place = Workplace::new();
    let train = [
        "drafter",
        "--recipe",
        "recipe.toml",
        "--out",
        "drafters",
        "--no-tui",
        "--set",
        "drafter.layers=[1]",
        "--set",
        "drafter.steps=5",
        "--set",
        "drafter.batch_size=2",
    ];
    let (code, stdout, stderr) = place.run(&train);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains("drafter-1"), "{stdout}");
    let log = std::fs::read_to_string(place.path("drafters/events.jsonl")).unwrap();
    assert_eq!(log.matches("\"event\":\"step\"").count(), 5);
    let (code, again, stderr) = place.run(&["drafter", "--resume", "drafters", "--no-tui"]);
    assert_eq!((code, again), (Some(0), stdout), "{stderr}");

    let drafter = "drafters/checkpoints/drafter-1/100-distillation";
    let (code, stdout, _) = place.run(&["inspect", drafter]);
    assert_eq!(code, Some(0));
    assert!(stdout.contains("layers      1 (1 attention)"), "{stdout}");
    let convert = [
        "convert",
        "--model",
        "teacher",
        "--out",
        "hybrid",
        "--attention-ratio",
        "0.5",
    ];
    assert_eq!(place.run(&convert).0, Some(0));
    let prompt = [
        "generate",
        "--model",
        "hybrid",
        "--prompt",
        "one two",
        "--max-tokens",
        "20",
    ];
    let (code, plain, stderr) = place.run(&prompt);
    assert_eq!(code, Some(0), "{stderr}");
    let speculate = [
        &prompt[..],
        &["--speculate", drafter, "--draft-tokens", "3"],
    ]
    .concat();
    let (code, found, stderr) = place.run(&speculate);
    assert_eq!((code, &found), (Some(0), &plain), "{stderr}");

    // From the hybrid itself, on its own replies to prompts from templates.
    let (code, _, stderr) = place.run(&[
        "drafter",
        "--from",
        "hybrid",
        "--recipe",
        "recipe.toml",
        "--out",
        "own",
        "--no-tui",
        "--set",
        "drafter.layers=[1]",
        "--set",
        "drafter.steps=2",
        "--set",
        "data.pseudo_labels=12",
        "--set",
        "data.template_prompts=8",
        "--set",
        "data.pseudo_label_batch=5",
        "--set",
        "data.pseudo_label_temperature=0",
    ]);
    assert_eq!(code, Some(0), "{stderr}");
    let own = "own/checkpoints/drafter-1/100-distillation";
    let own = format!("ngram+{own}");
    let speculate = [&prompt[..], &["--speculate", &own]].concat();
    let (code, found, stderr) = place.run(&speculate);
    assert_eq!((code, found), (Some(0), plain), "{stderr}");

    let (code, _, stderr) = place.run(&[
        "drafter",
        "--recipe",
        "recipe.toml",
        "--out",
        "more",
        "--set",
        "drafter.layers=[99]",
    ]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("`drafter.layers` is"), "{stderr}");
    let other = [
        "generate",
        "--model",
        "hybrid",
        "--prompt",
        "x",
        "--speculate",
        "builtin:tiny",
    ];
    let (code, _, stderr) = place.run(&other);
    assert_eq!(code, Some(1));
    assert!(
        stderr.contains("tokenizer of the drafter `builtin:tiny`"),
        "{stderr}"
    );
}

#[test]
fn the_papers_speeds_stand_beside_ours() {
    let table = [
        "reproduce",
        "table-5",
        "--verifier",
        "builtin:tiny",
        "--drafter",
        "self:1",
    ];
    let (code, stdout, stderr) = output(&table);
    assert_eq!(code, Some(0), "{stderr}");
    let rows = |source| stdout.lines().filter(|line| line.contains(source)).count();
    assert_eq!((rows("| paper |"), rows("| ours |")), (6, 2), "{stdout}");
    let (code, stdout, stderr) = output(&["reproduce", "figure-3"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(stdout.matches("| F32 H9 P64 |").count(), 6, "{stdout}");
    let (code, _, stderr) = output(&["reproduce", "table-1"]);
    assert_eq!(code, Some(2));
    assert!(
        stderr.contains("`reproduce table-1` needs a model to measure"),
        "{stderr}"
    );
}
