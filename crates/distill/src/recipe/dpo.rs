//! Loss of `[dpo]`: its keys, and the loss as it will run.
use serde::{Deserialize, Serialize};

/// Policy that DPO compares with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DpoReference {
    /// A frozen copy of the student before the stage (published code).
    SftCopy,
    /// The teacher (the paper's formula).
    Teacher,
}

/// The key `loss`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DpoLossKind {
    /// The published loss.
    Sigmoid,
    /// Identity preference optimisation.
    Ipo,
    /// Hinge.
    Hinge,
    /// Sigmoid for labels some of which are wrong.
    Robust,
    /// Sigmoid of log-ratios a token.
    LengthNormalized,
}

impl DpoLossKind {
    /// Name in recipes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sigmoid => "sigmoid",
            Self::Ipo => "ipo",
            Self::Hinge => "hinge",
            Self::Robust => "robust",
            Self::LengthNormalized => "length-normalized",
        }
    }
}

/// What a preference pair costs; formulas in [`dpo_loss`](crate::loss::dpo_loss).
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum PreferenceLoss {
    /// The published loss.
    #[default]
    Sigmoid,
    /// Identity preference optimisation.
    Ipo,
    /// Hinge.
    Hinge,
    /// Sigmoid for labels some of which are wrong.
    Robust {
        /// Share of pairs taken to be the wrong way round.
        label_smoothing: f64,
    },
    /// Sigmoid of log-ratios a token.
    LengthNormalized,
}

/// Settings of DPO.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DpoPlan {
    /// Scale of the log-ratio.
    pub beta: f64,
    /// Policy to compare with.
    pub reference: DpoReference,
    /// What a pair costs.
    #[serde(default)]
    pub loss: PreferenceLoss,
}
