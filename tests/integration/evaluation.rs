//! `eval zero-shot`, `eval fidelity` and `eval all` through the binary.
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::teacher::Workplace;

fn json_of(place: &Workplace, arguments: &[&str]) -> Value {
    let (code, stdout, stderr) = place.run(arguments);
    assert_eq!(code, Some(0), "{arguments:?}: {stderr}");
    serde_json::from_str(&stdout).unwrap()
}

/// Writes rows as JSON lines.
fn write_rows(path: &Path, rows: &[Value]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
    std::fs::write(path, lines).unwrap();
}

fn write_tasks(folder: &Path) {
    let animals = ["snake", "cat", "dog", "owl", "fox"];
    let hellaswag = animals.map(|animal| {
        json!({
            "activity_label": "Animals", "ctx": format!("The {animal}"),
            "endings": ["sleeps.", "eats the snake."], "expected_index": animal.len() % 2,
        })
    });
    write_rows(&folder.join("hellaswag/cases.jsonl"), &hellaswag);
    let piqa = animals.map(|animal| {
        json!({"goal": format!("Feed the {animal}"), "sol1": "a snake eats", "sol2": "the snake sleeps", "label": 0})
    });
    write_rows(&folder.join("piqa.jsonl"), &piqa);
}

#[test]
fn benchmarks_are_scored_with_errors_counts_and_hashes() {
    let place = Workplace::new();
    write_tasks(&place.path("tasks"));
    let run = |more: &[&str]| {
        let fixed = [
            "eval",
            "zero-shot",
            "--model",
            "teacher",
            "--tasks-dir",
            "tasks",
            "--json",
        ];
        json_of(&place, &[&fixed[..], more].concat())
    };
    let all = run(&["all"]);
    let tasks = all["tasks"].as_array().unwrap();
    assert_eq!(tasks.len(), 2);
    let (piqa, hellaswag) = (&tasks[0], &tasks[1]);
    assert_eq!(
        (&piqa["task"], &hellaswag["task"]),
        (&json!("piqa"), &json!("hellaswag"))
    );
    assert_eq!(
        (&piqa["count"], &piqa["n_shot"], &piqa["truncated"]),
        (&json!(5), &json!(0), &json!(0))
    );
    assert_eq!(piqa["metrics"][0]["metric"], "acc");
    assert_eq!(piqa["items"].as_array().unwrap().len(), 5);
    assert_eq!(hellaswag["metrics"][0]["metric"], "acc_norm");
    assert!(piqa["prompt_sha256"] != hellaswag["prompt_sha256"]);
    assert_eq!(run(&["hellaswag", "piqa"]), all, "order does not count");
    let short = run(&["piqa", "--max-context", "12", "--limit", "3"]);
    assert_eq!(
        (&short["tasks"][0]["count"], &short["tasks"][0]["truncated"]),
        (&json!(3), &json!(3))
    );

    let (code, table, _) = place.run(&[
        "eval",
        "zero-shot",
        "all",
        "--model",
        "teacher",
        "--tasks-dir",
        "tasks",
    ]);
    assert_eq!(code, Some(0));
    assert!(table.lines().nth(1).unwrap().starts_with("piqa"), "{table}");
    assert_eq!(table.lines().count(), 1 + 4, "{table}");
}

