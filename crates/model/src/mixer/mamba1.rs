//! The Mamba1 mixer of the hybrids (method 2.4, scan 3.1).

use burn::module::{Module, Param};
use burn::nn::{Linear, RmsNorm};
use burn::tensor::{Tensor, backend::Backend};
use kernels::{
    DecodeState, DecodeStep, DecodeStepShape, DecodeStepWeights, FusedOutput, Kept,
    SelectiveScanInputs, SelectiveScanOutput, SsmBackend, selective_scan,
};

use super::depthwise_conv::DepthwiseConv;
use super::repeat::repeat_pieces;
use crate::cache::{SsmState, SsmStep};
use crate::config::{LlamaConfig, SsmConfig};
use crate::params::{
    fused, lazy, lazy_linear, lazy_linear_with, normalise, project, project_biased,
};

/// Selective scan whose input, write and read projections stand where value, key and query stood, with the biases of these where
/// there are any.
#[derive(Module, Debug)]
pub struct Mamba1<B: Backend> {
    in_proj_x: Linear<B>,
    in_proj_z: Linear<B>,
    b_proj: Linear<B>,
    c_proj: Linear<B>,
    conv1d: DepthwiseConv<B>,
    dt_proj_down: Linear<B>,
    dt_proj: Linear<B>,
    a_log: Param<Tensor<B, 2>>, // [d_inner, d_state]
    d: Param<Tensor<B, 1>>,     // [d_inner]
    out_proj: Linear<B>,
    d_state: usize,
    dt_bias_multiplicity: usize,
    repeat_width: usize,
    repeat_times: usize,
    repeat_before_conv: bool,
}

/// Inputs of the scan before the convolution.
struct Projected<B: Backend> {
    x: Tensor<B, 3>,
    z: Tensor<B, 3>,
    b: Tensor<B, 3>,
    c: Tensor<B, 3>,
    dt: Tensor<B, 3>,
}

impl<B: Backend> Mamba1<B> {
    pub(crate) fn skeleton(llama: &LlamaConfig, ssm: &SsmConfig, device: &B::Device) -> Self {
        let (d_model, d_inner, d_xb) = (llama.d_model, llama.d_inner(), llama.d_xb());
        let biased = |width| lazy_linear_with(ssm.in_proj_bias, d_model, width, device);
        Self {
            in_proj_x: biased(d_xb),
            in_proj_z: lazy_linear(d_model, d_inner, device),
            b_proj: biased(d_xb),
            c_proj: biased(d_inner),
            conv1d: DepthwiseConv::skeleton(ssm.conv_channels(llama), ssm.d_conv, device),
            dt_proj_down: lazy_linear(d_model, ssm.dt_rank, device),
            dt_proj: Linear {
                weight: lazy([ssm.dt_rank, d_inner], device),
                bias: Some(lazy([d_inner], device)),
            },
            a_log: lazy([d_inner, ssm.d_state], device),
            d: lazy([d_inner], device),
            out_proj: lazy_linear(d_inner, d_model, device),
            d_state: ssm.d_state,
            dt_bias_multiplicity: usize::from(ssm.dt_bias_multiplicity),
            repeat_width: ssm.repeat_width(llama),
            repeat_times: llama.heads_per_kv(),
            repeat_before_conv: ssm.repeat_kv_before_conv,
        }
    }

    fn repeat(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        repeat_pieces(x, self.repeat_width, self.repeat_times)
    }
}

impl<B: SsmBackend> Mamba1<B> {
    fn project_inputs(&self, h: Tensor<B, 3>) -> Projected<B> {
        let x = project_biased(&self.in_proj_x, h.clone());
        Projected {
            x: if self.repeat_before_conv {
                self.repeat(x)
            } else {
                x
            },
            z: project(&self.in_proj_z, h.clone()),
            b: self.repeat(project_biased(&self.b_proj, h.clone())),
            c: project_biased(&self.c_proj, h.clone()),
            dt: project(&self.dt_proj, project(&self.dt_proj_down, h)),
        }
    }

