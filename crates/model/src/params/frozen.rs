//! Projections in another type than the model was loaded in: frozen ones in that which it computes in, or all for decoding.

use std::collections::HashMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::ops::FloatTensor;
use burn::tensor::{FloatDType, Tensor, TensorPrimitive, backend::Backend};
use kernels::SsmBackend;

use super::key::Path;
use crate::hybrid::HybridModel;

impl<B: SsmBackend> HybridModel<B> {
    /// The same model with those projections of attention and MLPs that do not train held in the type that it computes
    /// in ([`compute`](Self::compute)), so that no pass has to cast them; on a backend without a tape all of them.
    ///
    /// What the model computes does not change by a bit. Weights are read from such a model rounded:
    /// [`with_weights_of`](Self::with_weights_of) gives it those it had.
    pub fn with_frozen_projections_cast(self) -> Self {
        let Some(dtype) = self.compute() else {
            return self;
        };
        self.map(&mut Caster {
            path: Path::default(),
            dtype,
            is_cast: is_frozen_projection,
        })
    }

    /// The same model with its projections, embedding and head held in `dtype`: in bf16 a decoded token has half as much to read.
    ///
    /// Norms, biases, convolutions, step sizes and decays keep their type, and everything is computed in f32 from the rounded weights.
    pub fn with_projections_in(self, dtype: FloatDType) -> Self {
        self.map(&mut Caster {
            path: Path::default(),
            dtype,
            is_cast: is_matrix,
        })
    }

    /// The same model with the weights of `original` wherever this one's are of another type: those that
    /// [`with_frozen_projections_cast`](Self::with_frozen_projections_cast) cast.
    pub fn with_weights_of(self, original: &Self) -> Self {
        let mut weights = Weights(HashMap::new());
        original.visit(&mut weights);
        self.map(&mut Restorer(weights.0))
    }
}

/// Whether the parameter is the weight of a projection that casts it to the type of its input.
fn is_frozen_projection(key: &str) -> bool {
    key.contains(".self_attn.") || key.contains(".mlp.")
}

/// Whether the parameter is a matrix that tokens are multiplied by, but for the small one of step sizes.
fn is_matrix(key: &str) -> bool {
    let is_weight = key.contains("_proj") && key.ends_with(".weight");
    let is_projection = is_weight && !key.contains(".dt_proj.");
    is_projection || key.contains("embed_tokens") || key.contains("lm_head")
}

struct Caster {
    path: Path,
    dtype: FloatDType,
    /// Whether to cast the parameter of a key, if it does not train
    is_cast: fn(&str) -> bool,
}

impl<B: Backend> ModuleMapper<B> for Caster {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let weight = param.val();
        if weight.is_require_grad() || !(self.is_cast)(&self.path.key()) {
            return param;
        }
        let cast = weight.cast(self.dtype).detach().set_require_grad(false);
        Param::initialized(param.id, cast)
    }
}

struct Weights<B: Backend>(HashMap<ParamId, FloatTensor<B>>);

impl<B: Backend> ModuleVisitor<B> for Weights<B> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let weight = param.val().into_primitive().tensor();
        self.0.insert(param.id, weight);
    }
}

struct Restorer<B: Backend>(HashMap<ParamId, FloatTensor<B>>);

impl<B: Backend> ModuleMapper<B> for Restorer<B> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let Some(original) = self.0.remove(&param.id) else {
            return param;
        };
        let original = Tensor::<B, D>::from_primitive(TensorPrimitive::Float(original));
        if original.dtype() == param.val().dtype() {
            return param;
        }
        Param::initialized(param.id, original)
    }
}