#[test]
fn bad_task_files_are_one_line_each() {
    let place = Workplace::new();
    write_tasks(&place.path("tasks"));
    let row = json!({"question": "Is it?", "choices": {"text": ["a", ""], "label": ["A", "B"]}, "answerKey": "A"});
    write_rows(&place.path("tasks/arc_easy.jsonl"), &[row]);
    std::fs::write(place.path("tasks/openbookqa.jsonl"), "").unwrap();
    std::fs::write(place.path("tasks/mmlu.parquet"), "not parquet").unwrap();
    std::fs::create_dir(place.path("empty")).unwrap();
    let mut errors = String::new();
    for arguments in [
        &["winogrande", "--tasks-dir", "tasks"][..],
        &["arc_easy", "--tasks-dir", "tasks"],
        &["openbookqa", "--tasks-dir", "tasks"],
        &["mmlu", "--tasks-dir", "tasks"],
        &["piqa", "--tasks-dir", "tasks", "--shots", "9"],
        &["truthfulqa_mc1", "--tasks-dir", "tasks", "--shots", "2"],
        &["piqa", "--tasks-dir", "tasks", "--bos"],
        &["piqa", "--tasks-dir", "tasks", "--max-context", "2"],
        &["all", "--tasks-dir", "empty"],
    ] {
        let all = [&["eval", "zero-shot", "--model", "teacher"], arguments].concat();
        let (code, stdout, stderr) = place.run(&all);
        assert_eq!(
            (code.unwrap_or(0) > 0, stdout.as_str()),
            (true, ""),
            "{arguments:?}: {stderr}"
        );
        errors += &stderr;
    }
    insta::assert_snapshot!("zero_shot_errors", errors);
}

#[test]
fn every_checkpoint_of_a_run_stands_beside_the_teacher() {
    let place = Workplace::new();
    write_tasks(&place.path("tasks"));
    let sweep = [
        "sweep",
        "--recipe",
        "recipe.toml",
        "--out",
        "run",
        "--no-tui",
    ];
    let (code, _, stderr) = place.run(&sweep);
    assert_eq!(code, Some(0), "{stderr}");
    let fixed = [
        "eval",
        "all",
        "run",
        "--tasks-dir",
        "tasks",
        "--prompts",
        "3",
        "--reply-tokens",
        "4",
        "--distances",
        "0,16",
        "--count",
        "3",
    ];
    let (code, table, stderr) = place.run(&fixed);
    assert_eq!(code, Some(0), "{stderr}");
    // The teacher, three stages of two ratios, one of the control.
    let first = table.lines().skip(1).take_while(|line| !line.is_empty());
    assert_eq!(first.count(), 1 + 6 + 1, "{table}");
    assert!(
        table.contains("hellaswag acc_norm") && table.contains("KL "),
        "{table}"
    );

    let report: Value =
        serde_json::from_slice(&std::fs::read(place.path("run/eval/report.json")).unwrap())
            .unwrap();
    let models = report["models"].as_array().unwrap();
    let teacher = &models[0];
    assert_eq!(teacher["held_out"]["top1"], 1.0);
    assert_eq!(teacher["held_out"]["perplexity_ratio"]["high"], 1.0);
    assert_eq!(teacher["own_text"]["matched_share"]["mean"], 1.0);
    assert_eq!(models[1]["stage"], "distillation");
    assert!(models[1]["held_out"]["kl"]["value"].as_f64().unwrap() > 1e-6);
    assert_eq!(models[3]["tasks"][1]["task"], "hellaswag");
    let page = std::fs::read_to_string(place.path("run/eval/report.md")).unwrap();
    assert!(page.starts_with("# probe\n\n| attention"), "{page}");

    // What was measured is kept: the table needs no checkpoint any more, and one that was damaged is measured again.
    std::fs::remove_dir_all(place.path("run/checkpoints/chain/0-dpo")).unwrap();
    let (code, again, stderr) = place.run(&fixed);
    assert_eq!((code, again), (Some(0), table), "{stderr}");
    let (code, _, stderr) = place.run(&[&fixed[..], &["--seed", "7"]].concat());
    assert_eq!(code, Some(1));
    assert!(
        stderr.starts_with("error: checkpoint `run/checkpoints/chain/0-dpo`"),
        "{stderr}"
    );

    // A bar that a student cannot pass fails the command after its table.
    let (code, stdout, stderr) = place.run(&[&fixed[..], &["--gate", "0.5"]].concat());
    assert_eq!(code, Some(1), "{stderr}");
    assert!(
        stdout.contains("FAIL: 50 % has at most 0.5 times"),
        "{stdout}"
    );
    assert!(
        stderr.contains("2 of the ratios may have more than 0.5 times"),
        "{stderr}"
    );
    let (code, stdout, _) = place.run(&[&fixed[..], &["--gate", "1e6"]].concat());
    assert_eq!(
        (code, stdout.matches("PASS: ").count()),
        (Some(0), 2),
        "{stdout}"
    );

    let (code, _, stderr) = place.run(&["eval", "all", "tasks"]);
    assert_eq!(code, Some(2), "{stderr}");
}

