//! Parameters by their Hugging Face key: out, in, gradients, freezing.

mod apart;
mod assign;
mod frozen;
mod key;
mod quantized;
mod read;

pub(crate) use assign::assign;
#[cfg(test)]
pub(crate) use read::gradients;

use burn::module::{Param, ParamId};
use burn::nn::{Linear, RmsNorm};
use burn::tensor::{FloatDType, Shape, Tensor, backend::Backend};
use kernels::{FusedLinearInputs, FusedOutput, SsmBackend, fused_linear, product, rms_norm};

/// A parameter that is allocated, as zeros, only if nothing is assigned to it.
pub(crate) fn lazy<B: Backend, const D: usize>(
    shape: [usize; D],
    device: &B::Device,
) -> Param<Tensor<B, D>> {
    Param::uninitialized(
        ParamId::new(),
        move |device, require_grad| Tensor::zeros(shape, device).set_require_grad(require_grad),
        device.clone(),
        true,
        Shape::from(shape),
    )
}

/// A projection without bias; the weight is held `[d_input, d_output]`.
pub(crate) fn lazy_linear<B: Backend>(
    d_input: usize,
    d_output: usize,
    device: &B::Device,
) -> Linear<B> {
    Linear {
        weight: lazy([d_input, d_output], device),
        bias: None,
    }
}

/// A projection with a bias, `[d_output]`, if it `is_biased`.
pub(crate) fn lazy_linear_with<B: Backend>(
    is_biased: bool,
    d_input: usize,
    d_output: usize,
    device: &B::Device,
) -> Linear<B> {
    Linear {
        bias: is_biased.then(|| lazy([d_output], device)),
        ..lazy_linear(d_input, d_output, device)
    }
}

pub(crate) fn lazy_norm<B: Backend>(width: usize, epsilon: f64, device: &B::Device) -> RmsNorm<B> {
    RmsNorm {
        gamma: lazy([width], device),
        epsilon,
    }
}

/// Applies the weight of `layer`, never its bias, to every token of `x`, `[batch, seq, d_input]`.
///
/// Batch and sequence are one dimension meanwhile: one matrix product forward, and one, not one a
/// sequence, for the gradient of the weight. The product is computed in the type of `x`; the gradient of the weight
/// comes back in the weight's.
pub(crate) fn project<B: SsmBackend>(layer: &Linear<B>, x: Tensor<B, 3>) -> Tensor<B, 3> {
    let weight = layer.weight.val().cast(FloatDType::from(x.dtype()));
    let [batch, seq, d_input] = x.dims();
    let [_, d_output] = weight.dims();
    let product = product(x.reshape([batch * seq, d_input]), weight);
    product
        .expect("a projection takes as many channels as it gets")
        .reshape([batch, seq, d_output])
}

/// As [`project`], with the bias if there is one.
pub(crate) fn project_biased<B: SsmBackend>(layer: &Linear<B>, x: Tensor<B, 3>) -> Tensor<B, 3> {
    add_bias(
        project(layer, x),
        layer.bias.as_ref().map(|bias| bias.val()),
    )
}

/// Adds `bias`, `[channels]`, if there is one to every token of `x`, `[batch, seq, channels]`, in the type of `x`.
pub(crate) fn add_bias<B: Backend>(x: Tensor<B, 3>, bias: Option<Tensor<B, 1>>) -> Tensor<B, 3> {
    match bias {
        Some(bias) => {
            let bias = bias.cast(FloatDType::from(x.dtype()));
            x + bias.unsqueeze()
        }
        None => x,
    }
}

/// `norm` of every token of `x`, `[batch, seq, d_model]`, in `dtype` or in the type of `x`.
pub(crate) fn normalise<B: SsmBackend>(
    norm: &RmsNorm<B>,
    x: Tensor<B, 3>,
    dtype: Option<FloatDType>,
) -> Tensor<B, 3> {
    rms_norm(x, norm.gamma.val(), norm.epsilon, dtype).expect("norms are as wide as the stream")
}

/// Products of a row for each token of `x`, `[batch, seq, d_input]`, or of its `norm`, with weights `[d_input, d_output]`: one
/// launch where tokens are few.
pub(crate) fn fused<B: SsmBackend, const N: usize>(
    norm: Option<&RmsNorm<B>>,
    x: Tensor<B, 3>,
    weights: [Tensor<B, 2>; N],
    output: FusedOutput<B>,
) -> Tensor<B, 3> {
    let inputs = FusedLinearInputs {
        x,
        norm: norm.map(|norm| (norm.gamma.val(), norm.epsilon)),
        weights: weights.into(),
        output,
    };
    fused_linear(inputs).expect("shapes follow from the checked configuration")
}
