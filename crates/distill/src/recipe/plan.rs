//! What will run: a recipe with every default filled in and every value checked.
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{
    AblationPlan, CheckpointPlan, GqaRepeat, GuardPlan, InitFrom, LayerChoicePlan, Layout,
    MixerKind, Packing, PadTo, Precision, StagePlan, StartOption,
};
use crate::data::RowLength;

/// Where the teacher comes from.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TeacherSource {
    /// A model embedded in the binary: `tiny`.
    Builtin(String),
    /// A GGUF file, Hugging Face directory or checkpoint directory.
    Path(PathBuf),
}

/// Where the examples come from.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DataSource {
    /// Data embedded in the binary: `tiny`.
    Builtin(String),
    /// A folder of `distill data prepare`.
    Prepared(PathBuf),
    /// Files.
    Files {
        /// Conversations.
        chat: Vec<PathBuf>,
        /// Plain text.
        text: Vec<PathBuf>,
        /// Preference pairs.
        preferences: Vec<PathBuf>,
    },
}

/// What is trained on.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DataPlan {
    /// Where the examples come from.
    pub source: DataSource,
    /// Longest sequence, tokens.
    pub seq_len: usize,
    /// What batches are padded to.
    #[serde(default)]
    pub pad_to: PadTo,
    /// How sequences share the rows of distillation and SFT.
    #[serde(default)]
    pub packing: Packing,
    /// Prompts that the teacher answers before stage 1.
    pub pseudo_labels: usize,
    /// Most tokens of such an answer.
    pub pseudo_label_tokens: usize,
    /// Sampling temperature of such an answer; 0 is greedy.
    pub pseudo_label_temperature: f64,
    /// Prompts that are answered together.
    #[serde(
        default = "DataPlan::default_batch",
        skip_serializing_if = "DataPlan::is_default_batch"
    )]
    pub pseudo_label_batch: usize,
    /// Prompts to answer beside those of the data, from templates.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub template_prompts: usize,
    /// Share of the examples kept for evaluation.
    pub eval_share: f64,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl DataPlan {
    /// As many as before plans could choose: the plan of such a run keeps its hash.
    pub(super) fn default_batch() -> usize {
        64
    }

    fn is_default_batch(batch: &usize) -> bool {
        *batch == Self::default_batch()
    }

    /// Padded length of batches that are not packed.
    pub fn row_length(&self) -> RowLength {
        match self.pad_to {
            PadTo::Longest => RowLength::UpTo(self.seq_len),
            PadTo::SeqLen => RowLength::Exactly(self.seq_len),
        }
    }
}

/// What is measured after each stage.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct EvalPlan {
    /// Held-out sequences for perplexity.
    pub perplexity_sequences: usize,
    /// Synthetic tasks of each kind.
    pub task_examples: usize,
    /// Tokens of the decode speed measurement.
    pub speed_tokens: usize,
    /// Held-out prompts that teacher and student answer after each stage, to be read.
    #[serde(
        default = "EvalPlan::default_samples",
        skip_serializing_if = "EvalPlan::is_default_samples"
    )]
    pub samples: usize,
    /// Most times the teacher's perplexity that the last checkpoint of every ratio may have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<f64>,
}

impl EvalPlan {
    /// As many as runs had before they could choose: the plan of one keeps its hash.
    pub(super) fn default_samples() -> usize {
        2
    }

    fn is_default_samples(samples: &usize) -> bool {
        *samples == Self::default_samples()
    }
}

/// What the attention layers become.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct StudentPlan {
    /// Mixer.
    pub mixer: MixerKind,
    /// Which layers keep attention.
    pub layout: Layout,
    /// How often the step bias is added.
    pub dt_bias_multiplicity: u8,
    /// How KV heads are repeated.
    pub gqa_repeat: GqaRepeat,
    /// Layers in the order in which they keep attention; empty: as `layout` says.
    #[serde(default)]
    pub attn_layers: Vec<usize>,
    /// What new mixers are given beside their initialisation.
    #[serde(default)]
    pub start: Vec<StartOption>,
    /// State size, if it is not the published one.
    #[serde(default)]
    pub d_state: Option<usize>,
}

/// One ratio of an arm.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RungPlan {
    /// Share of layers that keep attention, as asked for.
    pub attention_ratio: f64,
    /// Stages in order.
    pub stages: Vec<StagePlan>,
}

/// A series of students.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ArmPlan {
    /// Name in logs and folders: `chain`, `control-INIT`, or that of an arm of an ablation with its seed.
    pub name: String,
    /// What the attention layers become.
    pub student: StudentPlan,
    /// Where the new mixers' weights come from.
    pub init: InitFrom,
    /// Seed of the new mixers' fresh weights.
    pub seed: u64,
    /// How it finds the layers that keep attention; absent where `student` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer_choice: Option<LayerChoicePlan>,
    /// Layers of the teacher that the students keep, as they are, to draft for it or its hybrids; absent for hybrids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drafter_layers: Option<usize>,
    /// Whether each rung starts from the one before; otherwise each starts from the init model.
    pub is_chained: bool,
    /// Ratios in order.
    pub rungs: Vec<RungPlan>,
}

impl ArmPlan {
    /// Name of the main arm.
    pub const CHAIN: &'static str = "chain";
    /// How the names of drafters begin; the number of their layers follows.
    pub const DRAFTER: &'static str = "drafter-";

    /// What tells the arm from the main one; `None` for that.
    pub fn side_name(&self) -> Option<&str> {
        let name = self.name.as_str();
        (name != Self::CHAIN).then(|| name.strip_prefix("control-").unwrap_or(name))
    }
}

/// What a sweep will do.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Name of the experiment.
    pub name: String,
    /// Seed of the data.
    pub seed: u64,
    /// What teacher and students compute in.
    #[serde(default, skip_serializing_if = "Precision::is_f32")]
    pub precision: Precision,
    /// Whether a student in training keeps the inputs of its blocks alone, and runs each block once more on the way back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub activation_checkpointing: bool,
    /// Teacher and init model.
    pub teacher: TeacherSource,
    /// The main arm first, then controls.
    pub arms: Vec<ArmPlan>,
    /// What is trained on.
    pub data: DataPlan,
    /// What is kept of the teacher's answers to it; absent: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub teacher_cache: Option<super::TeacherCachePlan>,
    /// What is measured.
    pub eval: EvalPlan,
    /// What is kept of a stage while it runs.
    #[serde(default)]
    pub checkpoint: CheckpointPlan,
    /// What is done when a stage stops learning.
    #[serde(default)]
    pub guard: GuardPlan,
    /// What the arms are compared for; absent in a sweep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ablation: Option<AblationPlan>,
}

impl Plan {
    /// Every stage with its arm and rung, in the order in which they run.
    pub fn stages(&self) -> impl Iterator<Item = &StagePlan> {
        self.arms
            .iter()
            .flat_map(|arm| arm.rungs.iter().flat_map(|rung| rung.stages.iter()))
    }
}
