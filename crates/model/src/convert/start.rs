//! Values that let a new mixer begin closer to the attention it replaces, in the tensors that published models have (method,
//! section 9).

use std::collections::HashMap;

use burn::tensor::{Int, Tensor};
use kernels::SsmBackend;
use serde::{Deserialize, Serialize};

use crate::config::MixerKind;
use crate::error::ModelError;
use crate::hybrid::{BlockOutput, HybridModel};
use crate::params::assign;

/// One thing that a new mixer is given beside its initialisation.
///
/// A gate near 1 is none of them: without a bias, which published models do not have, it would be another architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StartOption {
    /// Convolutions that pass the current token on: last tap 1, the others and the bias 0. The SiLU after them stays
    IdentityConv,
    /// C by `head_dim^-0.5`, as attention scales the product of query and key
    ScaleC,
    /// The gated norm (Mamba1, which has none: the output projection) by one factor a layer, so that the mixer's output is as
    /// large as the attention's on a calibration batch
    MatchOutput,
}

/// Tensors under their checkpoint names, in file layout.
type Values = HashMap<String, Vec<f32>>;

impl<B: SsmBackend> HybridModel<B> {
    /// Gives the mixers that stand where `source` has attention what `options` say; `calibration`: `[batch, seq]`, without
    /// padding, looked at for [`StartOption::MatchOutput`] alone.
    ///
    /// # Errors
    /// [`ModelError::Convert`] if `source` has another number of layers.
    pub fn with_start(
        self,
        source: &Self,
        options: &[StartOption],
        calibration: Tensor<B, 2, Int>,
    ) -> Result<Self, ModelError> {
        if source.n_layers() != self.n_layers() {
            return Err(ModelError::Convert {
                thing: "the source of the start",
                found: format!("of {} layers", source.n_layers()),
                expected: format!("of {}, as the model has", self.n_layers()),
            });
        }
        let is_new = |layer_idx: &usize| {
            self.config().mixer_kind(*layer_idx) != MixerKind::Attention
                && source.config().mixer_kind(*layer_idx) == MixerKind::Attention
        };
        let layers: Vec<usize> = (0..self.n_layers()).filter(is_new).collect();
        let has = |option| options.contains(&option);
        let mut model = self;
        if has(StartOption::IdentityConv) || has(StartOption::ScaleC) {
            let mut values = model.values();
            for layer_idx in &layers {
                if has(StartOption::IdentityConv) {
                    model.pass_on(*layer_idx, &mut values);
                }
                if has(StartOption::ScaleC) {
                    model.scale_c(*layer_idx, &mut values);
                }
            }
            model = model.assigned(&values)?;
        }
        if has(StartOption::MatchOutput) {
            let inputs = source.block_inputs(calibration);
            let mut values = model.values();
            for layer_idx in layers {
                let size = |of: &Self| -> f64 {
                    let input = inputs[layer_idx].clone();
                    let output = of.block_output(layer_idx, input, BlockOutput::Mixer);
                    let output = output.into_data();
                    let squares = output.iter::<f32>().map(|value| f64::from(value).powi(2));
                    squares.sum::<f64>().sqrt()
                };
                let factor = (size(source) / size(&model)) as f32;
                // Of a mixer that gives zeros there is nothing to scale.
                if factor.is_finite() && factor > 0.0 {
                    let key = |name: &str| format!("model.layers.{layer_idx}.mamba.{name}.weight");
                    let key = [key("norm"), key("out_proj")]
                        .into_iter()
                        .find(|key| values.contains_key(key));
                    let scaled = key.and_then(|key| values.get_mut(&key));
                    scaled
                        .into_iter()
                        .flatten()
                        .for_each(|value| *value *= factor);
                }
            }
            model = model.assigned(&values)?;
        }
        Ok(model)
    }

    fn values(&self) -> Values {
        let tensors = self.named_tensors().into_iter();
        tensors
            .map(|(key, data)| (key, data.into_vec().expect("named tensors are f32")))
            .collect()
    }

    fn assigned(&self, values: &Values) -> Result<Self, ModelError> {
        let skeleton = Self::skeleton(self.config(), &self.device()).computing_in(self.compute());
        assign::<B, _, _>(skeleton, |key, _| Ok(values[key].clone()))
    }

    /// [`StartOption::IdentityConv`].
    fn pass_on(&self, layer_idx: usize, values: &mut Values) {
        let Some(ssm) = &self.config().ssm else {
            return;
        };
        let key = |name: &str| format!("model.layers.{layer_idx}.mamba.conv1d.{name}");
        if let Some(taps) = values.get_mut(&key("weight")) {
            for (index, tap) in taps.iter_mut().enumerate() {
                let is_last = index % ssm.d_conv + 1 == ssm.d_conv;
                *tap = f32::from(u8::from(is_last));
            }
        }
        if let Some(bias) = values.get_mut(&key("bias")) {
            bias.fill(0.0);
        }
    }

    /// [`StartOption::ScaleC`].
    fn scale_c(&self, layer_idx: usize, values: &mut Values) {
        let llama = &self.config().llama;
        let factor = (llama.head_dim as f64).powf(-0.5) as f32;
        let key = |name: &str| format!("model.layers.{layer_idx}.mamba.{name}");
        for (kind, width) in [("weight", llama.d_model), ("bias", 1)] {
            if let Some(c) = values.get_mut(&key(&format!("C_proj.{kind}"))) {
                c.iter_mut().for_each(|value| *value *= factor);
            }
            // Rows z, x, B, C, dt.
            if let Some(all) = values.get_mut(&key(&format!("in_proj.{kind}"))) {
                let (rows, at) = (llama.d_inner(), llama.d_inner() + 2 * llama.d_xb());
                all[at * width..(at + rows) * width]
                    .iter_mut()
                    .for_each(|value| *value *= factor);
            }
        }
    }
}
