//! What the stage before distillation compares.
use serde::{Deserialize, Serialize};

/// The key `target` of `[alignment]`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AlignmentTarget {
    /// What the mixer adds to the residual stream.
    #[default]
    MixerOutput,
    /// The residual stream after the block.
    HiddenState,
}
