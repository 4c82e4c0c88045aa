//! Recipe table `[guard]`.
use serde::{Deserialize, Serialize};

/// `[guard]`: what is done when a stage stops learning.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct GuardTable {
    /// Steps in a row whose loss or gradient norm is not finite, after which a stage is rewound (5). Each is left out.
    pub max_bad_steps: Option<usize>,
    /// A loss above this many times its running median is too high (4).
    pub divergence_factor: Option<f64>,
    /// Such losses in a row, after which a stage is rewound (10).
    pub divergence_patience: Option<usize>,
    /// How often a stage is taken back to its last good checkpoint before the run fails (3).
    pub max_rewinds: Option<usize>,
}

/// When a stage is taken back to its last good checkpoint, and how often.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct GuardPlan {
    /// Steps in a row whose loss or gradient norm is not finite.
    pub max_bad_steps: usize,
    /// A loss above this many times its running median is too high.
    pub divergence_factor: f64,
    /// Losses in a row that are too high.
    pub divergence_patience: usize,
    /// Rewinds of a stage before the run fails.
    pub max_rewinds: usize,
}

impl Default for GuardPlan {
    fn default() -> Self {
        Self {
            max_bad_steps: 5,
            divergence_factor: 4.0,
            divergence_patience: 10,
            max_rewinds: 3,
        }
    }
}
