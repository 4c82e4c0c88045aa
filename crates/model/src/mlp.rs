//! The gated MLP of a block (method 2.1, step 5).

use burn::module::Module;
use burn::nn::{Linear, RmsNorm};
use burn::tensor::{Tensor, backend::Backend};
use kernels::{FusedOutput, SsmBackend, swiglu};

use crate::params::{fused, lazy_linear, project};

/// `down(silu(gate(x)) * up(x))`, without biases.
#[derive(Module, Debug)]
pub struct Mlp<B: Backend> {
    gate_proj: Linear<B>,
    up_proj: Linear<B>,
    down_proj: Linear<B>,
}

impl<B: Backend> Mlp<B> {
    pub(crate) fn skeleton(d_model: usize, intermediate_size: usize, device: &B::Device) -> Self {
        Self {
            gate_proj: lazy_linear(d_model, intermediate_size, device),
            up_proj: lazy_linear(d_model, intermediate_size, device),
            down_proj: lazy_linear(intermediate_size, d_model, device),
        }
    }
}

impl<B: SsmBackend> Mlp<B> {
    /// `x` and the result: `[batch, seq, d_model]`.
    pub(crate) fn forward(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        let gate = project(&self.gate_proj, x.clone());
        let up = project(&self.up_proj, x);
        let gated = swiglu(gate, up).expect("both projections are of one width");
        project(&self.down_proj, gated)
    }

    /// Adds to `x`, `[batch, seq, d_model]`, what comes of its `norm`: the way of tokens that continue a cache.
    pub(crate) fn continued(&self, norm: &RmsNorm<B>, x: Tensor<B, 3>) -> Tensor<B, 3> {
        let weights = [&self.gate_proj, &self.up_proj].map(|layer| layer.weight.val());
        let gated = fused(Some(norm), x.clone(), weights, FusedOutput::Gated);
        let weight = self.down_proj.weight.val();
        fused(None, gated, [weight], FusedOutput::Added(x))
    }
}
