//! The final table: one row a ratio, the controls, the teacher.
use serde::{Deserialize, Serialize};

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
