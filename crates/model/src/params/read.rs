//! Values and gradients out of a model.

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Tensor, TensorData, s};
use kernels::SsmBackend;

use super::key::{FileLayout, Path};
use crate::hybrid::HybridModel;

impl<B: SsmBackend> HybridModel<B> {
    /// Every parameter as `f32` under its Hugging Face key and in file layout: linear weights
    /// `[out, in]`, convolutions `[channels, 1, width]`. Tied heads have no tensor of their own.
    pub fn named_tensors(&self) -> Vec<(String, TensorData)> {
        let mut reader = Reader {
            path: Path::default(),
            tensors: Vec::new(),
        };
        self.visit(&mut reader);
        reader.tensors
    }

    /// Bytes of weights that a token is computed with: all of them, but of an embedding beside a head only one row.
    pub fn bytes_per_token(&self) -> usize {
        let mut counter = Counter::default();
        self.visit(&mut counter);
        match self.config.llama.tie_word_embeddings {
            true => counter.0,
            false => counter.0 - bytes(&self.embed_tokens.weight.val().slice(s![1.., ..])),
        }
    }

    /// The identity of every parameter, as burn's optimizers know it, with its Hugging Face key.
    pub fn param_keys(&self) -> Vec<(ParamId, String)> {
        let mut lister = Lister {
            path: Path::default(),
            keys: Vec::new(),
        };
        self.visit(&mut lister);
        lister.keys
    }
}

impl<B: SsmBackend + AutodiffBackend> HybridModel<B> {
    /// The gradients that a backward pass left, as `f32`, named and laid out as in
    /// [`named_tensors`](Self::named_tensors); frozen and unused parameters are left out.
    pub fn named_gradients(&self, gradients: &B::Gradients) -> Vec<(String, TensorData)> {
        self::gradients(self, gradients)
    }
}

/// The gradients of all parameters of `module` that have one.
pub(crate) fn gradients<B: AutodiffBackend, M: Module<B>>(
    module: &M,
    gradients: &B::Gradients,
) -> Vec<(String, TensorData)> {
    let mut reader = GradientReader::<B> {
        path: Path::default(),
        gradients,
        tensors: Vec::new(),
    };
    module.visit(&mut reader);
    reader.tensors
}

/// Counts the bytes of all parameters.
#[derive(Default)]
struct Counter(usize);

impl<B: Backend> ModuleVisitor<B> for Counter {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        self.0 += bytes(&param.val());
    }
}

fn bytes<B: Backend, const D: usize>(tensor: &Tensor<B, D>) -> usize {
    tensor.shape().num_elements() * tensor.dtype().size()
}

fn to_file<B: Backend, const D: usize>(tensor: Tensor<B, D>, layout: FileLayout) -> TensorData {
    let held = tensor.dims();
    let data = tensor.into_data().convert::<f32>();
    let values = data.into_vec::<f32>().expect("converted to f32 above");
    TensorData::new(layout.to_file(values, &held), layout.file_shape(&held))
}

struct Reader {
    path: Path,
    tensors: Vec<(String, TensorData)>,
}

impl<B: Backend> ModuleVisitor<B> for Reader {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        self.tensors
            .push((self.path.key(), to_file(param.val(), self.path.layout())));
    }
}

struct Lister {
    path: Path,
    keys: Vec<(ParamId, String)>,
}

impl<B: Backend> ModuleVisitor<B> for Lister {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        self.keys.push((param.id, self.path.key()));
    }
}

struct GradientReader<'a, B: AutodiffBackend> {
    path: Path,
    gradients: &'a B::Gradients,
    tensors: Vec<(String, TensorData)>,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for GradientReader<'_, B> {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        if let Some(gradient) = param.val().grad(self.gradients) {
            self.tensors
                .push((self.path.key(), to_file(gradient, self.path.layout())));
        }
    }
}
