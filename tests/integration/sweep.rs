//! A whole sweep through the binary, in seconds.
use crate::teacher::Workplace;

#[test]
fn sweep_leaves_checkpoints_log_and_report() {
    let place = Workplace::new();
    let (code, stdout, stderr) = place.run(&["sweep", "--recipe", "recipe.toml", "--out", "run"]);
    assert_eq!(code, Some(0), "{stderr}");
    for row in ["teacher", "50 %", "0 %", "0 % random-mixer"] {
        assert!(
            stdout.lines().any(|line| line.starts_with(row)),
            "{row} is not in\n{stdout}"
        );
    }
    for stage in [
        "chain/50-distillation",
        "chain/50-sft",
        "chain/50-dpo",
        "chain/0-sft",
        "control-random-mixer/0-distillation",
    ] {
        assert!(
            place
                .path("run/checkpoints")
                .join(stage)
                .join("model.safetensors")
                .is_file(),
            "{stage}"
        );
    }
    let rows: serde_json::Value =
        serde_json::from_slice(&std::fs::read(place.path("run/report.json")).unwrap()).unwrap();
    assert_eq!(rows.as_array().unwrap().len(), 4);
    let log = std::fs::read_to_string(place.path("run/events.jsonl")).unwrap();
    // 4 + 4 + 3 steps at two ratios, 4 of the control.
    assert_eq!(log.matches("\"event\":\"step\"").count(), 26);

    let (code, lines, _) = place.run(&["watch", "run", "--no-tui"]);
    assert_eq!(code, Some(0));
    assert!(lines.ends_with("finished\n"), "{lines}");

    // Nothing is left to do, and the table is the same.
    let (code, again, stderr) = place.run(&["sweep", "--resume", "run", "--no-tui"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(again, stdout);

    let (code, _, stderr) = place.run(&["sweep", "--recipe", "recipe.toml", "--out", "run"]);
    assert_eq!(code, Some(2));
    assert!(
        stderr.contains("already holds a run") && stderr.contains("hint: "),
        "{stderr}"
    );
    let (code, _, stderr) = place.run(&[
        "sweep",
        "--resume",
        "run",
        "--recipe",
        "recipe.toml",
        "--set",
        "sft.steps=9",
    ]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("steps` is 4 in the run, 9 now"), "{stderr}");
}

#[test]
fn dry_run_prints_sizes_and_makes_nothing() {
    let place = Workplace::new();
    let (code, stdout, stderr) = place.run(&["sweep", "--recipe", "recipe.toml", "--dry-run"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(!place.path("runs").exists());
    let filters = vec![
        (r"\d+ (B|KiB)\b|\d+\.\d+ (MiB|GiB)", "[bytes]"),
        (r"[\d.]+ GFLOP/s", "[rate]"),
        (r" +\d+m \d\ds| +\d+s", " [time]"),
        (r"\[bytes\] +", "[bytes] "),
        (r" +\[bytes\]", " [bytes]"),
    ];
    insta::with_settings!({filters => filters}, { insta::assert_snapshot!("dry_run", stdout) });
}

#[test]
fn unusable_places_are_one_line_and_leave_nothing() {
    let place = Workplace::new();
    std::fs::write(place.path("file"), "").unwrap();
    let (code, _, stderr) = place.run(&[
        "sweep",
        "--recipe",
        "recipe.toml",
        "--out",
        "file/run",
        "--no-tui",
    ]);
    assert_eq!(code, Some(1));
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(
        stderr.starts_with("error: could not create `file/run`"),
        "{stderr}"
    );

    let (code, _, stderr) = place.run(&[
        "sweep",
        "--recipe",
        "recipe.toml",
        "--set",
        "teacher.path=absent",
        "--out",
        "run",
    ]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("absent"), "{stderr}");
    assert!(!place.path("run").exists());
}
