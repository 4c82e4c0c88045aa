//! The final table: one row a ratio, the controls, the teacher.
use eval::report::{Cell, Table};
use serde::{Deserialize, Serialize};

use crate::dashboard::percent;
use crate::recipe::{ArmPlan, Plan, RungPlan, StageKind, init_name};
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
    /// Perplexity over the teacher's after alignment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alignment: Option<f64>,
    /// The same after distillation.
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
pub fn rows(plan: &Plan, state: &RunState) -> Vec<SweepRow> {
    // The teacher keeps attention in every layer, and is measured before anything else.
    let n_layers = state
        .teacher
        .as_ref()
        .map_or(0, |scores| scores.attn_layers);
    let teacher = state.teacher.as_ref().map(|scores| SweepRow {
        kind: RowKind::Teacher,
        arm: "teacher".into(),
        init: None,
        attention_ratio: 1.0,
        attn_layers: scores.attn_layers,
        n_layers,
        alignment: None,
        distillation: None,
        sft: None,
        dpo: None,
        tasks: scores.tasks.clone(),
        tokens_per_s: scores.tokens_per_s,
        state_bytes: scores.state_bytes,
    });
    let students = plan.arms.iter().flat_map(|arm| {
        arm.rungs
            .iter()
            .filter_map(move |rung| row(state, n_layers, arm, rung))
    });
    let mut rows: Vec<SweepRow> = teacher.into_iter().chain(students).collect();
    if let Some(row) = first_rung_as_control(plan, state, n_layers) {
        let first_control = rows.iter().position(|row| row.kind == RowKind::Control);
        rows.insert(first_control.unwrap_or(rows.len()), row);
    }
    rows
}

fn row(state: &RunState, n_layers: usize, arm: &ArmPlan, rung: &RungPlan) -> Option<SweepRow> {
    let teacher = state.teacher.as_ref().map(|scores| scores.perplexity);
    let find = |kind| {
        state
            .find(&arm.name, rung.attention_ratio, kind)
            .map(|done| &done.scores)
    };
    let perplexity_ratio = |kind| {
        find(kind)
            .zip(teacher)
            .map(|(scores, teacher)| scores.perplexity / teacher)
    };
    let last = rung
        .stages
        .iter()
        .rev()
        .find_map(|stage| find(stage.kind))?;
    Some(SweepRow {
        kind: match arm.side_name() {
            None => RowKind::Chain,
            Some(_) => RowKind::Control,
        },
        arm: arm.name.clone(),
        init: Some(init_name(arm.init).into()),
        attention_ratio: rung.attention_ratio,
        attn_layers: last.attn_layers,
        n_layers,
        alignment: perplexity_ratio(StageKind::Alignment),
        distillation: perplexity_ratio(StageKind::Distillation),
        sft: perplexity_ratio(StageKind::Sft),
        dpo: perplexity_ratio(StageKind::Dpo),
        tasks: last.tasks.clone(),
        tokens_per_s: last.tokens_per_s,
        state_bytes: last.state_bytes,
    })
}

/// The first ratio of the main arm after distillation alone, where a control has the same ratio: both started from the
/// init model and had the same budget, so they are what to compare.
fn first_rung_as_control(plan: &Plan, state: &RunState, n_layers: usize) -> Option<SweepRow> {
    let (chain, controls) = plan.arms.split_first()?;
    let first = chain
        .rungs
        .first()
        .filter(|_| chain.name == ArmPlan::CHAIN)?;
    let mut rungs = controls.iter().flat_map(|arm| &arm.rungs);
    rungs.find(|rung| rung.attention_ratio == first.attention_ratio)?;
    let distilled = state.find(&chain.name, first.attention_ratio, StageKind::Distillation)?;
    let row = row(state, n_layers, chain, first)?;
    Some(SweepRow {
        kind: RowKind::Control,
        sft: None,
        dpo: None,
        tasks: distilled.scores.tasks.clone(),
        ..row
    })
}

/// The final table with its legend, as a Markdown page.
pub fn markdown_report(plan: &Plan, rows: &[SweepRow]) -> String {
    format!("# {}\n\n{}\n{LEGEND}\n", plan.name, markdown_table(rows))
}

/// What the columns of the table mean.
pub const LEGEND: &str = "\
align (where it was run), distil, sft, dpo: perplexity over the teacher's after that stage. Tasks: exact match after the last stage.
state @4k: decode state of one sequence at 4096 tokens. Rows that name an initialisation are the comparison at equal
budget: straight from the init model to that ratio, one distillation stage, nothing more.";

/// The table; tasks in the order in which they first appear.
pub fn table(rows: &[SweepRow]) -> Table {
    let mut task_names: Vec<&str> = Vec::new();
    for (name, _) in rows.iter().flat_map(|row| &row.tasks) {
        if !task_names.contains(&name.as_str()) {
            task_names.push(name);
        }
    }
    let mut table = Table::new()
        .text_column("attention", "attention")
        .number_column("layers", "layers");
    let has_alignment = rows.iter().any(|row| row.alignment.is_some());
    if has_alignment {
        table = table.number_column("alignment", "align");
    }
    table = table
        .number_column("distillation", "distil")
        .number_column("sft", "sft")
        .number_column("dpo", "dpo");
    for name in &task_names {
        table = table.number_column("task", *name);
    }
    table = table
        .number_column("tokens_per_s", "tokens/s")
        .number_column("state_bytes", "state @4k");
    for row in rows {
        let number =
            |value: Option<f64>| value.map_or_else(Cell::missing, |value| Cell::number(value, 3));
        let mut cells = vec![
            Cell::text(row.label()),
            Cell::text(format!("{}/{}", row.attn_layers, row.n_layers)),
        ];
        cells.extend(has_alignment.then(|| number(row.alignment)));
        cells.extend([row.distillation, row.sft, row.dpo].map(number));
        cells.extend(task_names.iter().map(|name| {
            let score = row.tasks.iter().find(|(task, _)| task == name);
            score.map_or_else(Cell::missing, |(_, score)| Cell::percent(*score))
        }));
        cells.push(
            row.tokens_per_s
                .map_or_else(Cell::missing, |speed| Cell::number(speed, 0)),
        );
        cells.push(Cell::bytes(row.state_bytes));
        table.push(cells);
    }
    table
}

impl SweepRow {
    /// What the row is called.
    pub fn label(&self) -> String {
        let attention = format!("{} %", percent(self.attention_ratio));
        match self.kind {
            RowKind::Teacher => "teacher".into(),
            RowKind::Chain => attention,
            RowKind::Control => {
                let init = self.init.as_deref().unwrap_or_default();
                let name = match self.arm.strip_prefix("control-") {
                    None if self.arm != ArmPlan::CHAIN => &self.arm,
                    _ => init,
                };
                format!("{attention} {name}")
            }
        }
    }
}

/// The table as aligned text; [`LEGEND`] says what the columns are.
pub fn text_table(rows: &[SweepRow]) -> String {
    table(rows).to_text()
}

/// The table as Markdown; [`LEGEND`] says what the columns are.
pub fn markdown_table(rows: &[SweepRow]) -> String {
    table(rows).to_markdown()
}
