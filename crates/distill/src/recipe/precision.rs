//! What models compute in.

use burn::tensor::FloatDType;
use serde::{Deserialize, Serialize};

/// The type of activations; weights, their gradients and the optimiser's state are f32 in any case.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// Everything in f32.
    #[default]
    F32,
    /// Mixers, MLPs and the head's products in bf16; the residual stream, norms, softmax and losses in f32.
    Bf16,
}

impl Precision {
    /// What [`HybridModel::computing_in`](model::HybridModel::computing_in) takes.
    pub fn compute(self) -> Option<FloatDType> {
        match self {
            Self::F32 => None,
            Self::Bf16 => Some(FloatDType::BF16),
        }
    }

    /// Name in recipes.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }

    /// Whether it is the default.
    pub(super) fn is_f32(&self) -> bool {
        *self == Self::F32
    }
}
