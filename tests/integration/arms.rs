//! Arms of one sweep in processes of their own.
use std::process::Stdio;

use serde_json::Value;

use crate::teacher::Workplace;

/// The rows of `report --json`, without the speeds, which are measured.
fn rows(place: &Workplace, run: &str) -> Vec<Value> {
    let (code, stdout, stderr) = place.run(&["report", run, "--json"]);
    assert_eq!(code, Some(0), "{stderr}");
    let mut rows: Vec<Value> = serde_json::from_str(&stdout).unwrap();
    for row in &mut rows {
        assert!(row["tokens_per_s"].take().is_number());
    }
    rows
}

#[test]
fn arms_in_two_processes_make_the_table_of_one() {
    let place = Workplace::new();
    let new = ["sweep", "--recipe", "recipe.toml", "--no-tui", "--out"];
    let (code, _, stderr) = place.run(&[&new[..], &["whole"]].concat());
    assert_eq!(code, Some(0), "{stderr}");
    let expected = rows(&place, "whole");
    assert_eq!(expected.len(), 4);

    let (code, _, stderr) = place.run(&[&new[..], &["run", "--arm", "0"]].concat());
    assert_eq!(code, Some(2));
    assert_eq!(
        stderr,
        "error: arm `0` starts from `checkpoints/chain/50-sft`, which is not in run folder `run`\n\
         hint: run `--arm 50` in the same run folder first, or name both\n"
    );
    assert!(!place.path("run").exists());

    let start = |arguments: &[&str]| {
        let mut command = place.distill(arguments);
        command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    let mut first = start(&[&new[..], &["run", "--arm", "50"]].concat());
    while !place.path("run/manifest.json").exists() {
        assert!(
            first
                .try_wait()
                .unwrap()
                .is_none_or(|status| status.success())
        );
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let arguments = [
        "sweep",
        "--resume",
        "run",
        "--no-tui",
        "--arm",
        "control-random-mixer",
    ];
    let mut second = start(&arguments);
    assert!(first.wait().unwrap().success());
    assert!(second.wait().unwrap().success());
    assert_eq!(rows(&place, "run").len(), 3, "0 % is not there yet");

    let (code, stdout, stderr) = place.run(&["sweep", "--resume", "run", "--arm", "0"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(
        !stderr.contains("stages of the plan are finished"),
        "{stderr}"
    );
    assert_eq!(rows(&place, "run"), expected);
    assert_eq!(place.run(&["report", "run"]).1, stdout);
    let (code, again, stderr) = place.run(&["report", "run", "--svg", "curves.svg"]);
    assert_eq!((code, again), (Some(0), stdout), "{stderr}");
    let svg = std::fs::read_to_string(place.path("curves.svg")).unwrap();
    for text in [
        "distillation: loss",
        "perplexity over the teacher",
        "50 %",
        "0 % random-mixer",
    ] {
        assert!(svg.contains(text), "{text}");
    }
    for stage in [
        "chain/50-dpo",
        "chain/0-dpo",
        "control-random-mixer/0-distillation",
    ] {
        let file = format!("checkpoints/{stage}/model.safetensors");
        let read = |run: &str| std::fs::read(place.path(run).join(&file)).unwrap();
        assert!(read("run") == read("whole"), "{stage} differs");
    }
    let (code, lines, _) =
        place.run(&["watch", "run", "--no-tui", "--arm", "control-random-mixer"]);
    assert_eq!(code, Some(0));
    assert!(
        lines.contains("1 stages") && lines.ends_with("finished\n"),
        "{lines}"
    );

    let (code, _, stderr) = place.run(&["sweep", "--resume", "run", "--arm", "12.5"]);
    assert_eq!(code, Some(2));
    assert!(
        stderr.contains("expected one of `chain`, `50`, `0`, `control-random-mixer`"),
        "{stderr}"
    );
    let (code, _, stderr) = place.run(&["report", "nowhere"]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("not a run folder"), "{stderr}");
}
