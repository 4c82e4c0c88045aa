//! Loss of distillation and SFT: keys of their tables, and the loss as it will run.
use serde::{Deserialize, Serialize};

/// What is divided by what in the KL term.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum KlReduction {
    /// Mean over the positions of the mask.
    TokenMean,
    /// Sum over positions and vocabulary, divided by the batch (published).
    Batchmean,
}

/// Positions of the KL term.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum KlMask {
    /// Where the next token is a label.
    Labels,
    /// Everywhere (published).
    All,
}

/// The key `divergence`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DivergenceKind {
    /// KL from teacher to student (published).
    ForwardKl,
    /// KL from student to teacher.
    ReverseKl,
    /// Generalised Jensen-Shannon divergence.
    Jsd,
    /// Forward KL over the teacher's likeliest tokens and one bucket for the rest.
    TopK,
}

impl DivergenceKind {
    /// Name in recipes.
    pub fn name(self) -> &'static str {
        match self {
            Self::ForwardKl => "forward-kl",
            Self::ReverseKl => "reverse-kl",
            Self::Jsd => "jsd",
            Self::TopK => "top-k",
        }
    }
}

/// How far the student is from the teacher; formulas in [`divergence`](crate::loss::divergence()).
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Divergence {
    /// KL from teacher to student (published).
    #[default]
    ForwardKl,
    /// KL from student to teacher.
    ReverseKl,
    /// Generalised Jensen-Shannon divergence.
    Jsd {
        /// The teacher's share of the mixture.
        beta: f64,
    },
    /// Forward KL over the teacher's likeliest tokens and one bucket for the rest.
    TopK {
        /// Tokens that are compared one by one; all of them where the vocabulary has no more.
        k: usize,
    },
}

/// The keys of the loss as written.
pub(super) struct LossFields {
    pub ce_weight: Option<f64>,
    pub kl_weight: Option<f64>,
    pub kl_reduction: Option<KlReduction>,
    pub kl_mask: Option<KlMask>,
    pub divergence: Option<DivergenceKind>,
    pub top_k: Option<usize>,
    pub jsd_beta: Option<f64>,
    pub temperature: Option<f64>,
}

/// Weights and reduction of the distillation and SFT loss.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LossPlan {
    /// Weight of cross-entropy on the labels.
    pub ce_weight: f64,
    /// Weight of the divergence from the teacher; 0 leaves the teacher out.
    pub kl_weight: f64,
    /// What the sum of the divergence is divided by.
    pub kl_reduction: KlReduction,
    /// Positions of the divergence.
    pub kl_mask: KlMask,
    /// Which divergence.
    #[serde(default)]
    pub divergence: Divergence,
    /// What logits are divided by in the divergence, which is multiplied by its square.
    #[serde(default = "unit")]
    pub temperature: f64,
}

fn unit() -> f64 {
    1.0
}

impl LossPlan {
    /// Cross-entropy alone.
    pub const CROSS_ENTROPY: Self = Self {
        ce_weight: 1.0,
        kl_weight: 0.0,
        kl_reduction: KlReduction::TokenMean,
        kl_mask: KlMask::Labels,
        divergence: Divergence::ForwardKl,
        temperature: 1.0,
    };
}
