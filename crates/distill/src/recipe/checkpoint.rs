//! Recipe table `[checkpoint]`.
use serde::{Deserialize, Serialize};

/// `[checkpoint]`: what is kept of a stage while it runs.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointTable {
    /// Steps between two checkpoints within a stage (100); 0 writes one only when the run is stopped.
    pub every_steps: Option<usize>,
    /// How many of a stage are kept until it is finished (2).
    pub keep: Option<usize>,
}

/// When checkpoints within a stage are written, and how many are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointPlan {
    /// Steps between two; 0 writes one only when the run is stopped.
    pub every_steps: usize,
    /// How many are kept until the stage is finished.
    pub keep: usize,
}

impl Default for CheckpointPlan {
    fn default() -> Self {
        Self {
            every_steps: 100,
            keep: 2,
        }
    }
}
