//! The Mamba2 mixer of the hybrids (method 2.5, scan 3.2).

use burn::module::{Module, Param};
use burn::nn::{Linear, RmsNorm};
use burn::tensor::{Tensor, backend::Backend};
use kernels::{
    DecodeState, DecodeStep, DecodeStepShape, DecodeStepWeights, FusedOutput, Kept, SsdInputs,
    SsdOptions, SsmBackend, gated_rms_norm, ssd,
};

use super::depthwise_conv::DepthwiseConv;
use super::repeat::repeat_pieces;
use crate::cache::{SsmState, SsmStep};
use crate::config::{LlamaConfig, SsmConfig};
use crate::params::{
    fused, lazy, lazy_linear, lazy_linear_with, lazy_norm, normalise, project, project_biased,
};

/// Epsilon of the gated norm, whatever the epsilon of the Transformer.
const GATED_NORM_EPS: f64 = 1e-5;

/// State-space duality with one head per query head; `in_proj` holds rows for z, x, B, C and dt, and where attention had biases one
/// for each row.
#[derive(Module, Debug)]
pub struct Mamba2<B: Backend> {
    in_proj: Linear<B>,
    conv1d: DepthwiseConv<B>,
    dt_bias: Param<Tensor<B, 1>>, // [nheads]
    a_log: Param<Tensor<B, 1>>,   // [nheads]
    d: Param<Tensor<B, 1>>,       // [nheads]
    norm: RmsNorm<B>,
    out_proj: Linear<B>,
    d_xb: usize,
    nheads: usize,
    headdim: usize,
    chunk_size: usize,
    repeat_width: usize,
    repeat_times: usize,
    repeat_before_conv: bool,
}

/// Inputs of the scan.
struct ScanInputs<B: Backend> {
    x: Tensor<B, 3>,  // [batch, seq, d_inner]
    b: Tensor<B, 3>,  // [batch, seq, d_inner]
    c: Tensor<B, 3>,  // [batch, seq, d_inner]
    dt: Tensor<B, 3>, // [batch, seq, nheads]
}

impl<B: Backend> Mamba2<B> {
    pub(crate) fn skeleton(llama: &LlamaConfig, ssm: &SsmConfig, device: &B::Device) -> Self {
        let (d_model, d_inner, d_xb) = (llama.d_model, llama.d_inner(), llama.d_xb());
        let nheads = llama.n_heads;
        Self {
            in_proj: {
                let rows = 2 * d_inner + 2 * d_xb + nheads;
                lazy_linear_with(ssm.in_proj_bias, d_model, rows, device)
            },
            conv1d: DepthwiseConv::skeleton(ssm.conv_channels(llama), ssm.d_conv, device),
            dt_bias: lazy([nheads], device),
            a_log: lazy([nheads], device),
            d: lazy([nheads], device),
            norm: lazy_norm(d_inner, GATED_NORM_EPS, device),
            out_proj: lazy_linear(d_inner, d_model, device),
            d_xb,
            nheads,
            headdim: llama.head_dim,
            chunk_size: ssm.chunk_size,
            repeat_width: ssm.repeat_width(llama),
            repeat_times: llama.heads_per_kv(),
            repeat_before_conv: ssm.repeat_kv_before_conv,
        }
    }

    fn d_inner(&self) -> usize {
        self.nheads * self.headdim
    }

    fn repeat(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        repeat_pieces(x, self.repeat_width, self.repeat_times)
    }
}

impl<B: SsmBackend> Mamba2<B> {
    /// Gate, input of the convolution and raw step sizes.
    fn project_inputs(&self, h: Tensor<B, 3>) -> (Tensor<B, 3>, Tensor<B, 3>, Tensor<B, 3>) {
        let (d_inner, d_xb) = (self.d_inner(), self.d_xb);
        let conv_width = d_inner + 2 * d_xb;
        let rows = project_biased(&self.in_proj, h);
        let z = rows.clone().narrow(2, 0, d_inner);
        let mut xbc = rows.clone().narrow(2, d_inner, conv_width);
        let dt = rows.narrow(2, d_inner + conv_width, self.nheads);
        if self.repeat_before_conv && self.repeat_times > 1 {
            // x and B have the same width and the same repeat.
            let xb = self.repeat(xbc.clone().narrow(2, 0, 2 * d_xb));
            xbc = Tensor::cat(vec![xb, xbc.narrow(2, 2 * d_xb, d_inner)], 2);
        }
        (z, xbc, dt)
    }

    /// Cuts the result of the convolution into x, B and C of query width.
    fn split(&self, xbc: Tensor<B, 3>, dt: Tensor<B, 3>) -> ScanInputs<B> {
        let d_inner = self.d_inner();
        let narrow_width = if self.repeat_before_conv {
            d_inner
        } else {
            self.d_xb
        };
        let mut x = xbc.clone().narrow(2, 0, narrow_width);
        let mut b = xbc.clone().narrow(2, narrow_width, narrow_width);
        let c = xbc.narrow(2, 2 * narrow_width, d_inner);
        if !self.repeat_before_conv {
            x = self.repeat(x);
            b = self.repeat(b);
        }
        ScanInputs { x, b, c, dt }
    }

