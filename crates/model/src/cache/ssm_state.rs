//! The fixed-size memory of an SSM layer.

use burn::tensor::{Tensor, backend::Backend};

/// Memory of a Mamba1 layer.
#[derive(Clone, Debug)]
pub struct Mamba1State<B: Backend> {
    /// Last raw inputs of the convolution, oldest first, `[batch, d_conv - 1, channels]`
    pub conv_window: Tensor<B, 3>,
    /// State after the last token, `[batch, d_inner, d_state]`
    pub ssm_state: Tensor<B, 3>,
}

/// Memory of a Mamba2 layer.
#[derive(Clone, Debug)]
pub struct Mamba2State<B: Backend> {
    /// Last raw inputs of the convolution, oldest first, `[batch, d_conv - 1, channels]`
    pub conv_window: Tensor<B, 3>,
    /// State after the last token, `[batch, nheads, headdim, d_state]`
    pub ssm_state: Tensor<B, 4>,
}
