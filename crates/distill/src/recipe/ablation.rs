//! An ablation as a TOML file ([`Definition`], as written) and as what will be compared ([`AblationPlan`]).
//!
//! A definition is a list of arms, each some `key=value` changes of one recipe; it holds no code (method, section 8).
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// An ablation as written: `experiments/ablations/NAME.toml`, `experiments/reproductions/NAME.toml`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// What is asked.
    pub question: String,
    /// Where the paper answers it, and what is different here.
    pub paper: String,
    /// `distillation.steps` with the built-in recipe, so that the whole takes minutes.
    pub steps: usize,
    /// Changes of the recipe that all arms share.
    #[serde(default)]
    pub set: Vec<String>,
    /// What is compared.
    #[serde(rename = "arm")]
    pub arms: Vec<ArmDefinition>,
    /// What the paper found, as inequalities.
    #[serde(rename = "check")]
    pub checks: Vec<ShapeCheck>,
}

/// One arm as written.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArmDefinition {
    /// Name in tables and folders.
    pub name: String,
    /// Changes of the recipe.
    #[serde(default)]
    pub set: Vec<String>,
    /// How the budget is divided among the stages.
    #[serde(default)]
    pub parts: Parts,
    /// The paper's numbers, by attention ratio in percent.
    #[serde(default)]
    pub paper: BTreeMap<String, String>,
}

/// Parts of the budget of an arm: a stage without a part is not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parts {
    /// Of alignment.
    #[serde(default)]
    pub alignment: usize,
    /// Of stage 1.
    #[serde(default)]
    pub distillation: usize,
    /// Of stage 2.
    #[serde(default)]
    pub sft: usize,
    /// Of stage 3.
    #[serde(default)]
    pub dpo: usize,
}

/// Everything to stage 1.
impl Default for Parts {
    fn default() -> Self {
        Self {
            alignment: 0,
            distillation: 1,
            sft: 0,
            dpo: 0,
        }
    }
}

/// What is measured of an arm.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// Held-out perplexity over the teacher's, after the last stage.
    #[default]
    Perplexity,
    /// Exact match, mean over the tasks, 0 to 1, after the last stage.
    Tasks,
    /// Loss of the first step of stage 1.
    StartLoss,
    /// Loss of the last tenth of the steps of stage 1.
    EndLoss,
    /// Share of preference pairs ranked as they should be, over the last tenth of DPO.
    PreferenceAccuracy,
    /// DPO's reward margin over the same steps.
    PreferenceMargin,
}

impl Metric {
    /// Name in definitions and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Perplexity => "perplexity",
            Self::Tasks => "tasks",
            Self::StartLoss => "start-loss",
            Self::EndLoss => "end-loss",
            Self::PreferenceAccuracy => "preference-accuracy",
            Self::PreferenceMargin => "preference-margin",
        }
    }
}

/// One side of a check.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(untagged)]
pub enum Operand {
    /// A number.
    Value(f64),
    /// A row: `ARM@PERCENT`, such as `attention@50`.
    Row(String),
}

/// Something that the paper found: it holds if `factor` times `less` is below `than`, both means over the seeds.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ShapeCheck {
    /// The claim in words.
    pub claim: String,
    /// What is compared.
    #[serde(default)]
    pub metric: Metric,
    /// The smaller one.
    pub less: Operand,
    /// The larger one.
    pub than: Operand,
    /// By how much, at least (1).
    #[serde(default = "unit")]
    pub factor: f64,
}

fn unit() -> f64 {
    1.0
}

/// One row of the table: an arm at a ratio.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AblationRow {
    /// The arm.
    pub arm: String,
    /// Share of layers that keep attention, as asked for.
    pub attention_ratio: f64,
    /// The paper's numbers.
    pub paper: Option<String>,
}

/// What is compared in a run, and what is expected.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AblationPlan {
    /// `ablate NAME` or `reproduce NAME`.
    pub command: String,
    /// What is asked.
    pub question: String,
    /// Where the paper answers it.
    pub paper: String,
    /// Seeds of data order and fresh weights, one student a row and seed.
    pub seeds: Vec<u64>,
    /// Sequences that each student is trained on, over all its stages and ratios.
    pub budget_sequences: usize,
    /// What is compared.
    pub rows: Vec<AblationRow>,
    /// What the paper found.
    pub checks: Vec<ShapeCheck>,
}

impl AblationPlan {
    /// Name of an arm of the plan: the arm's, with the seed.
    pub fn arm_name(arm: &str, seed: u64) -> String {
        format!("{arm}-seed-{seed}")
    }
}

impl AblationRow {
    /// Name in checks: `attention@50`.
    pub fn name(&self) -> String {
        format!(
            "{}@{}",
            self.arm,
            crate::dashboard::percent(self.attention_ratio)
        )
    }
}
