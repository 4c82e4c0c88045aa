//! The fused products as a norm, products of matrices and what follows.

use super::{FusedLinearOperands, FusedLinearProblem, FusedOutputKind};
use crate::backend::SsmBackend;
use crate::primitive::{unwrap, wrap};
use crate::{product, rms_norm, swiglu};
use burn::tensor::{FloatDType, Tensor, ops::FloatTensor};

/// [`fused_linear`](super::fused_linear()) on primitives, by other operations of the backend; differentiable when these are.
pub fn forward<B: SsmBackend>(
    operands: FusedLinearOperands<B>,
    p: &FusedLinearProblem,
) -> FloatTensor<B> {
    forward_in(None, operands, p)
}

/// As [`forward()`], with products in another type than that of `x`.
pub(crate) fn forward_in<B: SsmBackend>(
    compute: Option<FloatDType>,
    operands: FusedLinearOperands<B>,
    p: &FusedLinearProblem,
) -> FloatTensor<B> {
    let mut x = wrap::<B, 3>(operands.x);
    let dtype = FloatDType::from(x.dtype());
    let compute = compute.unwrap_or(dtype);
    if let (Some(weight), Some(eps)) = (operands.norm, p.eps) {
        x = rms_norm(x, wrap(weight), eps, Some(compute)).expect("checked with the other shapes");
    }
    let x = x.cast(compute).reshape([p.rows(), p.d_input]);
    let multiply = |weight: FloatTensor<B>| -> Tensor<B, 3> {
        let weight = wrap::<B, 2>(weight).cast(compute);
        let [_, d_output] = weight.dims();
        let out = product(x.clone(), weight).expect("checked with the other shapes");
        out.reshape([p.batch, p.seq, d_output]).cast(dtype)
    };
    let mut products: Vec<_> = (operands.weights.into_iter().flatten().map(multiply)).collect();
    unwrap(match (p.output, operands.residual) {
        (FusedOutputKind::Gated, _) => {
            let up = products.pop().expect("two products");
            let gate = products.pop().expect("two products");
            swiglu(gate, up).expect("products of one shape")
        }
        (FusedOutputKind::Added, Some(residual)) => wrap::<B, 3>(residual) + products.remove(0),
        _ if products.len() == 1 => products.remove(0),
        _ => Tensor::cat(products, 2),
    })
}
