//! Recipe tables `[teacher]`, `[student]`, `[sweep]`.
use serde::{Deserialize, Serialize};

use super::StageKind;
use model::{GqaRepeat, InitFrom, Layout, MixerKind};

/// `[teacher]`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TeacherTable {
    /// `builtin:tiny`, a GGUF file, a Hugging Face directory or a checkpoint directory.
    pub path: String,
}

/// `[student]`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct StudentTable {
    /// What attention becomes.
    pub mixer: MixerKind,
    /// Where the new mixers' weights come from (`attention`).
    pub init: Option<InitFrom>,
    /// Which layers keep attention (`interleaved`).
    pub layout: Option<Layout>,
    /// How often the step bias is added: 1 (default) or 2 (published).
    pub dt_bias_multiplicity: Option<u8>,
    /// How KV heads are repeated (`head`).
    pub gqa_repeat: Option<GqaRepeat>,
}

/// `[sweep]`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SweepTable {
    /// Shares of layers that keep attention, from most to least.
    pub attention_ratios: Vec<f64>,
    /// Stages at each ratio, in order.
    pub stages: Vec<StageKind>,
    /// Arms that start at the init model, for comparison.
    #[serde(default)]
    pub controls: Vec<ControlTable>,
}

/// One entry of `sweep.controls`: distillation only, each ratio straight from the init model, at the budget of the
/// main arm's distillation at one ratio.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ControlTable {
    /// Where the new mixers' weights come from.
    pub init: InitFrom,
    /// Ratios to run.
    pub attention_ratios: Vec<f64>,
}
