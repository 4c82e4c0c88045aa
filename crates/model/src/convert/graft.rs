//! Blocks of one model in another.

use kernels::SsmBackend;

use crate::config::{HybridConfig, MixerKind};
use crate::error::ModelError;
use crate::hybrid::HybridModel;

impl<B: SsmBackend> HybridModel<B> {
    /// The same model with blocks `layers` of `other`, a conversion of it; weights are shared with both.
    ///
    /// # Errors
    /// [`ModelError::Convert`] if `other` is of another shape, or if both have state-space layers and of other sizes.
    pub fn with_blocks_of(&self, other: &Self, layers: &[usize]) -> Result<Self, ModelError> {
        let wrong = |found: String| ModelError::Convert {
            thing: "the model to take blocks from",
            found,
            expected: "a conversion of the one that gets them".into(),
        };
        let (own, theirs) = (self.config(), other.config());
        if own.llama != theirs.llama {
            return Err(wrong("of another shape".into()));
        }
        if let (Some(own), Some(theirs)) = (&own.ssm, &theirs.ssm)
            && own != theirs
        {
            return Err(wrong("with state-space layers of other sizes".into()));
        }
        if let Some(layer_idx) = layers.iter().find(|index| **index >= self.n_layers()) {
            return Err(wrong(format!("without a layer {layer_idx}")));
        }
        let source = |layer_idx: &usize| match layers.contains(layer_idx) {
            true => other,
            false => self,
        };
        let is_attention = |layer_idx: &usize| {
            source(layer_idx).config().mixer_kind(*layer_idx) == MixerKind::Attention
        };
        let block = |layer_idx: usize| source(&layer_idx).layers[layer_idx].clone();
        let mut model = self.clone();
        model.config = HybridConfig {
            attn_layers: (0..self.n_layers()).filter(is_attention).collect(),
            ssm: own.ssm.clone().or_else(|| theirs.ssm.clone()),
            ..own.clone()
        };
        model.layers = (0..self.n_layers()).map(block).collect();
        Ok(model)
    }
}
