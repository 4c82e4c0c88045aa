//! An ablation as a table over seeds, with a line for each of the paper's findings.
use eval::report::{Cell, Table};

use super::results::{CheckResult, Comparison, RowResult, Summary, Verdict, compare};
use crate::dashboard::percent;
use crate::error::DistillError;
use crate::recipe::{Metric, Operand, Plan};
use crate::run::RunFolder;

/// What the columns mean.
pub const LEGEND: &str = "\
ppl: held-out perplexity over the teacher's after the last stage. tasks: exact match, mean over the tasks. start, end: loss of the
first step and of the last tenth of the steps of stage 1. Means and, after +-, standard deviations over seeds; `paper` is the
paper's own measure on its own models: compare orders and ratios, not numbers.";

/// Columns that are shown where any row has them: measure, title, digits.
const COLUMNS: [(Metric, &str, usize); 6] = [
    (Metric::Perplexity, "ppl", 3),
    (Metric::Tasks, "tasks", 3),
    (Metric::StartLoss, "start", 3),
    (Metric::EndLoss, "end", 3),
    (Metric::PreferenceAccuracy, "pref acc", 3),
    (Metric::PreferenceMargin, "margin", 4),
];

fn cell(summary: Option<Summary>, digits: usize) -> Cell {
    summary.map_or_else(Cell::missing, |Summary { mean, spread }| {
        let spread = spread.map(|spread| format!(" +-{spread:.digits$}"));
        Cell::text(format!("{mean:.digits$}{}", spread.unwrap_or_default()))
    })
}

fn table(comparison: &Comparison) -> Table {
    let rows = &comparison.rows;
    let has_paper = rows.iter().any(|row| row.paper.is_some());
    let columns: Vec<_> = COLUMNS
        .into_iter()
        .filter(|(metric, ..)| rows.iter().any(|row| row.summary(*metric).is_some()))
        .collect();
    let mut table = Table::new()
        .text_column("arm", "arm")
        .number_column("attention", "attention")
        .number_column("seeds", "seeds");
    if has_paper {
        table = table.text_column("paper", "paper");
    }
    for (metric, title, _) in &columns {
        table = table.number_column(metric.name(), *title);
    }
    for row in rows {
        let mut cells = vec![
            Cell::text(&row.arm),
            Cell::text(format!("{} %", percent(row.attention_ratio))),
            Cell::count(row.seeds.len()),
        ];
        if has_paper {
            cells.push(Cell::from(row.paper.as_ref().map(Cell::text)));
        }
        let measured = columns
            .iter()
            .map(|(metric, _, digits)| cell(row.summary(*metric), *digits));
        cells.extend(measured);
        table.push(cells);
    }
    table
}

/// `PASS  attention beats random: attention@50 1.234 < random-mixer@50 2.345 (perplexity)`.
pub fn check_line(result: &CheckResult) -> String {
    let side = |operand: &Operand, value: Option<f64>| {
        let value = value.map_or_else(|| "-".to_string(), |value| format!("{value:.3}"));
        match operand {
            Operand::Value(_) => value,
            Operand::Row(name) => format!("{name} {value}"),
        }
    };
    let word = match result.verdict {
        Verdict::Pass => "PASS",
        Verdict::Fail => "FAIL",
        Verdict::Open => "OPEN",
    };
    let check = &result.check;
    let factor = match check.factor {
        1.0 => String::new(),
        factor => format!("{factor} x "),
    };
    format!(
        "{word}  {}: {factor}{} < {} ({})",
        check.claim,
        side(&check.less, result.less),
        side(&check.than, result.than),
        check.metric.name()
    )
}

fn heading(comparison: &Comparison) -> String {
    let ablation = &comparison.ablation;
    let seeds: Vec<String> = ablation.seeds.iter().map(u64::to_string).collect();
    format!(
        "{}\n{}\neach student: {} sequences; seeds {}",
        ablation.question,
        ablation.paper,
        ablation.budget_sequences,
        seeds.join(", ")
    )
}

fn lines(comparison: &Comparison) -> String {
    let lines = comparison.checks.iter().map(check_line);
    lines.collect::<Vec<_>>().join("\n")
}

/// Writes `ablation.json` and `ablation.md` into the run folder; `None` for a run that is no ablation.
///
/// # Errors
/// If state or logs cannot be read, or the files not written.
pub fn write(plan: &Plan, folder: &RunFolder) -> Result<Option<Comparison>, DistillError> {
    let comparison = compare(plan, folder.path())?;
    if let Some(comparison) = &comparison {
        folder.write_json("ablation.json", &json_report(comparison))?;
        let page = markdown_report(comparison);
        model::files::write(&folder.path().join("ablation.md"), page.as_bytes())?;
    }
    Ok(comparison)
}

/// As aligned text.
pub fn text_report(comparison: &Comparison) -> String {
    format!(
        "{}\n\n{}\n{}\n\n{LEGEND}\n",
        heading(comparison),
        table(comparison).to_text(),
        lines(comparison)
    )
}

/// As a Markdown page.
pub fn markdown_report(comparison: &Comparison) -> String {
    format!(
        "# {}\n\n{}\n\n{}\n```text\n{}\n```\n\n{LEGEND}\n",
        comparison.ablation.command,
        heading(comparison),
        table(comparison).to_markdown(),
        lines(comparison)
    )
}

/// As JSON: rows with mean, spread and every seed's values, and checks with both sides.
pub fn json_report(comparison: &Comparison) -> serde_json::Value {
    let row = |row: &RowResult| {
        let summaries = COLUMNS.iter().filter_map(|(metric, ..)| {
            let Summary { mean, spread } = row.summary(*metric)?;
            let value = serde_json::json!({ "mean": mean, "spread": spread });
            Some((metric.name().to_string(), value))
        });
        let mut json = serde_json::json!(row);
        json["summary"] = serde_json::Value::Object(summaries.collect());
        json
    };
    let mut json = serde_json::json!(comparison);
    json["rows"] = comparison.rows.iter().map(row).collect();
    json
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ablation::results::tests::example;

    #[test]
    fn report_shows_every_verdict() {
        insta::assert_snapshot!("report_text", text_report(&example()));
        let page = markdown_report(&example());
        assert!(
            page.contains("| with ") && page.contains("FAIL  twice as good"),
            "{page}"
        );
    }

    #[test]
    fn json_has_means_spreads_and_values() {
        let json = json_report(&example());
        let row = &json["rows"][0];
        assert_eq!(row["summary"]["perplexity"]["mean"], 1.6);
        assert_eq!(row["seeds"][1]["perplexity"], 1.7);
        assert_eq!(json["checks"][1]["verdict"], "fail");
        assert_eq!(json["checks"][1]["check"]["less"], "with@50");
        assert!(json["rows"][2]["summary"]["perplexity"]["spread"].is_null());
    }
}
