//! A training pass that keeps of each block its input alone, and runs the block once more on the way back (activation
//! checkpointing, arXiv 1604.06174).
//!
//! Memory falls from all that the blocks' operations save to one residual stream a block and what a single block saves, for
//! one more forward pass. The blocks are the same in both passes, so gradients are those of the whole tape, to the bit where
//! a backend's operations repeat themselves.
//!
//! A tape is locked while it goes back, so no node of it can run another: the blocks' tapes follow one another after the
//! loss's own.

use burn::backend::Autodiff;
use burn::module::{AutodiffModule, Module, ModuleVisitor, Param};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Int, Tensor};
use kernels::SsmBackend;

use crate::documents::Documents;
use crate::hybrid::HybridModel;
use crate::params::normalise;

/// What a backward pass leaves.
type Gradients<B> = <Autodiff<B> as AutodiffBackend>::Gradients;

/// A student on a batch in training.
#[derive(Debug)]
pub struct TrainingPass<B: SsmBackend> {
    /// The residual stream after the final norm, `[batch, seq, d_model]`, on the tape.
    pub hidden: Tensor<Autodiff<B>, 3>,
    /// The blocks, where they are not on the tape.
    pub blocks: Option<CheckpointedBlocks<B>>,
}

/// Blocks that are not on the tape of a loss: their inputs, and where that tape ends.
#[derive(Debug)]
pub struct CheckpointedBlocks<B: SsmBackend> {
    tokens: Tensor<B, 2, Int>,
    documents: Option<Documents<B>>,
    /// First block with something to train.
    first: usize,
    /// Into that block and each after it, `[batch, seq, d_model]`.
    inputs: Vec<Tensor<B, 3>>,
    /// After the last block: a leaf of the loss's tape.
    stream: Tensor<Autodiff<B>, 3>,
}

impl<B: SsmBackend> HybridModel<Autodiff<B>> {
    /// As [`hidden_packed`](Self::hidden_packed), with the blocks on the tape or, where the model
    /// [is checkpointed](Self::checkpointed), beside it.
    ///
    /// # Panics
    /// As there.
    pub fn training_pass(
        &self,
        tokens: Tensor<B, 2, Int>,
        documents: Option<Documents<B>>,
    ) -> TrainingPass<B> {
        if !self.is_checkpointed {
            let documents = documents.map(Documents::on_tape);
            return TrainingPass {
                hidden: self.hidden_packed(Tensor::from_inner(tokens), documents.as_ref()),
                blocks: None,
            };
        }
        let frozen = self.valid();
        let context = frozen.context(tokens.dims(), documents.as_ref(), &tokens.device());
        let first = self.first_trained();
        let mut inputs = Vec::with_capacity(self.layers.len() - first);
        let mut x = frozen.embed_tokens.forward(tokens.clone());
        for (layer_idx, block) in frozen.layers.iter().enumerate() {
            if layer_idx >= first {
                inputs.push(x.clone());
            }
            x = block.forward(x, &context);
        }
        let stream = Tensor::from_inner(x).require_grad();
        TrainingPass {
            hidden: normalise(&self.norm, stream.clone(), None),
            blocks: Some(CheckpointedBlocks {
                tokens,
                documents,
                first,
                inputs,
                stream,
            }),
        }
    }

    /// First block that a gradient is for, itself or on its way to the embedding; `n_layers` if there is none.
    fn first_trained(&self) -> usize {
        if is_trained(&self.embed_tokens) {
            return 0;
        }
        let first = self.layers.iter().position(is_trained);
        first.unwrap_or(self.layers.len())
    }
}

impl<B: SsmBackend> CheckpointedBlocks<B> {
    /// First layer whose output has numbers that are not finite; one before the first with something to train counts as that
    /// one. One read from the device.
    pub fn first_not_finite(&self) -> Option<usize> {
        let stream = self.stream.clone().inner();
        let outputs = self.inputs.iter().skip(1).cloned().chain([stream]);
        // Zero times anything finite is zero, and not a number otherwise.
        let zeros: Vec<_> = outputs.map(|output| (output * 0.0).sum()).collect();
        let zeros = Tensor::cat(zeros, 0).into_data();
        let index = zeros.iter::<f64>().position(|zero| !zero.is_finite())?;
        // With nothing to train there is no input, and the end is that of the last block.
        Some(self.first + index - usize::from(self.inputs.is_empty()))
    }

    /// Goes back through the blocks of `model`, from the gradients of the loss's own backward pass.
    ///
    /// `gradients_of` gets the gradients of the loss's tape, then those of each block from the last to the first one with
    /// something to train, then those of the embedding: a parameter may be in more than one of them.
    pub fn backward(
        self,
        model: &HybridModel<Autodiff<B>>,
        mut gradients: Gradients<B>,
        mut gradients_of: impl FnMut(Gradients<B>),
    ) {
        let gradient = self.stream.grad_remove(&mut gradients);
        gradients_of(gradients);
        let Some(mut gradient) = gradient else {
            return;
        };
        let (dims, device) = (self.tokens.dims(), self.tokens.device());
        let documents = self.documents.map(Documents::on_tape);
        let context = model.context(dims, documents.as_ref(), &device);
        let trains_embedding = is_trained(&model.embed_tokens);
        for (index, input) in self.inputs.into_iter().enumerate().rev() {
            let is_end = index == 0 && !trains_embedding;
            let x = Tensor::from_inner(input).set_require_grad(!is_end);
            let y = model.layers[self.first + index].forward(x.clone(), &context);
            let mut found = pulled_back(y, gradient);
            let of_input = x.grad_remove(&mut found);
            gradients_of(found);
            match of_input {
                Some(of_input) => gradient = of_input,
                None => return,
            }
        }
        if trains_embedding {
            let x = model.embed_tokens.forward(Tensor::from_inner(self.tokens));
            gradients_of(pulled_back(x, gradient));
        }
    }
}

/// Gradients of what `output` was made from, by the gradient of a loss with respect to `output`.
fn pulled_back<B: SsmBackend>(
    output: Tensor<Autodiff<B>, 3>,
    gradient: Tensor<B, 3>,
) -> Gradients<B> {
    (output * Tensor::from_inner(gradient)).sum().backward()
}

/// Whether any parameter of a module takes gradients.
fn is_trained<B: Backend, M: Module<B>>(module: &M) -> bool {
    struct Any(bool);
    impl<B: Backend> ModuleVisitor<B> for Any {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
            self.0 |= param.val().is_require_grad();
        }
    }
    let mut any = Any(false);
    module.visit(&mut any);
    any.0
}
