//! A drafter from some layers of a model ("shrink and fine-tune", method 5.4).

use burn::tensor::backend::Backend;

use crate::config::HybridConfig;
use crate::error::ModelError;
use crate::hybrid::HybridModel;

/// The indices of `count` of `n_layers` layers, evenly spread from the first to the last; all of them if there are not more, and the
/// last alone if `count` is 1.
pub fn spread_layers(n_layers: usize, count: usize) -> Vec<usize> {
    if count >= n_layers {
        return (0..n_layers).collect();
    }
    match count {
        0 => Vec::new(),
        1 => vec![n_layers - 1],
        _ => (0..count)
            .map(|i| i * (n_layers - 1) / (count - 1))
            .collect(),
    }
}

impl<B: Backend> HybridModel<B> {
    /// The model that is left when only `layers` stay, in this order, with embedding, final norm and head. It shares the
    /// weights of this one.
    ///
    /// # Errors
    /// [`ModelError::Convert`] if no layer is named, one is named twice or out of order, or one does not exist.
    pub fn shrink(&self, layers: &[usize]) -> Result<Self, ModelError> {
        Ok(self.with_layers(self.config().shrink(layers)?, layers))
    }
}

impl HybridConfig {
    /// The configuration of a model of which only `layers` stay, in this order.
    ///
    /// # Errors
    /// [`ModelError::Convert`] if no layer is named, one is named twice or out of order, or one does not exist.
    pub fn shrink(&self, layers: &[usize]) -> Result<Self, ModelError> {
        let n_layers = self.llama.n_layers;
        let is_ascending = layers.windows(2).all(|pair| pair[0] < pair[1]);
        if !is_ascending || layers.last().is_none_or(|last| *last >= n_layers) {
            return Err(ModelError::Convert {
                thing: "the list of layers to keep",
                found: format!("{layers:?}"),
                expected: format!("ascending layer indices below {n_layers}"),
            });
        }
        let has_attention = |at: &usize| self.attn_layers.contains(&layers[*at]);
        let attn_layers: Vec<usize> = (0..layers.len()).filter(has_attention).collect();
        let has_ssm = attn_layers.len() < layers.len();
        let mut llama = self.llama.clone();
        llama.n_layers = layers.len();
        Ok(Self {
            llama,
            attn_layers,
            ssm: has_ssm.then(|| self.ssm.clone()).flatten(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::fixtures::{Inner, model, some_tokens};

    #[test]
    fn layers_are_spread_from_the_first_to_the_last() {
        assert_eq!(spread_layers(32, 2), [0, 31]);
        assert_eq!(spread_layers(32, 4), [0, 10, 20, 31]);
        assert_eq!(spread_layers(30, 4), [0, 9, 19, 29]);
        assert_eq!(spread_layers(4, 9), [0, 1, 2, 3]);
        assert_eq!(spread_layers(4, 1), [3]);
    }

    #[test]
    fn all_layers_are_the_model_and_fewer_are_another_of_the_same_widths() {
        for name in ["teacher", "hybrid_mamba1", "hybrid_mamba2"] {
            let whole = model::<Inner>(name);
            let all: Vec<usize> = (0..whole.n_layers()).collect();
            let tokens = some_tokens(2, 9, 97);
            let expected = whole.forward(tokens.clone()).into_data();
            let same = whole.shrink(&all).unwrap();
            assert_eq!(same.config(), whole.config());
            assert_eq!(same.forward(tokens.clone()).into_data(), expected);
            for layer_idx in all {
                let one = whole.shrink(&[layer_idx]).unwrap();
                one.config().validate("test").unwrap();
                assert_eq!(
                    one.config().mixer_kind(0),
                    whole.config().mixer_kind(layer_idx)
                );
                let logits = one.forward(tokens.clone()).into_data();
                assert_ne!(logits, expected);
                assert_eq!(logits.shape, expected.shape);
            }
        }
    }

    #[test]
    fn layers_that_do_not_exist_are_named() {
        let whole = model::<Inner>("teacher");
        let n_layers = whole.n_layers();
        for layers in [vec![], vec![1, 0], vec![0, 0], vec![n_layers]] {
            let error = whole.shrink(&layers).unwrap_err().to_string();
            let expected = format!(
                "cannot convert: the list of layers to keep is {layers:?}, expected ascending layer indices below {n_layers}"
            );
            assert_eq!(error, expected);
        }
    }
}
