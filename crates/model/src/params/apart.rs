//! Weights where a GPU backend does not walk over them.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Tensor, backend::Backend};
use kernels::SsmBackend;

use crate::hybrid::HybridModel;

impl<B: SsmBackend> HybridModel<B> {
    /// The same model with each weight in memory of its own, for decoding.
    ///
    /// A GPU backend looks for the memory of a result among all pieces of a page, and the small weights of a model lie between those: at a few
    /// results a layer and token that takes longer than what is computed. Backends without such pages only move the weights. Not for
    /// weights that train, which are replaced at every step.
    pub fn with_weights_apart(self) -> Self {
        self.map(&mut Mover)
    }
}

struct Mover;

impl<B: Backend> ModuleMapper<B> for Mover {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let (id, weight) = (param.id, param.val());
        drop(param);
        if weight.is_require_grad() {
            return Param::initialized(id, weight);
        }
        let (device, dtype) = (weight.device(), weight.dtype());
        let moved = B::memory_persistent_allocations(&device, weight.into_data(), |data| {
            Tensor::from_data(data, (&device, dtype))
        });
        Param::initialized(id, moved)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::FloatDType;

    use crate::tests::fixtures::{Inner, model, some_tokens};

    #[test]
    fn moved_weights_are_the_same_to_the_bit_and_in_the_same_type() {
        for name in ["teacher", "hybrid_mamba1", "pure_mamba2"] {
            let model = model::<Inner>(name).with_projections_in(FloatDType::BF16);
            let moved = model.clone().with_weights_apart();
            assert_eq!(model.named_tensors(), moved.named_tensors(), "{name}");
            let types = |model: &crate::HybridModel<Inner>| model.head_weight().dtype();
            assert_eq!(types(&model), types(&moved), "{name}");
            let tokens = some_tokens(2, 7, 97);
            let logits = [model, moved].map(|model| model.forward(tokens.clone()).into_data());
            assert_eq!(logits[0], logits[1], "{name}");
        }
    }
}