#[test]
fn a_recipe_has_a_bar_that_its_sweep_must_pass() {
    let place = Workplace::new();
    let sweep = |out: &str, more: &[&str]| {
        let fixed = ["sweep", "--recipe", "recipe.toml", "--out", out, "--no-tui"];
        let stages = ["--set", "sweep.stages=[\"distillation\"]"];
        place.run(&[&fixed[..], &stages[..], more].concat())
    };
    let (code, stdout, stderr) = sweep("low", &["--set", "eval.gate=1e6"]);
    assert_eq!(code, Some(0), "{stderr}");
    let passed = stdout.lines().filter(|line| line.starts_with("PASS: "));
    let passed: Vec<&str> = passed.collect();
    assert_eq!(passed.len(), 2, "the main arm, not its control: {stdout}");
    assert!(
        passed[0].starts_with("PASS: 50 % has at most 1000000 times the teacher's perplexity: "),
        "{stdout}"
    );

    // Processes that run a part each: the one that finishes the main arm holds it against the bar.
    let high = ["--set", "eval.gate=0.5"];
    let (code, stdout, stderr) = sweep("high", &[&high[..], &["--arm", "50"]].concat());
    assert_eq!(code, Some(0), "{stderr}");
    assert!(!stdout.contains("PASS") && stderr.contains("`eval.gate` waits for the other ratios"));
    let resume = ["sweep", "--resume", "high", "--no-tui"];
    for _ in 0..2 {
        let (code, stdout, stderr) = place.run(&resume);
        assert_eq!(code, Some(1), "{stderr}");
        assert_eq!(stdout.matches("FAIL: ").count(), 2, "{stdout}");
        assert!(
            stdout.contains("0 % random-mixer"),
            "all of it was run: {stdout}"
        );
        let error = "error: 2 of the ratios may have more than 0.5 times the teacher's perplexity";
        assert!(stderr.contains(error), "{stderr}");
    }
    let lines: Vec<String> = [place.run(&resume).1, place.run(&["report", "high"]).1]
        .iter()
        .map(|text| {
            text.lines()
                .filter(|line| line.starts_with("FAIL: "))
                .collect()
        })
        .collect();
    assert_eq!(lines[0], lines[1]);
    for file in ["report.md", "report/report.html", "report/model-card.md"] {
        let text = std::fs::read_to_string(place.path("high").join(file)).unwrap();
        assert!(
            text.contains("0 % has at most 0.5 times the teacher"),
            "{file}"
        );
    }

    // `eval all` finds what the gate has measured, and the same of it.
    let kept = || {
        let entries = std::fs::read_dir(place.path("high/eval/kept")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let held_out = names.filter(|name| name.starts_with("held-out"));
        held_out.count()
    };
    assert_eq!(kept(), 2);
    let all = [
        "eval",
        "all",
        "high",
        "--last",
        "--gate",
        "0.5",
        "--prompts",
        "2",
        "--reply-tokens",
        "2",
        "--distances",
        "0",
        "--count",
        "1",
    ];
    let (code, stdout, _) = place.run(&all);
    assert_eq!(
        (code, kept()),
        (Some(1), 2 + 2),
        "teacher and control came on top"
    );
    let of_all: String = stdout
        .lines()
        .filter(|line| line.starts_with("FAIL: "))
        .collect();
    assert_eq!(of_all, lines[0]);
}

#[test]
fn a_student_is_compared_with_its_teacher_on_a_text() {
    let place = Workplace::new();
    let convert = ["convert", "--model", "teacher", "--out", "student"];
    let (code, _, stderr) = place.run(&convert);
    assert_eq!(code, Some(0), "{stderr}");
    std::fs::write(
        place.path("text.txt"),
        "the snake sleeps and a snake eats\n".repeat(20),
    )
    .unwrap();
    let compare = |model: &str| {
        json_of(
            &place,
            &[
                "eval",
                "fidelity",
                "--teacher",
                "teacher",
                "--model",
                model,
                "--text",
                "text.txt",
                "--window",
                "40",
                "--prompts",
                "2",
                "--reply-tokens",
                "3",
                "--distances",
                "0",
                "--count",
                "2",
                "--json",
            ],
        )
    };
    let report = compare("student");
    let student = &report["models"][1];
    assert!(student["held_out"]["kl"]["value"].as_f64().unwrap() > 1e-6);
    assert_eq!(student["own_text"]["nearness"]["count"], 2);
    let same = &compare("teacher")["models"][1];
    assert_eq!(
        (
            &same["held_out"]["top1"],
            &same["own_text"]["matched_share"]["mean"]
        ),
        (&json!(1.0), &json!(1.0))
    );
}

fn fixture(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures/smollm2")
        .join(name);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The weights of SmolLM2, or `None` after saying how to fetch them.
#[expect(clippy::print_stderr, reason = "a skipped test must say so")]
fn smollm2() -> Option<PathBuf> {
    let name = "SmolLM2-135M-Instruct.Q4_1.gguf";
    let path = match std::env::var_os("SERPENTINE_SMOLLM2_GGUF") {
        Some(path) => PathBuf::from(path),
        None => Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../data")
            .join(name),
    };
    if !path.is_file() {
        eprintln!("skipped: no `data/{name}`, see tests/fixtures/smollm2/README.md");
        return None;
    }
    Some(path)
}

/// The questions of `task` as scored by the binary, beside what the fixture says of them.
fn compare_with_oracle(task: &str, tasks_dir: &Path, model: &Path, count: usize) {
    let place = Workplace::new();
    let report = json_of(
        &place,
        &[
            "eval",
            "zero-shot",
            task,
            "--model",
            model.to_str().unwrap(),
            "--tasks-dir",
            tasks_dir.to_str().unwrap(),
            "--json",
        ],
    );
    let golden = &fixture("loglikelihoods.json")["tasks"][task]["items"];
    let found = report["tasks"][0]["items"].as_array().unwrap();
    assert_eq!(found.len(), count);
    for (index, item) in found.iter().enumerate() {
        let golden = &golden[index];
        for name in ["chosen", "chosen_norm"] {
            assert_eq!(item[name], golden[name], "item {index}: {name}");
        }
        let numbers = |item: &Value| -> Vec<f64> {
            let list = item["log_likelihoods"].as_array().unwrap();
            list.iter().map(|number| number.as_f64().unwrap()).collect()
        };
        for (found, golden) in numbers(item).iter().zip(numbers(golden)) {
            assert!(
                (found - golden).abs() < 1e-3,
                "item {index}: {found}, expected {golden}"
            );
        }
    }
}

#[test]
fn likelihoods_are_those_of_an_independent_implementation() {
    let Some(model) = smollm2() else { return };
    let golden = fixture("loglikelihoods.json");
    let items = golden["tasks"]["hellaswag"]["items"].as_array().unwrap();
    let rows: Vec<Value> = items
        .iter()
        .filter_map(|item| item.get("row").cloned())
        .collect();
    let answers: usize = rows
        .iter()
        .map(|row| row["endings"].as_array().unwrap().len())
        .sum();
    assert!(answers >= 50, "{answers}");
    let dir = tempfile::tempdir().unwrap();
    write_rows(&dir.path().join("hellaswag.jsonl"), &rows);
    compare_with_oracle("hellaswag", dir.path(), &model, rows.len());
}

/// Minutes on a CPU: only where the folder of the package's tasks is named.
#[test]
fn all_choices_of_the_teacher_are_those_of_an_independent_implementation() {
    let Some(tasks_dir) = std::env::var_os("SERPENTINE_TASKS_DIR") else {
        return;
    };
    let Some(model) = smollm2() else { return };
    for task in ["hellaswag", "truthfulqa_mc1"] {
        compare_with_oracle(task, Path::new(&tasks_dir), &model, 100);
    }
}

#[test]
fn longer_contexts_and_needles_are_measured_beyond_the_context_too() {
    let place = Workplace::new();
    let text = "The snake sleeps. A snake eats! ".repeat(200);
    std::fs::write(place.path("text.txt"), text).unwrap();
    let rows = json_of(
        &place,
        &[
            "eval",
            "extrapolation",
            "--model",
            "teacher",
            "--text",
            "text.txt",
            "--lengths",
            "64,600",
            "--tail",
            "16",
            "--windows",
            "2",
            "--json",
        ],
    );
    let rows = rows.as_array().unwrap();
    assert_eq!(
        (&rows[0]["context"], &rows[1]["context"]),
        (&json!("within"), &json!("beyond"))
    );
    assert!(rows[1]["perplexity"].as_f64().unwrap() > 1.0);
    let report = json_of(
        &place,
        &[
            "eval",
            "needle",
            "--model",
            "teacher",
            "--text",
            "text.txt",
            "--lengths",
            "2",
            "--least",
            "300",
            "--most",
            "400",
            "--svg",
            "map.svg",
            "--json",
        ],
    );
    assert_eq!(report["scores"].as_array().unwrap().len(), 22);
    let map = std::fs::read_to_string(place.path("map.svg")).unwrap();
    assert_eq!(map.matches("<rect").count(), 22);
    let rows = json_of(
        &place,
        &[
            "eval",
            "speed",
            "--model",
            "teacher",
            "--batch",
            "1,3",
            "--context",
            "8,16",
            "--decode-tokens",
            "2",
            "--rounds",
            "1",
            "--json",
        ],
    );
    assert_eq!(rows.as_array().unwrap().len(), 4);
    assert_eq!(
        rows[1]["state_bytes"].as_u64(),
        rows[0]["state_bytes"].as_u64().map(|bytes| 3 * bytes)
    );
}

#[test]
fn replies_are_graded_and_written_and_no_program_is_run_unasked() {
    let place = Workplace::new();
    let rows = [json!({"id": "a", "prompt": "How many?", "expected": "7"})];
    write_rows(&place.path("tasks/gsm8k/cases.jsonl"), &rows);
    let rows = [
        json!({"task_id": "H/0", "prompt": "def f():\n", "test": "def check(f):\n    pass", "entry_point": "f"}),
    ];
    write_rows(&place.path("tasks/humaneval.jsonl"), &rows);
    let report = json_of(
        &place,
        &[
            "eval",
            "generate",
            "all",
            "--model",
            "teacher",
            "--tasks-dir",
            "tasks",
            "--reply-tokens",
            "4",
            "--replies",
            "out",
            "--json",
        ],
    );
    let tasks = report["tasks"].as_array().unwrap();
    assert_eq!(
        (&tasks[0]["task"], &tasks[0]["score"]["count"]),
        (&json!("gsm8k"), &json!(1))
    );
    assert_eq!(
        (&tasks[1]["task"], &tasks[1]["score"]["count"]),
        (&json!("humaneval"), &json!(0))
    );
    let line = std::fs::read_to_string(place.path("out/humaneval.jsonl")).unwrap();
    assert_eq!(
        serde_json::from_str::<Value>(&line).unwrap()["task_id"],
        "H/0"
    );
    let (code, _, stderr) = place.run(&["reproduce", "table-3"]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("expected `--evaluated RUN`"), "{stderr}");
}