    /// The bias as the scan adds it: published models add it twice (method 2.4, quirk 1).
    fn dt_bias(&self) -> Tensor<B, 1> {
        let bias = self.dt_proj.bias.as_ref().expect("built with a bias").val();
        if self.dt_bias_multiplicity == 1 {
            bias
        } else {
            bias.mul_scalar(self.dt_bias_multiplicity as f64)
        }
    }

    fn a(&self) -> Tensor<B, 2> {
        self.a_log.val().exp().neg()
    }
}

impl<B: SsmBackend> Mamba1<B> {
    /// `h` and the result: `[batch, seq, d_model]`; `reset` is 1.0 where a document starts, `[batch, seq]`.
    pub(crate) fn forward(&self, h: Tensor<B, 3>, reset: Option<Tensor<B, 2>>) -> Tensor<B, 3> {
        let inputs = self.project_inputs(h);
        let conv = self.conv1d.forward(inputs.x.clone(), None, reset.clone());
        self.output(self.scan(conv.y, inputs, None, reset).y)
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
        let inputs = self.project_inputs(h);
        let memory = state.take();
        let conv = self
            .conv1d
            .forward(inputs.x.clone(), Some(memory.conv_window), None);
        let scan = self.scan(conv.y, inputs, Some(memory.ssm_state), None);
        state.settle(DecodeState {
            conv_window: conv.last_window,
            ssm_state: scan.last_state,
        });
        x + self.output(scan.y)
    }

    fn scan(
        &self,
        x: Tensor<B, 3>,
        inputs: Projected<B>,
        initial_state: Option<Tensor<B, 3>>,
        reset: Option<Tensor<B, 2>>,
    ) -> SelectiveScanOutput<B> {
        let u = if self.repeat_before_conv {
            x
        } else {
            self.repeat(x)
        };
        let [batch, seq, d_inner] = u.dims();
        let grouped = [batch, seq, d_inner / self.d_state, self.d_state];
        let inputs = SelectiveScanInputs {
            u,
            dt: inputs.dt,
            a: self.a(),
            b: inputs.b.reshape(grouped),
            c: inputs.c.reshape(grouped),
            d: Some(self.d.val()),
            z: Some(inputs.z),
            dt_bias: Some(self.dt_bias()),
            initial_state,
            reset,
        };
        selective_scan(inputs, true).expect("shapes follow from the checked configuration")
    }

    fn ssm_step(&self) -> SsmStep<B> {
        let (conv_weight, conv_bias) = self.conv1d.weights();
        let projections = [
            &self.in_proj_z,
            &self.in_proj_x,
            &self.b_proj,
            &self.c_proj,
            &self.dt_proj_down,
        ];
        let is_biased = self.in_proj_x.bias.is_some();
        let bias = |layer: &Linear<B>| match &layer.bias {
            Some(bias) => bias.val(),
            None => Tensor::zeros([layer.weight.dims()[1]], &layer.weight.device()),
        };
        let [d_inner, _] = self.a_log.dims();
        let d_xb = d_inner / self.repeat_times;
        let shape = DecodeStepShape {
            headdim: 1,
            d_state: self.d_state,
            x_width: d_xb,
            b_width: d_xb,
            c_width: d_inner,
            repeat_width: self.repeat_width,
            repeat_before_conv: self.repeat_before_conv,
            conv_covers_bc: false,
            has_z: true,
            eps: 0.0,
        };
        let weights = DecodeStepWeights {
            conv_weight,
            conv_bias: Some(conv_bias),
            dt_weight: Some(self.dt_proj.weight.val()),
            dt_bias: Some(self.dt_bias()),
            a: self.a(),
            d: Some(self.d.val()),
            norm_weight: None,
        };
        SsmStep {
            in_proj: {
                let weights = projections.map(|layer| layer.weight.val().dequantize());
                Tensor::cat(weights.into(), 1)
            },
            in_proj_bias: is_biased.then(|| Tensor::cat(projections.map(bias).into(), 0)),
            step: DecodeStep::new(shape, weights)
                .expect("shapes follow from the checked configuration"),
        }
    }

    fn output(&self, y: Tensor<B, 3>) -> Tensor<B, 3> {
        project(&self.out_proj, y)
    }
}
