//! An ablation through the binary, in seconds.
use serde_json::Value;

use crate::teacher::Workplace;

fn comparison(place: &Workplace, run: &str) -> Value {
    let path = place.path(run).join("ablation.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Verdicts as printed.
fn verdicts(stdout: &str) -> Vec<&str> {
    let words = stdout.lines().filter_map(|line| line.split_once("  "));
    words
        .map(|(word, _)| word)
        .filter(|word| ["PASS", "FAIL", "OPEN"].contains(word))
        .collect()
}

#[test]
fn an_ablation_is_run_in_parts_and_reported_whole() {
    let place = Workplace::new();
    let (code, stdout, stderr) = place.run(&[
        "ablate",
        "init",
        "--recipe",
        "recipe.toml",
        "--seeds",
        "2",
        "--out",
        "run",
        "--no-tui",
        "--arm",
        "attention-seed-42",
    ]);
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(verdicts(&stdout), ["OPEN"; 4], "{stdout}");

    // The rest, as `sweep` would do it too.
    let (code, stdout, stderr) = place.run(&["ablate", "init", "--resume", "run", "--no-tui"]);
    assert_eq!(code, Some(0), "{stderr}");
    let words = verdicts(&stdout);
    assert!(words.len() == 4 && !words.contains(&"OPEN"), "{stdout}");
    let json = comparison(&place, "run");
    let rows = json["rows"].as_array().unwrap();
    let names: Vec<_> = rows
        .iter()
        .map(|row| {
            (
                row["arm"].as_str().unwrap(),
                row["attention_ratio"].as_f64().unwrap(),
            )
        })
        .collect();
    assert_eq!(names[..2], [("attention", 0.5), ("attention", 0.0)]);
    assert_eq!(names.len(), 6);
    for row in rows {
        let seeds = row["seeds"].as_array().unwrap();
        assert_eq!(seeds.len(), 2, "{row}");
        // Another seed, another student.
        assert_ne!(seeds[0]["perplexity"], seeds[1]["perplexity"], "{row}");
        let spread = &row["summary"]["perplexity"]["spread"];
        assert!(spread.as_f64().unwrap() > 0.0, "{row}");
        assert!(
            row["summary"]["start-loss"]["mean"].as_f64().unwrap() > 0.0,
            "{row}"
        );
    }
    for (check, word) in json["checks"].as_array().unwrap().iter().zip(words) {
        assert_eq!(check["verdict"].as_str().unwrap(), word.to_lowercase());
        let side = |name: &str| check[name].as_f64().unwrap();
        let factor = check["check"]["factor"].as_f64().unwrap();
        assert_eq!(
            factor * side("less") < side("than"),
            word == "PASS",
            "{check}"
        );
    }

    let (code, again, _) = place.run(&["report", "run"]);
    assert_eq!(code, Some(0));
    assert_eq!(again, stdout);
    let (code, again, stderr) = place.run(&["sweep", "--resume", "run", "--no-tui"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(again, stdout);

    let (code, _, stderr) = place.run(&["ablate", "layout", "--resume", "run"]);
    assert_eq!(code, Some(2));
    assert!(
        stderr.contains("a run of `ablate init`, not of `ablate layout`"),
        "{stderr}"
    );
    let (code, _, stderr) = place.run(&["ablate", "init", "--resume", "run", "--seeds", "3"]);
    assert_eq!(code, Some(2), "{stderr}");
}

#[test]
fn removed_mixers_stay_removed_and_a_budget_that_cannot_be_divided_is_refused() {
    let place = Workplace::new();
    let table_9 = [
        "reproduce",
        "table-9",
        "--recipe",
        "recipe.toml",
        "--seeds",
        "1",
        "--out",
        "run",
        "--no-tui",
        "--set",
        "dpo.batch_size=1",
    ];
    let (code, stdout, stderr) = place.run(&table_9);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains("LAMBADA ppl 151.98"), "{stdout}");
    let folder = place.path("run/checkpoints/removed-seed-42/50-dpo/model.safetensors");
    let bytes = std::fs::read(folder).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut outputs = 0;
    for (name, tensor) in tensors.tensors() {
        if name.ends_with("mamba.out_proj.weight") {
            assert!(tensor.data().iter().all(|byte| *byte == 0), "{name}");
            outputs += 1;
        }
    }
    assert_eq!(outputs, 2);

    let (code, _, stderr) = place.run(&[
        "ablate",
        "progressive",
        "--recipe",
        "recipe.toml",
        "--set",
        "distillation.steps=4",
        "--out",
        "other",
    ]);
    assert_eq!(code, Some(2));
    assert!(
        stderr.contains("`distillation.steps` is 4, must be a multiple of 3"),
        "{stderr}"
    );
    assert!(!place.path("other").exists());
}
