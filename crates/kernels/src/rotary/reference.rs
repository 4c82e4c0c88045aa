//! The rotation in plain tensor operations (method 2.1, step 3).

use super::RotaryProblem;
use crate::primitive::{unwrap, wrap};
use burn::tensor::{FloatDType, Tensor, backend::Backend, ops::FloatTensor};

/// [`rotary`](super::rotary()) on primitives, either way; differentiable when `B` is.
pub fn forward<B: Backend>(
    x: FloatTensor<B>,
    angles: FloatTensor<B>,
    p: &RotaryProblem,
) -> FloatTensor<B> {
    match p.is_inverse {
        true => {
            let x = wrap::<B, 4>(x);
            let turned = turn(x, angles, p).swap_dims(1, 2);
            unwrap(turned.reshape([p.batch, p.seq, p.heads * p.head_dim]))
        }
        false => {
            let x = wrap::<B, 3>(x).reshape([p.batch, p.seq, p.heads, p.head_dim]);
            unwrap(turn(x.swap_dims(1, 2), angles, p))
        }
    }
}

/// `[batch, heads, seq, head_dim]`, turned.
fn turn<B: Backend>(x: Tensor<B, 4>, angles: FloatTensor<B>, p: &RotaryProblem) -> Tensor<B, 4> {
    let dtype = FloatDType::from(x.dtype());
    let half = p.head_dim / 2;
    let x = x.cast(FloatDType::F32);
    let angles = wrap::<B, 3>(angles).unsqueeze_dim::<4>(1);
    let (cos, sin) = (
        angles.clone().narrow(3, 0, half),
        angles.narrow(3, half, half),
    );
    let sin = if p.is_inverse { sin.neg() } else { sin };
    let (first, second) = (x.clone().narrow(3, 0, half), x.narrow(3, half, half));
    let turned = vec![
        first.clone() * cos.clone() - second.clone() * sin.clone(),
        second * cos + first * sin,
    ];
    Tensor::cat(turned, 3).cast(dtype)
}
