//! The gate in plain tensor operations (method 2.1, step 5).

use super::SwigluOperands;
use crate::activation::{silu, silu_derivative};
use crate::primitive::{unwrap, wrap};
use burn::tensor::{FloatDType, Tensor, backend::Backend, ops::FloatTensor};

/// Forward of [`swiglu`](super::swiglu()) on primitives; differentiable when `B` is.
pub fn forward<B: Backend>(operands: SwigluOperands<B>) -> FloatTensor<B> {
    let [gate, up] = operands.map(wrap::<B, 3>);
    let dtype = FloatDType::from(gate.dtype());
    unwrap((silu(in_f32(gate)) * in_f32(up)).cast(dtype))
}

/// Gradients of [`swiglu`](super::swiglu()) with respect to its operands.
pub fn backward<B: Backend>(
    operands: SwigluOperands<B>,
    gradient: FloatTensor<B>,
) -> SwigluOperands<B> {
    let [gate, up] = operands.map(wrap::<B, 3>);
    let dtypes = [&gate, &up].map(|operand| FloatDType::from(operand.dtype()));
    let (gate, up, dout) = (in_f32(gate), in_f32(up), in_f32(wrap(gradient)));
    let dgate = dout.clone() * up * silu_derivative(gate.clone());
    let dup = dout * silu(gate);
    [unwrap(dgate.cast(dtypes[0])), unwrap(dup.cast(dtypes[1]))]
}

fn in_f32<B: Backend>(tensor: Tensor<B, 3>) -> Tensor<B, 3> {
    tensor.cast(FloatDType::F32)
}
