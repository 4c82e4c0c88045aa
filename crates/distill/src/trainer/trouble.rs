//! Where a step stopped being finite.

use std::fmt;

use burn::optim::GradientsParams;
use kernels::SsmBackend;
use model::MixerKind;

use super::{MicroStep, Model, layer_norms};
use crate::recipe::mixer_name;

/// What is first not finite in a step whose loss or gradient norm is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotFinite {
    /// What this layer gives on.
    Output(usize, MixerKind),
    /// The loss, of layers that are finite: the head, the teacher or what the loss is made of.
    Loss,
    /// The gradients of this layer; those of later ones, through which they came, are finite.
    Gradients(usize, MixerKind),
    /// Gradients outside of the layers, or the norm of all alone.
    Rest,
}

impl NotFinite {
    /// Looks at a step of `model` again: at what its layers give on, with one more forward pass a micro-batch, and at
    /// `gradients`, each layer's for itself.
    pub(super) fn find<B: SsmBackend>(
        model: &Model<B>,
        gradients: &GradientsParams,
        loss: f64,
        micro_batches: usize,
        mut forward: impl FnMut(&Model<B>, usize) -> MicroStep<B>,
    ) -> Self {
        let kind = |layer_idx| model.config().mixer_kind(layer_idx);
        let kept = model.clone().checkpointed(true);
        let passes = (0..micro_batches).filter_map(|index| forward(&kept, index).blocks);
        let mut is_looked_at = false;
        for blocks in passes {
            is_looked_at = true;
            if let Some(layer_idx) = blocks.first_not_finite() {
                return Self::Output(layer_idx, kind(layer_idx));
            }
        }
        if is_looked_at && !loss.is_finite() {
            return Self::Loss;
        }
        let norms = layer_norms(model, gradients, &model.device());
        match norms.iter().rposition(|norm| !norm.is_finite()) {
            Some(layer_idx) => Self::Gradients(layer_idx, kind(layer_idx)),
            None => Self::Rest,
        }
    }
}

impl fmt::Display for NotFinite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Output(layer_idx, kind) => {
                write!(f, "first in layer {layer_idx} ({})", mixer_name(kind))
            }
            Self::Loss => f.write_str("first in the loss, after layers that are finite"),
            Self::Gradients(layer_idx, kind) => {
                let name = mixer_name(kind);
                write!(f, "first in the gradients of layer {layer_idx} ({name})")
            }
            Self::Rest => f.write_str("in no layer's gradients for itself"),
        }
    }
}

#[cfg(test)]
mod tests;
