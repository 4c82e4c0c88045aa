//! `reproduce table-3|table-4`: the paper's benchmark scores and those of an evaluated run, side by side (method 7).

use std::io::{self, Write};
use std::path::Path;

use anyhow::Context;
use eval::report::{Cell, Table};
use serde_json::Value;

use crate::cli::ReproduceArgs;
use crate::commands::Outcome;
use crate::error::DistillError;

/// Tables that are read off `RUN/eval/report.json`.
pub(crate) const QUALITY_TABLES: [&str; 2] = ["table-3", "table-4"];

/// Title, task and metric of a column; no metric for a task of replies.
type Column = (&'static str, &'static str, Option<&'static str>);
/// A model of the paper with its scores in percent, in the order of the columns.
type PaperRow = (&'static str, &'static [f64]);

struct Reproduction {
    columns: &'static [Column],
    paper: &'static [PaperRow],
    note: &'static str,
}

const TABLE_3: Reproduction = Reproduction {
    columns: &[
        ("WG", "winogrande", Some("acc")),
        ("PI", "piqa", Some("acc")),
        ("HS", "hellaswag", Some("acc_norm")),
        ("AE", "arc_easy", Some("acc")),
        ("AC", "arc_challenge", Some("acc_norm")),
        ("MM", "mmlu", Some("acc_groups")),
        ("OB", "openbookqa", Some("acc_norm")),
        ("TQ", "truthfulqa_mc2", Some("mc2")),
        ("PM", "pubmedqa", Some("acc")),
        ("RA", "race", Some("acc")),
    ],
    paper: &[
        (
            "Llama-3.1-8B-Instruct",
            &[
                73.88, 80.79, 79.21, 81.78, 55.20, 68.12, 43.20, 42.67, 75.20, 44.78,
            ],
        ),
        (
            "Llama3.1-Mamba 50 % + DPO",
            &[
                73.80, 80.41, 77.36, 84.01, 56.57, 63.50, 44.20, 46.07, 74.40, 43.44,
            ],
        ),
        (
            "Llama3.1-Mamba2 50 % + DPO",
            &[
                74.11, 80.03, 79.69, 84.81, 59.73, 59.74, 44.00, 50.22, 74.60, 46.12,
            ],
        ),
        (
            "Mamba-Llama3 50 %",
            &[
                68.98, 78.02, 78.43, 74.45, 51.96, 57.81, 44.00, 47.69, 73.00, 38.56,
            ],
        ),
        (
            "Mamba-Llama3 25 %",
            &[
                62.83, 78.07, 75.00, 74.28, 47.35, 53.50, 40.00, 43.64, 65.40, 36.94,
            ],
        ),
        (
            "Mamba-Llama3 12.5 %",
            &[
                59.75, 75.08, 71.71, 70.58, 43.60, 49.81, 41.40, 41.41, 62.40, 34.45,
            ],
        ),
        (
            "Mamba2-Llama3 50 %",
            &[
                71.51, 81.45, 79.47, 78.83, 58.19, 55.70, 44.20, 57.74, 72.40, 38.85,
            ],
        ),
        (
            "Mamba2-Llama3 25 %",
            &[
                64.80, 78.73, 77.70, 76.35, 52.47, 53.71, 42.40, 55.33, 64.80, 39.23,
            ],
        ),
        (
            "Mamba2-Llama3 12.5 %",
            &[
                63.38, 76.82, 73.14, 75.84, 50.26, 50.78, 39.60, 50.00, 65.80, 36.46,
            ],
        ),
        (
            "Mamba2-Llama3 0 %",
            &[
                58.56, 76.82, 70.75, 74.12, 47.95, 45.19, 39.00, 40.20, 62.20, 32.63,
            ],
        ),
    ],
    note: "Percent, zero-shot. AVG: over the columns that were measured.",
};

const TABLE_4: Reproduction = Reproduction {
    columns: &[
        ("ARC", "arc_challenge", Some("acc_norm")),
        ("HS", "hellaswag", Some("acc_norm")),
        ("MMLU", "mmlu", Some("acc_groups")),
        ("WG", "winogrande", Some("acc")),
        ("TQ", "truthfulqa_mc2", Some("mc2")),
        ("GSM8K", "gsm8k", None),
        ("CRUX", "crux", None),
    ],
    paper: &[
        (
            "Falcon-Mamba-7B",
            &[62.03, 80.82, 62.11, 73.64, 53.42, 41.32, 8.88],
        ),
        (
            "RecurrentGemma-9B",
            &[52.00, 80.40, 60.50, 73.60, 38.60, 38.51, 26.25],
        ),
        (
            "Mamba-Llama3 50 %",
            &[56.57, 78.99, 59.26, 69.06, 58.85, 67.85, 27.88],
        ),
        (
            "Mamba-Llama3 25 %",
            &[55.03, 75.66, 52.68, 62.83, 55.03, 40.64, 15.62],
        ),
        (
            "Mamba-Llama3 12.5 %",
            &[52.90, 72.46, 49.20, 59.19, 53.00, 26.91, 11.25],
        ),
        (
            "Mamba2-Llama3 50 %",
            &[60.41, 77.97, 56.67, 71.35, 66.60, 59.36, 24.88],
        ),
        (
            "Mamba2-Llama3 25 %",
            &[59.22, 76.88, 53.94, 64.88, 64.64, 38.13, 13.25],
        ),
        (
            "Mamba2-Llama3 12.5 %",
            &[53.33, 72.16, 50.85, 63.61, 61.12, 35.03, 10.25],
        ),
    ],
    note: "Percent. The paper's first four columns are 25-, 10-, 5- and 5-shot; ours are zero-shot, as `eval all` asks them.",
};

/// Prints the paper's rows and those of an evaluated run as Markdown on stdout.
///
/// # Errors
/// No `--evaluated`, a run that `eval all` has not seen, a closed stdout.
pub(super) fn run(args: &ReproduceArgs) -> anyhow::Result<Outcome> {
    let table = match args.name.as_str() {
        "table-3" => &TABLE_3,
        _ => &TABLE_4,
    };
    let run = args
        .evaluated
        .as_deref()
        .ok_or_else(|| DistillError::NotEvaluated {
            table: args.name.clone(),
            after: "distill eval all RUN",
        })?;
    let report = read(run)?;
    let mut out = io::stdout().lock();
    writeln!(out, "{}", render(table, &report))?;
    Ok(Outcome::Done)
}

fn read(run: &Path) -> anyhow::Result<Value> {
    let path = run.join("eval/report.json");
    let text = std::fs::read_to_string(&path).with_context(|| {
        let shown = path.display();
        format!("could not read `{shown}`, which `distill eval all` writes")
    })?;
    serde_json::from_str(&text).with_context(|| format!("`{}`", path.display()))
}

fn render(reproduction: &Reproduction, report: &Value) -> String {
    let mut table = Table::new()
        .text_column("source", "source")
        .text_column("model", "model");
    for (title, ..) in reproduction.columns {
        table = table.number_column("score", *title);
    }
    table = table.number_column("average", "AVG");
    let none = Vec::new();
    let models = report["models"].as_array().unwrap_or(&none);
    let ours: Vec<(String, Vec<Option<f64>>)> = models
        .iter()
        .filter(|model| model["is_last"].as_bool().unwrap_or(false))
        .map(|model| (label(model), scores(reproduction, model)))
        .collect();
    // The average of the paper is over the same columns, so that it can be compared.
    let is_measured = |at: usize| ours.iter().any(|(_, scores)| scores[at].is_some());
    let mut push = |source: &str, name: &str, scores: &[Option<f64>]| {
        let counted: Vec<f64> = scores
            .iter()
            .enumerate()
            .filter(|(at, _)| is_measured(*at))
            .filter_map(|(_, score)| *score)
            .collect();
        let cell =
            |score: Option<f64>| score.map_or_else(Cell::missing, |score| Cell::number(score, 2));
        let average = counted.iter().sum::<f64>() / counted.len().max(1) as f64;
        let mut cells = vec![Cell::text(source), Cell::text(name)];
        cells.extend(scores.iter().map(|score| cell(*score)));
        cells.push(cell((!counted.is_empty()).then_some(average)));
        table.push(cells);
    };
    for (name, scores) in reproduction.paper {
        let scores: Vec<Option<f64>> = scores.iter().copied().map(Some).collect();
        push("paper", name, &scores);
    }
    for (name, scores) in &ours {
        push("ours", name, scores);
    }
    format!("{}\n{}", table.to_markdown(), reproduction.note)
}

/// `teacher`, or arm, share of attention and stage.
fn label(model: &Value) -> String {
    let arm = model["arm"].as_str().unwrap_or_default();
    match (model["stage"].as_str(), model["attention_ratio"].as_f64()) {
        (Some(stage), Some(ratio)) => format!("{arm} {} % {stage}", 100.0 * ratio),
        _ => arm.to_string(),
    }
}

/// One score a column, in percent, of those that were measured.
fn scores(reproduction: &Reproduction, model: &Value) -> Vec<Option<f64>> {
    let find = |list: &str, task: &str| {
        let tasks = model[list].as_array()?;
        tasks.iter().find(|found| found["task"] == task).cloned()
    };
    let score = |(_, task, metric): &Column| match metric {
        None => find("generative", task)?["score"]["mean"].as_f64(),
        Some(metric) => {
            let task = find("tasks", task)?;
            let values = task["metrics"].as_array()?;
            let value = values.iter().find(|value| value["metric"] == *metric)?;
            value["value"].as_f64()
        }
    };
    let columns = reproduction.columns.iter();
    columns
        .map(|column| score(column).map(|share| 100.0 * share))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paper_averages_are_those_of_the_paper_where_everything_is_measured() {
        for (name, average) in [
            ("Mamba2-Llama3 50 %", 63.84),
            ("Llama-3.1-8B-Instruct", 64.48),
            ("Mamba2-Llama3 0 %", 54.74),
        ] {
            let (_, scores) = TABLE_3
                .paper
                .iter()
                .find(|(other, _)| *other == name)
                .unwrap();
            let mean = scores.iter().sum::<f64>() / scores.len() as f64;
            assert!((mean - average).abs() < 0.011, "{name}: {mean}");
        }
        for table in [TABLE_3, TABLE_4] {
            assert!(
                table
                    .paper
                    .iter()
                    .all(|(_, scores)| scores.len() == table.columns.len())
            );
        }
    }

    #[test]
    fn ours_stand_below_the_paper_and_averages_have_the_same_columns() {
        let report = json!({"models": [
            {"arm": "teacher", "stage": null, "attention_ratio": 1.0, "is_last": true,
             "tasks": [{"task": "hellaswag", "metrics": [{"metric": "acc", "value": 0.1}, {"metric": "acc_norm", "value": 0.4}]}],
             "generative": [{"task": "gsm8k", "score": {"mean": 0.02}}]},
            {"arm": "chain", "stage": "sft", "attention_ratio": 0.5, "is_last": false, "tasks": [], "generative": []},
            {"arm": "chain", "stage": "dpo", "attention_ratio": 0.125, "is_last": true, "tasks": [], "generative": []},
        ]});
        let text = render(&TABLE_4, &report);
        let row = |name: &str| {
            text.lines()
                .find(|line| line.contains(name))
                .unwrap()
                .to_string()
        };
        assert_eq!(
            row("teacher"),
            "| ours | teacher | - | 40.00 | - | - | - | 2.00 | - | 21.00 |"
        );
        assert_eq!(
            row("chain"),
            "| ours | chain 12.5 % dpo | - | - | - | - | - | - | - | - |"
        );
        // HellaSwag and GSM8K alone.
        assert!(row("Mamba-Llama3 50 %").ends_with("| 73.42 |"), "{text}");
        assert!(!text.contains("sft"), "{text}");
    }
}
