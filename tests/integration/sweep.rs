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

/// Losses of a stage's steps.
fn losses(place: &Workplace, run: &str, stage: &str) -> Vec<f64> {
    let log = std::fs::read_to_string(place.path(run).join("events.jsonl")).unwrap();
    let mut current = String::new();
    let mut losses = Vec::new();
    for line in log.lines() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        match event["event"].as_str() {
            Some("stage-started") => current = event["stage"].as_str().unwrap().into(),
            Some("step") if current == stage => losses.push(event["loss"].as_f64().unwrap()),
            _ => {}
        }
    }
    losses
}

#[test]
fn alignment_of_the_built_in_teacher_gives_stage_1_a_better_start() {
    let place = Workplace::new();
    let sweep = |run: &str, alignment_steps: usize| {
        let alignment = format!("alignment.steps={alignment_steps}");
        let (code, stdout, stderr) = place.run(&[
            "sweep",
            "--out",
            run,
            "--no-tui",
            "--set",
            &alignment,
            "--set",
            "student.start=[]",
            "--set",
            "alignment.batch_size=4",
            "--set",
            "alignment.lr_peak=3e-3",
            "--set",
            "sweep.attention_ratios=[0.5]",
            "--set",
            "sweep.stages=[\"distillation\"]",
            "--set",
            "sweep.controls=[]",
            "--set",
            "data.pseudo_labels=48",
            "--set",
            "distillation.steps=1",
            "--set",
            "distillation.warmup_steps=0",
            "--set",
            "eval.perplexity_sequences=4",
            "--set",
            "eval.task_examples=2",
            "--set",
            "eval.speed_tokens=2",
        ]);
        assert_eq!(code, Some(0), "{stderr}");
        stdout
    };
    let table = sweep("plain", 0);
    assert!(!table.lines().next().unwrap().contains("align"), "{table}");
    let table = sweep("aligned", 30);
    assert!(table.lines().next().unwrap().contains("align"), "{table}");
    assert!(
        place
            .path("aligned/checkpoints/chain/50-alignment/model.safetensors")
            .is_file()
    );

    let errors = losses(&place, "aligned", "alignment");
    assert_eq!(errors.len(), 30);
    assert!(errors[29] < 0.2 * errors[0], "{errors:?}");
    let plain = losses(&place, "plain", "distillation")[0];
    let aligned = losses(&place, "aligned", "distillation")[0];
    assert!(aligned < 0.7 * plain, "{aligned} {plain}");
}