    fn a(&self) -> Tensor<B, 1> {
        self.a_log.val().exp().neg()
    }
}

impl<B: SsmBackend> Mamba2<B> {
    /// `h` and the result: `[batch, seq, d_model]`; `reset` is 1.0 where a document starts, `[batch, seq]`.
    pub(crate) fn forward(&self, h: Tensor<B, 3>, reset: Option<Tensor<B, 2>>) -> Tensor<B, 3> {
        let (z, xbc, dt) = self.project_inputs(h);
        let inputs = self.split(self.conv1d.forward(xbc, None, reset.clone()).y, dt);
        let (y, _) = self.scan(inputs, None, reset);
        self.output(y, z)
    }

    /// Adds to `x`, `[batch, seq, d_model]`, what the mixer finds in its `norm`, continuing from `state` and updating it; with `kept` as
    /// [`SsmState::run`] says.
    pub(crate) fn continued(
        &self,
        norm: &RmsNorm<B>,
        x: Tensor<B, 3>,
        state: &mut SsmState<B>,
        kept: Option<&Kept<B>>,
    ) -> Tensor<B, 3> {
        if x.dims()[1] == 1 || kept.is_some() {
            let y = state.run(norm, x.clone(), kept, || self.ssm_step());
            let weight = self.out_proj.weight.val();
            return fused(None, y, [weight], FusedOutput::Added(x));
        }
        let h = normalise(norm, x.clone(), None);
        let (z, xbc, dt) = self.project_inputs(h);
        let memory = state.take();
        let conv = self.conv1d.forward(xbc, Some(memory.conv_window), None);
        let inputs = self.split(conv.y, dt);
        let [batch, d_inner, d_state] = memory.ssm_state.dims();
        let by_head = [batch, self.nheads, self.headdim, d_state];
        let ssm_state = memory.ssm_state.reshape(by_head);
        let (y, last_state) = self.scan(inputs, Some(ssm_state), None);
        state.settle(DecodeState {
            conv_window: conv.last_window,
            ssm_state: last_state.reshape([batch, d_inner, d_state]),
        });
        x + self.output(y, z)
    }

    fn scan(
        &self,
        inputs: ScanInputs<B>,
        initial_state: Option<Tensor<B, 4>>,
        reset: Option<Tensor<B, 2>>,
    ) -> (Tensor<B, 3>, Tensor<B, 4>) {
        let [batch, seq, d_inner] = inputs.x.dims();
        let by_head = [batch, seq, self.nheads, self.headdim];
        let inputs = SsdInputs {
            x: inputs.x.reshape(by_head),
            dt: inputs.dt,
            a: self.a(),
            b: inputs.b.reshape(by_head),
            c: inputs.c.reshape(by_head),
            d: Some(self.d.val()),
            z: None,
            dt_bias: Some(self.dt_bias.val()),
            initial_state,
            reset,
        };
        let options = SsdOptions {
            dt_softplus: true,
            chunk_size: self.chunk_size,
        };
        let output = ssd(inputs, options).expect("shapes follow from the checked configuration");
        (output.y.reshape([batch, seq, d_inner]), output.last_state)
    }

    fn ssm_step(&self) -> SsmStep<B> {
        let (conv_weight, conv_bias) = self.conv1d.weights();
        let shape = DecodeStepShape {
            headdim: self.headdim,
            d_state: self.headdim,
            x_width: self.d_xb,
            b_width: self.d_xb,
            c_width: self.d_inner(),
            repeat_width: self.repeat_width,
            repeat_before_conv: self.repeat_before_conv,
            conv_covers_bc: true,
            has_z: true,
            eps: self.norm.epsilon,
        };
        let weights = DecodeStepWeights {
            conv_weight,
            conv_bias: Some(conv_bias),
            dt_weight: None,
            dt_bias: Some(self.dt_bias.val()),
            a: self.a().reshape([self.nheads, 1]),
            d: Some(self.d.val()),
            norm_weight: Some(self.norm.gamma.val()),
        };
        SsmStep {
            in_proj: self.in_proj.weight.val(),
            in_proj_bias: self.in_proj.bias.as_ref().map(|bias| bias.val()),
            step: DecodeStep::new(shape, weights)
                .expect("shapes follow from the checked configuration"),
        }
    }

    fn output(&self, y: Tensor<B, 3>, z: Tensor<B, 3>) -> Tensor<B, 3> {
        let weight = self.norm.gamma.val();
        let normed = gated_rms_norm(y, z, weight, self.headdim, self.norm.epsilon)
            .expect("the head width divides the channels");
        project(&self.out_proj, normed)
    }
}
