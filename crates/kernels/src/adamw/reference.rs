//! The step in plain tensor operations (method 4.2).

use super::{AdamwOperands, AdamwResults, AdamwStep};
use burn::tensor::{FloatDType, Scalar, backend::Backend};

/// One step of [`adamw`](super::adamw()) on primitives, in the order of operations of burn's `AdamW`.
pub fn step<B: Backend>(operands: AdamwOperands<B>, step: &AdamwStep) -> AdamwResults<B> {
    let [parameter, gradient, moment_1, moment_2] =
        operands.map(|operand| B::float_cast(operand, FloatDType::F32));
    let scaled = |tensor, factor: f32| B::float_mul_scalar(tensor, Scalar::from(factor));
    let squared = B::float_mul(gradient.clone(), gradient.clone());
    let moment_1 = B::float_add(
        scaled(moment_1, step.beta_1),
        scaled(gradient, 1.0 - step.beta_1),
    );
    let moment_2 = B::float_add(
        scaled(moment_2, step.beta_2),
        scaled(squared, 1.0 - step.beta_2),
    );
    let [first, second] = step.corrections().map(Scalar::from);
    let mean = B::float_div_scalar(moment_1.clone(), first);
    let root = B::float_sqrt(B::float_div_scalar(moment_2.clone(), second));
    let delta = B::float_div(mean, B::float_add_scalar(root, Scalar::from(step.epsilon)));
    let kept = match step.kept() {
        1.0 => parameter,
        kept => B::float_mul_scalar(parameter, Scalar::from(kept)),
    };
    let parameter = B::float_sub(kept, B::float_mul_scalar(delta, Scalar::from(step.lr)));
    [parameter, moment_1, moment_2]
}
