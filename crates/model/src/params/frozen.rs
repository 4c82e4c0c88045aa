//! Frozen projections in the type that the model computes in, for as long as they are frozen.

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
fn is_projection(key: &str) -> bool {
    key.contains(".self_attn.") || key.contains(".mlp.")
}

struct Caster {
    path: Path,
    dtype: FloatDType,
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
        if weight.is_require_grad() || !is_projection(&self.path.key()) {
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
