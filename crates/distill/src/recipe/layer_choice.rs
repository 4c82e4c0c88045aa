//! Which layers keep attention: the key `student.layout`, the table `[layer_choice]`, and the choice by KL as it will run.
use model::Layout;
use serde::{Deserialize, Serialize};

use super::StagePlan;

/// The key `student.layout`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LayoutKey {
    /// Spread evenly, the last layer among them (the paper).
    Interleaved,
    /// The same number, as one block at the start.
    KeptFirst,
    /// The same number, as one block at the end.
    KeptLast,
    /// The same number, as one block in the middle.
    KeptMiddle,
    /// The same number, half of them at each end.
    KeptEnds,
    /// The same number, those whose replacement takes the student furthest from the teacher (arXiv 2512.20569).
    KlGuided,
}

impl LayoutKey {
    /// The layout, where nothing has to be measured.
    pub fn fixed(self) -> Option<Layout> {
        match self {
            Self::Interleaved => Some(Layout::Interleaved),
            Self::KeptFirst => Some(Layout::KeptFirst),
            Self::KeptLast => Some(Layout::KeptLast),
            Self::KeptMiddle => Some(Layout::KeptMiddle),
            Self::KeptEnds => Some(Layout::KeptEnds),
            Self::KlGuided => None,
        }
    }
}

/// `[layer_choice]`, for `student.layout = "kl-guided"`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LayerChoiceTable {
    /// Steps of the alignment before anything is measured (60); its other settings are those of `[alignment]`.
    pub steps: Option<usize>,
    /// Training sequences that the KL is measured on (16).
    pub sequences: Option<usize>,
}

/// How an arm finds the layers that keep attention.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LayerChoicePlan {
    /// What all mixers are trained by before anything is measured.
    pub alignment: StagePlan,
    /// Training sequences that the KL is measured on.
    pub sequences: usize,
}
