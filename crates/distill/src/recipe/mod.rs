//! An experiment as a TOML file ([`Recipe`], as written) and as what will run ([`Plan`], resolved and checked).
//!
//! Paths are relative to the working directory. Unknown keys are errors. Nothing past this module looks for defaults.
mod ablation;
mod alignment;
mod checkpoint;
mod data;
mod difference;
mod dpo;
mod guard;
mod layer_choice;
mod loss;
mod overrides;
mod plan;
mod precision;
mod resolve;
mod stage;
mod sweep;
mod teacher_cache;

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::DistillError;

pub use ablation::{
    AblationPlan, AblationRow, ArmDefinition, Definition, Metric, Operand, Parts, ShapeCheck,
};
pub use alignment::AlignmentTarget;
pub use checkpoint::{CheckpointPlan, CheckpointTable};
pub use data::{DataTable, EvalTable, Packing, PadTo};
pub use difference::PlanDifference;
pub use dpo::{DpoLossKind, DpoPlan, DpoReference, PreferenceLoss};
pub use guard::{GuardPlan, GuardTable};
pub use layer_choice::{LayerChoicePlan, LayerChoiceTable, LayoutKey};
pub use loss::{Divergence, DivergenceKind, KlMask, KlReduction, LossPlan};
pub use model::{GqaRepeat, InitFrom, Layout, MixerKind, StartOption};
pub use overrides::apply_overrides;
pub use plan::{
    ArmPlan, DataPlan, DataSource, EvalPlan, Plan, RungPlan, StudentPlan, TeacherSource,
};
pub use precision::Precision;
pub use resolve::AblationBase;
pub(crate) use resolve::{init_name, mixer_name};
pub use stage::{
    AlignmentTable, DistillationTable, DpoTable, DrafterTable, SftTable, StageKind, StagePlan,
    Trainable,
};
pub use sweep::{ControlTable, StudentTable, SweepTable, TeacherTable};
pub use teacher_cache::{TeacherCachePlan, TeacherCacheTable};

/// A sweep recipe as written.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Name of the experiment; the run folder is called after it.
    pub name: String,
    /// Seed of everything random (42).
    #[serde(default = "default_seed")]
    pub seed: u64,
    /// What teacher and students compute in: `f32` (default), or `bf16` over weights, gradients and optimiser state in f32.
    #[serde(default)]
    pub precision: Precision,
    /// Whether a student in training keeps the inputs of its blocks alone, and runs each block once more on the way back
    /// (false): less memory, more time, the same gradients.
    #[serde(default)]
    pub activation_checkpointing: bool,
    /// Where the logits and the first weights come from.
    pub teacher: TeacherTable,
    /// What the attention layers become.
    pub student: StudentTable,
    /// Ratios, stages and control arms.
    pub sweep: SweepTable,
    /// What is trained on.
    pub data: DataTable,
    /// Keeps what the teacher says of the training data, for every arm; left out, each step asks it again.
    pub teacher_cache: Option<TeacherCacheTable>,
    /// How `student.layout = "kl-guided"` measures.
    #[serde(default)]
    pub layer_choice: LayerChoiceTable,
    /// Before stage 1: each new mixer by itself.
    #[serde(default)]
    pub alignment: AlignmentTable,
    /// Stage 1.
    #[serde(default)]
    pub distillation: DistillationTable,
    /// Stage 2.
    #[serde(default)]
    pub sft: SftTable,
    /// Stage 3.
    #[serde(default)]
    pub dpo: DpoTable,
    /// The stage of `distill drafter`.
    #[serde(default)]
    pub drafter: DrafterTable,
    /// What is measured after each stage.
    #[serde(default)]
    pub eval: EvalTable,
    /// What is kept of a stage while it runs.
    #[serde(default)]
    pub checkpoint: CheckpointTable,
    /// What is done when a stage stops learning.
    #[serde(default)]
    pub guard: GuardTable,
}

fn default_seed() -> u64 {
    42
}

/// The recipe that `sweep` runs when none is given, by the mixer asked for (Mamba2 when none is).
pub fn default_recipe(mixer: Option<MixerKind>) -> &'static str {
    match mixer {
        Some(MixerKind::Mamba1) => include_str!("../../../../experiments/tiny-mamba1-sweep.toml"),
        _ => include_str!("../../../../experiments/tiny-mamba2-sweep.toml"),
    }
}
/// The recipe that `ablate` and `reproduce` change when none is given.
pub fn default_ablation_recipe() -> &'static str {
    include_str!("../../../../experiments/tiny-ablation.toml")
}
/// What errors call the [`default_recipe`].
pub const DEFAULT_RECIPE_NAME: &str = "(built in)";

impl Recipe {
    /// Reads a recipe file and applies `--set` arguments.
    ///
    /// # Errors
    /// [`DistillError::Io`] if the file cannot be read, else as [`Recipe::parse`].
    pub fn load(path: &Path, overrides: &[String]) -> Result<Self, DistillError> {
        Self::parse(&read(path)?, &path.display().to_string(), overrides)
    }

    /// Parses a recipe and applies `--set` arguments; `name` is what errors call the file.
    ///
    /// # Errors
    /// [`DistillError::RecipeSyntax`] for what is not TOML, an unknown key or a wrong type; [`DistillError::Override`]
    /// for an argument that cannot be applied.
    pub fn parse(text: &str, name: &str, overrides: &[String]) -> Result<Self, DistillError> {
        parse_table(text, name, overrides)
    }
}

/// The text of a recipe file.
///
/// # Errors
/// [`DistillError::Io`] if the file cannot be read.
pub fn read(path: &Path) -> Result<String, DistillError> {
    std::fs::read_to_string(path).map_err(|source| DistillError::Io {
        action: "read",
        path: path.into(),
        source,
    })
}

/// Parses any strict recipe type; shared by sweep and pretraining recipes.
///
/// # Errors
/// As [`Recipe::parse`].
pub fn parse_table<T: serde::de::DeserializeOwned>(
    text: &str,
    name: &str,
    overrides: &[String],
) -> Result<T, DistillError> {
    let syntax = |error: toml::de::Error| syntax_error(text, name, &error);
    // First as it stands: only then do errors carry line and column.
    let parsed: T = toml::from_str(text).map_err(syntax)?;
    if overrides.is_empty() {
        return Ok(parsed);
    }
    let mut table: toml::Table = toml::from_str(text).map_err(syntax)?;
    apply_overrides(&mut table, overrides)?;
    table
        .try_into()
        .map_err(|error: toml::de::Error| DistillError::Override {
            argument: overrides.join("` `--set "),
            reason: error.message().into(),
        })
}

/// One line: the parser's message, with the line and what stands there.
fn syntax_error(text: &str, name: &str, error: &toml::de::Error) -> DistillError {
    let message = error.message().trim_end().replace('\n', ", ");
    let place = error.span().filter(|span| span.start > 0).map(|span| {
        let before = text.get(..span.start).unwrap_or(text);
        let number = before.matches('\n').count() + 1;
        let line = text.lines().nth(number - 1).unwrap_or("").trim();
        format!("line {number} (`{line}`): ")
    });
    DistillError::RecipeSyntax {
        recipe: name.into(),
        message: place.unwrap_or_default() + &message,
    }
}
