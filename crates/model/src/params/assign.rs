//! Values into a model: from named tensors, or drawn.

use std::collections::{HashMap, HashSet, hash_map::Entry};

use burn::module::{Module, ModuleMapper, Param, ParamId};
use burn::tensor::{DType, Tensor, TensorData, backend::Backend};
use kernels::SsmBackend;

use super::key::Path;
use crate::config::HybridConfig;
use crate::error::ModelError;
use crate::hybrid::HybridModel;

/// Replaces every parameter of `module` by what `value` gives for its key and file shape.
///
/// The values are in file layout; parameters that were lazy are never allocated as zeros.
pub(crate) fn assign<B, M, F>(module: M, value: F) -> Result<M, ModelError>
where
    B: Backend,
    M: Module<B>,
    F: FnMut(&str, &[usize]) -> Result<Vec<f32>, ModelError>,
{
    let mut assigner = Assigner {
        path: Path::default(),
        value,
        error: None,
    };
    let module = module.map(&mut assigner);
    match assigner.error {
        None => Ok(module),
        Some(error) => Err(error),
    }
}

struct Assigner<F> {
    path: Path,
    value: F,
    error: Option<ModelError>,
}

impl<B, F> ModuleMapper<B> for Assigner<F>
where
    B: Backend,
    F: FnMut(&str, &[usize]) -> Result<Vec<f32>, ModelError>,
{
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        if self.error.is_some() {
            return param;
        }
        let held = param.lazy_shape().to_vec();
        let layout = self.path.layout();
        match (self.value)(&self.path.key(), &layout.file_shape(&held)) {
            Err(error) => {
                self.error = Some(error);
                param
            }
            Ok(values) => {
                let data = TensorData::new(layout.to_held(values, &held), held);
                let tensor = Tensor::from_data(data, &param.lazy_device());
                Param::initialized(param.id, tensor.require_grad())
            }
        }
    }
}

impl<B: SsmBackend> HybridModel<B> {
    /// Builds the model of `config` from tensors under Hugging Face keys, in file layout (`[out,
    /// in]`; convolutions `[channels, 1, width]`), of any float type.
    ///
    /// # Errors
    /// [`ModelError::Keys`] unless every key is used exactly once, [`ModelError::Shape`] for a
    /// tensor of another shape than `config` says, [`ModelError::Config`] for a bad `config`.
    pub fn load_named(
        config: &HybridConfig,
        tensors: impl IntoIterator<Item = (String, TensorData)>,
        device: &B::Device,
    ) -> Result<Self, ModelError> {
        config.validate("model configuration")?;
        let mut given = HashMap::new();
        let mut duplicate = Vec::new();
        for (key, data) in tensors {
            match given.entry(key) {
                Entry::Occupied(taken) => duplicate.push(taken.key().clone()),
                Entry::Vacant(free) => {
                    free.insert(data);
                }
            }
        }
        // Below, memory goes with the layers that the configuration claims.
        if config.llama.n_layers > given.len() {
            let expected = format!("at most {}, the number of tensors", given.len());
            let origin = "model configuration";
            return Err(ModelError::config(
                origin,
                "num_hidden_layers",
                config.llama.n_layers,
                expected,
            ));
        }
        let skeleton = Self::skeleton(config, device);
        let wanted: HashSet<String> = skeleton
            .param_keys()
            .into_iter()
            .map(|(_, key)| key)
            .collect();
        let mut missing: Vec<String> = wanted
            .iter()
            .filter(|key| !given.contains_key(*key))
            .cloned()
            .collect();
        let mut unknown: Vec<String> = given
            .keys()
            .filter(|key| !wanted.contains(*key))
            .cloned()
            .collect();
        if !(missing.is_empty() && unknown.is_empty() && duplicate.is_empty()) {
            missing.sort();
            unknown.sort();
            return Err(ModelError::Keys {
                missing,
                unknown,
                duplicate,
            });
        }
        assign::<B, _, _>(skeleton, |key, shape| {
            let data = given
                .remove(key)
                .expect("every key was found above, and is asked once");
            if data.shape.to_vec() != shape {
                return Err(ModelError::Shape {
                    key: key.to_string(),
                    found: data.shape.to_vec(),
                    expected: shape.to_vec(),
                });
            }
            values_f32(key, data)
        })
    }

    /// Lets gradients reach the parameters whose Hugging Face key satisfies `trainable`, and no
    /// other. Call it after moving the model onto an autodiff backend.
    pub fn freeze(self, trainable: impl Fn(&str) -> bool) -> Self {
        self.map(&mut Freezer {
            path: Path::default(),
            trainable,
        })
    }
}

/// The values of `data` as `f32`.
fn values_f32(key: &str, data: TensorData) -> Result<Vec<f32>, ModelError> {
    let dtype = data.dtype;
    let is_float = matches!(dtype, DType::F64 | DType::F32 | DType::F16 | DType::BF16);
    let data = if dtype == DType::F32 || !is_float {
        data
    } else {
        data.convert::<f32>()
    };
    data.into_vec::<f32>().map_err(|_| {
        let found = format!("of type {dtype:?}");
        ModelError::config("tensors", key, found, "a float tensor, F32, F16 or BF16")
    })
}

struct Freezer<F> {
    path: Path,
    trainable: F,
}

impl<B: Backend, F: Fn(&str) -> bool> ModuleMapper<B> for Freezer<F> {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let id: ParamId = param.id;
        let is_trainable = (self.trainable)(&self.path.key());
        // A fresh leaf, so that nothing of an earlier graph hangs on it.
        let tensor = param.val().detach().set_require_grad(is_trainable);
        Param::initialized(id, tensor)
    }
}
