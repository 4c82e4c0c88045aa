//! Gradients of all trainable tensors taken together: their global norm and scaling.

use std::collections::{HashMap, HashSet};

use burn::backend::Autodiff;
use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorPrimitive};
use kernels::{SsmBackend, squared_norm};
use model::HybridModel;

/// Sum of squares over every gradient, `[1]`, on the device; zero when there are none.
pub fn norm_squared<B: SsmBackend, M: Module<Autodiff<B>>>(
    model: &M,
    gradients: &GradientsParams,
    device: &B::Device,
) -> Tensor<B, 1> {
    let mut visitor = SquaredNorm {
        gradients,
        parts: Vec::new(),
    };
    model.visit(&mut visitor);
    squared_norm(visitor.parts, device)
}

/// Gradient norm of each layer of `model`, over the tensors that are trained; one read from the device.
pub fn layer_norms<B: SsmBackend>(
    model: &HybridModel<Autodiff<B>>,
    gradients: &GradientsParams,
    device: &B::Device,
) -> Vec<f64> {
    let keys = model.param_keys();
    let layers = keys.iter().filter_map(|(id, key)| {
        let (layer, _) = key.strip_prefix("model.layers.")?.split_once('.')?;
        Some((*id, layer.parse().ok()?))
    });
    let mut visitor = LayerGradients::<B> {
        gradients,
        layers: layers.collect(),
        of: (0..model.n_layers()).map(|_| Vec::new()).collect(),
    };
    model.visit(&mut visitor);
    let squares = visitor.of.into_iter();
    let squares: Vec<_> = squares.map(|of| squared_norm(of, device)).collect();
    let squares = Tensor::cat(squares, 0).into_data();
    squares.iter::<f64>().map(f64::sqrt).collect()
}

/// The gradients of each layer.
struct LayerGradients<'a, B: Backend> {
    gradients: &'a GradientsParams,
    layers: HashMap<ParamId, usize>,
    of: Vec<Vec<TensorPrimitive<B>>>,
}

impl<B: Backend> ModuleVisitor<Autodiff<B>> for LayerGradients<'_, B> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<Autodiff<B>, D>>) {
        if let Some(layer_idx) = self.layers.get(&param.id)
            && let Some(gradient) = self.gradients.get::<B, D>(param.id)
        {
            self.of[*layer_idx].push(gradient.into_primitive());
        }
    }
}

struct SquaredNorm<'a, B: Backend> {
    gradients: &'a GradientsParams,
    parts: Vec<TensorPrimitive<B>>,
}

impl<B: Backend> ModuleVisitor<Autodiff<B>> for SquaredNorm<'_, B> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<Autodiff<B>, D>>) {
        if let Some(gradient) = self.gradients.get::<B, D>(param.id) {
            self.parts.push(gradient.into_primitive());
        }
    }
}

/// Multiplies every gradient by `scale`, `[1]`, without reading it back.
pub fn scaled<B: Backend, M: Module<Autodiff<B>>>(
    model: &M,
    gradients: GradientsParams,
    scale: Tensor<B, 1>,
) -> GradientsParams {
    let mut visitor = Scaled { gradients, scale };
    model.visit(&mut visitor);
    visitor.gradients
}

struct Scaled<B: Backend> {
    gradients: GradientsParams,
    scale: Tensor<B, 1>,
}

impl<B: Backend> ModuleVisitor<Autodiff<B>> for Scaled<B> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<Autodiff<B>, D>>) {
        if let Some(gradient) = self.gradients.remove::<B, D>(param.id) {
            let scale = self.scale.clone().reshape([1; D]);
            self.gradients.register(param.id, gradient * scale);
        }
    }
}

/// Trainable parameters with and without weight decay.
///
/// Vectors (norms, biases, `dt_bias`, `D`) and `A_log` are not decayed (method, section 2.4).
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct DecayGroups {
    /// Decayed.
    pub decayed: Vec<ParamId>,
    /// Not decayed.
    pub undecayed: Vec<ParamId>,
}

impl DecayGroups {
    /// Sorts the trainable parameters of `model`.
    pub fn of<B: SsmBackend>(model: &HybridModel<Autodiff<B>>) -> Self {
        let keys = model.param_keys();
        let a_log = keys
            .into_iter()
            .filter(|(_, key)| key.ends_with("A_log"))
            .map(|(id, _)| id);
        let mut visitor = Sorter {
            groups: Self::default(),
            a_log: a_log.collect(),
        };
        model.visit(&mut visitor);
        visitor.groups
    }
}

struct Sorter {
    groups: DecayGroups,
    a_log: HashSet<ParamId>,
}

impl<B: Backend> ModuleVisitor<Autodiff<B>> for Sorter {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<Autodiff<B>, D>>) {
        if !param.val().is_require_grad() {
            return;
        }
        let is_undecayed = D == 1 || self.a_log.contains(&param.id);
        let group = if is_undecayed {
            &mut self.groups.undecayed
        } else {
            &mut self.groups.decayed
        };
        group.push(param.id);
    }
}
