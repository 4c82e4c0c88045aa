//! The final table: one row a ratio, the controls, the teacher.
use serde::{Deserialize, Serialize};

use crate::dashboard::app::percent;
use crate::recipe::{Plan, StageKind, init_name};
use crate::run::RunState;

/// What a row is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RowKind {
    /// The teacher: the bar to reach.
    Teacher,
    /// A ratio of the main arm.
    Chain,
    /// A control arm.
    Control,
}

/// One row of the final table. `None` where a stage was not run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SweepRow {
    /// What the row is for.
    pub kind: RowKind,
    /// Arm of the sweep, or `teacher`.
    pub arm: String,
    /// Where the new mixers' weights came from.
    pub init: Option<String>,
    /// Share of layers that keep attention, as asked for.
    pub attention_ratio: f64,
    /// Layers that keep attention.
    pub attn_layers: usize,
    /// All layers.
    pub n_layers: usize,
    /// Perplexity over the teacher's after distillation.
    pub distillation: Option<f64>,
    /// The same after SFT.
    pub sft: Option<f64>,
    /// The same after DPO.
    pub dpo: Option<f64>,
    /// Exact match of the last stage by task name, 0 to 1.
    pub tasks: Vec<(String, f64)>,
    /// Decode speed at batch 1.
    pub tokens_per_s: Option<f64>,
    /// Decode state of one sequence at 4096 tokens.
    pub state_bytes: usize,
}

/// The rows of a run: teacher, main arm, controls. Ratios that were not finished are left out.
pub(super) fn rows(plan: &Plan, state: &RunState, n_layers: usize) -> Vec<SweepRow> {
    let teacher_perplexity = state.teacher.as_ref().map(|scores| scores.perplexity);
    let teacher = state.teacher.as_ref().map(|scores| SweepRow {
        kind: RowKind::Teacher,
        arm: "teacher".into(),
        init: None,
        attention_ratio: 1.0,
        attn_layers: scores.attn_layers,
        n_layers,
        distillation: None,
        sft: None,
        dpo: None,
        tasks: scores.tasks.clone(),
        tokens_per_s: scores.tokens_per_s,
        state_bytes: scores.state_bytes,
    });
    let students = plan
        .arms
        .iter()
        .flat_map(|arm| arm.rungs.iter().map(move |rung| (arm, rung)));
    let students = students.filter_map(|(arm, rung)| {
        let find = |kind| {
            state
                .find(&arm.name, rung.attention_ratio, kind)
                .map(|done| &done.scores)
        };
        let perplexity_ratio = |kind| {
            find(kind)
                .zip(teacher_perplexity)
                .map(|(scores, teacher)| scores.perplexity / teacher)
        };
        let last = rung
            .stages
            .iter()
            .rev()
            .find_map(|stage| find(stage.kind))?;
        Some(SweepRow {
            kind: if arm.is_chained {
                RowKind::Chain
            } else {
                RowKind::Control
            },
            arm: arm.name.clone(),
            init: Some(init_name(arm.init).into()),
            attention_ratio: rung.attention_ratio,
            attn_layers: last.attn_layers,
            n_layers,
            distillation: perplexity_ratio(StageKind::Distillation),
            sft: perplexity_ratio(StageKind::Sft),
            dpo: perplexity_ratio(StageKind::Dpo),
            tasks: last.tasks.clone(),
            tokens_per_s: last.tokens_per_s,
            state_bytes: last.state_bytes,
        })
    });
    teacher.into_iter().chain(students).collect()
}

/// The final table with its legend, as a Markdown page.
pub fn markdown_report(plan: &Plan, rows: &[SweepRow]) -> String {
    format!("# {}\n\n{}\n{LEGEND}\n", plan.name, markdown_table(rows))
}

/// What the columns of the table mean.
pub const LEGEND: &str = "\
distil, sft, dpo: perplexity over the teacher's after that stage. Tasks: exact match after the last stage.
state @4k: decode state of one sequence at 4096 tokens. Rows with an initialisation are controls: distillation only,
straight from the init model, at the budget of one distillation stage of the main arm.";

impl SweepRow {
    fn cells(&self, task_names: &[String]) -> Vec<String> {
        let number =
            |value: Option<f64>| value.map_or_else(|| "-".into(), |value| format!("{value:.3}"));
        let label = match self.kind {
            RowKind::Teacher => "teacher".into(),
            RowKind::Chain => format!("{} %", percent(self.attention_ratio)),
            RowKind::Control => {
                format!(
                    "{} % {}",
                    percent(self.attention_ratio),
                    self.init.as_deref().unwrap_or(&self.arm)
                )
            }
        };
        let mut cells = vec![label, format!("{}/{}", self.attn_layers, self.n_layers)];
        cells.extend([self.distillation, self.sft, self.dpo].map(number));
        cells.extend(task_names.iter().map(|name| {
            let score = self.tasks.iter().find(|(task, _)| task == name);
            score.map_or_else(
                || "-".into(),
                |(_, score)| format!("{:.1} %", score * 100.0),
            )
        }));
        cells.push(
            self.tokens_per_s
                .map_or_else(|| "-".into(), |speed| format!("{speed:.0}")),
        );
        cells.push(bytes(self.state_bytes));
        cells
    }
}

/// Bytes with a binary unit.
pub(crate) fn bytes(count: usize) -> String {
    match count {
        0..1024 => format!("{count} B"),
        1024..1_048_576 => format!("{:.0} KiB", count as f64 / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", count as f64 / 1_048_576.0),
        _ => format!("{:.2} GiB", count as f64 / 1_073_741_824.0),
    }
}

/// Heads and cells of the table; tasks in the order in which they first appear.
fn grid(rows: &[SweepRow]) -> Vec<Vec<String>> {
    let mut task_names: Vec<String> = Vec::new();
    for (name, _) in rows.iter().flat_map(|row| &row.tasks) {
        if !task_names.contains(name) {
            task_names.push(name.clone());
        }
    }
    let mut head: Vec<String> = ["attention", "layers", "distil", "sft", "dpo"]
        .map(Into::into)
        .into();
    head.extend(task_names.iter().cloned());
    head.extend(["tokens/s", "state @4k"].map(Into::into));
    std::iter::once(head)
        .chain(rows.iter().map(|row| row.cells(&task_names)))
        .collect()
}

/// The table as aligned text. Columns `distil`, `sft` and `dpo` are perplexity over the teacher's after that stage;
/// tasks are exact match after the last stage; the state is that of one sequence at 4096 tokens.
pub fn text_table(rows: &[SweepRow]) -> String {
    let grid = grid(rows);
    let widths: Vec<usize> = (0..grid[0].len())
        .map(|column| {
            grid.iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for row in &grid {
        let cells =
            row.iter()
                .zip(&widths)
                .enumerate()
                .map(|(column, (cell, width))| match column {
                    0 => format!("{cell:<width$}"),
                    _ => format!("{cell:>width$}"),
                });
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    text
}

/// The table as Markdown.
pub fn markdown_table(rows: &[SweepRow]) -> String {
    let grid = grid(rows);
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let rule: Vec<String> = (0..grid[0].len())
        .map(|column| {
            if column == 0 {
                "---".into()
            } else {
                "---:".into()
            }
        })
        .collect();
    let mut text = line(&grid[0]) + &line(&rule);
    text.extend(grid[1..].iter().map(|row| line(row)));
    text
}
