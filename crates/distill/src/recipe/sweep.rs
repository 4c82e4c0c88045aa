//! Recipe tables `[teacher]`, `[student]`, `[sweep]`.
use serde::{Deserialize, Serialize};

use super::{LayoutKey, StageKind};
use model::{GqaRepeat, InitFrom, MixerKind, StartOption};

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
    /// What they are given beside that: `identity-conv`, `scale-c`, `match-output` (nothing).
    pub start: Option<Vec<StartOption>>,
    /// Which layers keep attention (`interleaved`).
    pub layout: Option<LayoutKey>,
    /// How often the step bias is added: 1 (default) or 2 (published).
    pub dt_bias_multiplicity: Option<u8>,
    /// How KV heads are repeated (`head`).
    pub gqa_repeat: Option<GqaRepeat>,
    /// Layers from the one that needs attention most to the one that needs it least, in place of `layout`: a ratio keeps
    /// as many from the front as it has.
    pub attn_layers: Option<Vec<usize>>,
    /// State size of Mamba1 (16, as published); that of Mamba2 is the head width.
    pub d_state: Option<usize>,
}

/// `[sweep]`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SweepTable {
    /// Shares of layers that keep attention, from most to least.
    pub attention_ratios: Vec<f64>,
    /// Stages at each ratio, in order.
    pub stages: Vec<StageKind>,
    /// Whether a ratio starts from the one before (true, as published) or, as those of controls, from the init model.
    pub progressive: Option<bool>,
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
