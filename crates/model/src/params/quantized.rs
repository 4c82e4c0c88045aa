//! Weights of projections held in 8 bits, for decoding and evaluation.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::quantization::{QTensorPrimitive, QuantLevel, QuantValue};
use burn::tensor::{Tensor, backend::Backend, ops::QuantizedTensor};
use kernels::SsmBackend;

use super::key::Path;
use crate::hybrid::HybridModel;

/// Weights that share a scale, along the outputs of a projection.
const BLOCK: usize = 32;

impl<B: SsmBackend> HybridModel<B> {
    /// The same model with the weights of its attention, mixers and MLPs held as whole numbers from -127 to 127, each 32 with a scale of
    /// their own that takes the largest to the end; everything is computed in f32 from them, each product anew.
    ///
    /// Embedding and head keep their type, and so do norms, biases, convolutions, step sizes, decays, and projections whose width is no
    /// multiple of 32. Such a model is not for training, nor for [`named_tensors`](Self::named_tensors).
    pub fn with_projections_in_int8(self) -> Self {
        self.map(&mut Quantizer(Path::default()))
    }
}

struct Quantizer(Path);

impl<B: Backend> ModuleMapper<B> for Quantizer {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.0.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.0.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let key = self.0.key();
        let is_projection = key.ends_with("_proj.weight") && !key.contains(".dt_proj.");
        let weight = param.val();
        let width = weight.dims()[D - 1];
        if !is_projection || !width.is_multiple_of(BLOCK) {
            return param;
        }
        let scheme = <QuantizedTensor<B> as QTensorPrimitive>::default_scheme()
            .with_level(QuantLevel::block([BLOCK as u8]))
            .with_value(QuantValue::Q8S);
        Param::initialized(param.id, weight.quantize_dynamic(&scheme))
    }
}
