//! The weights of a converted model, key by key (method 2.3).

use std::collections::HashMap;

use kernels::SsmBackend;

use super::{LayerPlan, init::fresh_value};
use crate::config::{HybridConfig, InitFrom, MixerKind, SsmConfig};
use crate::error::ModelError;
use crate::hybrid::HybridModel;
use crate::params::assign;

impl<B: SsmBackend> HybridModel<B> {
    /// Replaces the attention of the layers that `plan` does not keep by SSM mixers (method 2.3).
    ///
    /// Works from a Transformer and from a hybrid with the same mixer whose kept layers include the plan's; its other
    /// tensors are carried over as they are. `seed` makes the fresh weights the same on every backend, and those of a
    /// layer the same whatever else is converted.
    ///
    /// # Errors
    /// [`ModelError::Convert`] if the plan is for another depth or would bring attention back,
    /// [`ModelError::Config`] if the mixer does not fit the widths.
    pub fn convert(
        &self,
        ssm: &SsmConfig,
        plan: &LayerPlan,
        init: InitFrom,
        seed: u64,
    ) -> Result<Self, ModelError> {
        let config = target_config(self.config(), ssm, plan)?;
        let copies = matches!(init, InitFrom::Attention | InitFrom::ZeroOutput);
        let has_place = config.ssm.as_ref().is_none_or(|ssm| ssm.in_proj_bias);
        let is_new = config.attn_layers != self.config().attn_layers;
        if config.llama.qkv_bias && copies && is_new && !has_place {
            return Err(ModelError::Convert {
                thing: "the attention to start from",
                found: "with biases of queries, keys and values".into(),
                expected: "without: this mixer has no place for them (take one with `in_proj_bias`, or start at random)"
                    .into(),
            });
        }
        let source = Source {
            tensors: self
                .named_tensors()
                .into_iter()
                .map(|(key, data)| {
                    let values = data.into_vec::<f32>().expect("named tensors are f32");
                    (key, values)
                })
                .collect(),
            config: &config,
            init,
            seed,
        };
        let skeleton = Self::skeleton(&config, &self.device()).computing_in(self.compute());
        assign::<B, _, _>(skeleton, |key, shape| Ok(source.value(key, shape)))
    }
}

/// What a model becomes under `plan`.
fn target_config(
    source: &HybridConfig,
    ssm: &SsmConfig,
    plan: &LayerPlan,
) -> Result<HybridConfig, ModelError> {
    let n_layers = source.llama.n_layers;
    if plan.n_layers != n_layers {
        return Err(ModelError::Convert {
            thing: "the layer plan",
            found: format!("for {} layers", plan.n_layers),
            expected: format!("for {n_layers} layers, as the model has"),
        });
    }
    let returning = plan
        .attn_layers
        .iter()
        .find(|layer_idx| !source.attn_layers.contains(layer_idx));
    if let Some(layer_idx) = returning {
        return Err(ModelError::Convert {
            thing: "the layer plan",
            found: format!("attention in layer {layer_idx}, which has none left"),
            expected: format!(
                "some of the layers that still have it, {:?} (start from a model with more attention)",
                source.attn_layers
            ),
        });
    }
    let present = source
        .ssm
        .as_ref()
        .filter(|present| *present != ssm && source.attn_layers.len() < n_layers);
    if let Some(present) = present {
        return Err(ModelError::Convert {
            thing: "the mixer",
            found: format!("{ssm:?}"),
            expected: format!("the one that the model's SSM layers have, {present:?}"),
        });
    }
    let config = HybridConfig {
        llama: source.llama.clone(),
        attn_layers: plan.attn_layers.clone(),
        ssm: (plan.attn_layers.len() < n_layers).then(|| ssm.clone()),
    };
    config.validate("conversion")?;
    Ok(config)
}

/// Layer index and rest of a key such as `model.layers.3.mamba.D`.
fn in_layer(key: &str) -> Option<(usize, &str)> {
    let (layer_idx, rest) = key.strip_prefix("model.layers.")?.split_once('.')?;
    Some((layer_idx.parse().ok()?, rest))
}

/// The model that is converted, and how.
struct Source<'a> {
    /// Values under their checkpoint names, in file layout
    tensors: HashMap<String, Vec<f32>>,
    config: &'a HybridConfig,
    init: InitFrom,
    seed: u64,
}

impl Source<'_> {
    fn value(&self, key: &str, shape: &[usize]) -> Vec<f32> {
        match in_layer(key) {
            Some((layer_idx, rest)) if self.is_new(layer_idx) => {
                match (rest.strip_prefix("mamba."), self.init) {
                    (Some("out_proj.weight"), InitFrom::ZeroOutput) => {
                        vec![0.0; shape.iter().product()]
                    }
                    (Some(name), InitFrom::Attention | InitFrom::ZeroOutput) => {
                        self.attention_value(key, name, layer_idx, shape)
                    }
                    (Some(_), _) | (None, InitFrom::RandomLayer) => self.fresh(key, shape),
                    (None, _) => self.tensors[key].clone(),
                }
            }
            _ => self.tensors[key].clone(),
        }
    }

    /// Whether the layer becomes an SSM in this conversion.
    fn is_new(&self, layer_idx: usize) -> bool {
        self.config.mixer_kind(layer_idx) != MixerKind::Attention
            && self
                .tensors
                .contains_key(&attention_key(layer_idx, "q", "weight"))
    }

    fn fresh(&self, key: &str, shape: &[usize]) -> Vec<f32> {
        let d_conv = self.config.ssm.as_ref().map_or(1, |ssm| ssm.d_conv);
        fresh_value(self.seed, key, shape, d_conv)
    }

    /// A mixer parameter: copied from the attention that it replaces, or fresh where attention has no like.
    fn attention_value(
        &self,
        key: &str,
        name: &str,
        layer_idx: usize,
        shape: &[usize],
    ) -> Vec<f32> {
        let projection = |which: &str| &self.tensors[&attention_key(layer_idx, which, "weight")];
        let bias = |which: &str| self.tensors.get(&attention_key(layer_idx, which, "bias"));
        let copied = |from: Option<&Vec<f32>>| match from {
            Some(values) => values.clone(),
            None => self.fresh(key, shape),
        };
        match name {
            "in_proj_x.weight" => projection("v").clone(),
            "B_proj.weight" => projection("k").clone(),
            "C_proj.weight" => projection("q").clone(),
            "out_proj.weight" => projection("o").clone(),
            "in_proj_x.bias" => copied(bias("v")),
            "B_proj.bias" => copied(bias("k")),
            "C_proj.bias" => copied(bias("q")),
            "in_proj.weight" | "in_proj.bias" => {
                // Rows z, x, B, C, dt: the middle three are copied.
                let mut values = self.fresh(key, shape);
                let width: usize = shape[1..].iter().product();
                let mut at = self.config.llama.d_inner() * width;
                let kind = name.trim_start_matches("in_proj.");
                for which in ["v", "k", "q"] {
                    if let Some(rows) = self.tensors.get(&attention_key(layer_idx, which, kind)) {
                        values[at..at + rows.len()].copy_from_slice(rows);
                        at += rows.len();
                    }
                }
                values
            }
            _ => self.fresh(key, shape),
        }
    }
}

fn attention_key(layer_idx: usize, which: &str, kind: &str) -> String {
    format!("model.layers.{layer_idx}.self_attn.{which}_proj.{kind}")
}
