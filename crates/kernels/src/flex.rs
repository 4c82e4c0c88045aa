//! The CPU backend: host loops instead of tensor operations.

use crate::backend::{SsmBackend, StateSpaceGradients, StateSpaceOutput};
use crate::cached_attention::{self, CachedAttentionOperands, CachedAttentionProblem};
use crate::causal_conv1d::{self, CausalConv1dOperands, CausalConv1dProblem};
use crate::decode_step::{self, DecodeStepOperands, DecodeStepProblem};
use crate::gated_rms_norm::{self, GatedRmsNormOperands, GatedRmsNormProblem};
use crate::host::tensor::{Input, Updated, make};
use crate::masked_softmax::{self, MaskedSoftmaxProblem};
use crate::rms_norm::{self, RmsNormGradients, RmsNormOperands, RmsNormProblem};
use crate::rotary::{self, RotaryProblem};
use crate::selective_scan::{self, SelectiveScanOperands, SelectiveScanProblem};
use crate::ssd::{self, SsdOperands, SsdProblem};
use crate::swiglu::{self, SwigluOperands, SwigluProblem};
use crate::verify::{self, VerifyOperands, VerifyProblem};
use burn::tensor::{DType, Device, Shape};
use burn_flex::{Flex, FlexTensor};

/// Host views of the nine operands of a state-space operation, and of the reset.
struct StateSpaceInputs {
    operands: [Input; 9],
    reset: Option<Input>,
}

impl StateSpaceInputs {
    fn new(operands: [FlexTensor; 9], reset: Option<FlexTensor>) -> Self {
        Self {
            operands: operands.map(Input::new),
            reset: reset.map(Input::new),
        }
    }

    fn scan(&self) -> selective_scan::host::Operands<'_> {
        let [u, dt, a, b, c, d, z, dt_bias, initial_state] =
            self.operands.each_ref().map(Input::values);
        let reset = self.reset.as_ref().map(Input::values);
        selective_scan::host::Operands {
            u,
            dt,
            a,
            b,
            c,
            d,
            z,
            dt_bias,
            initial_state,
            reset,
        }
    }

    fn ssd(&self) -> ssd::host::Operands<'_> {
        let [x, dt, a, b, c, d, z, dt_bias, initial_state] =
            self.operands.each_ref().map(Input::values);
        let reset = self.reset.as_ref().map(Input::values);
        ssd::host::Operands {
            x,
            dt,
            a,
            b,
            c,
            d,
            z,
            dt_bias,
            initial_state,
            reset,
        }
    }

    /// Output tensors, in the type of the input.
    fn output(
        &self,
        y: Vec<f32>,
        last_state: Vec<f32>,
        state_shape: Shape,
        saved: Vec<f32>,
    ) -> StateSpaceOutput<Flex> {
        let saved = (!saved.is_empty()).then(|| {
            let shape = Shape::new([saved.len()]);
            make(saved, shape, DType::F32)
        });
        let last_state = make(last_state, state_shape, self.operands[0].dtype());
        StateSpaceOutput {
            y: self.operands[0].like(y),
            last_state,
            saved,
        }
    }

    /// Gradient tensors; an absent operand's placeholder goes back.
    fn gradients(self, gradients: [Vec<f32>; 9]) -> [FlexTensor; 9] {
        gradients_like(self.operands, gradients)
    }
}

/// Gradients shaped like their operands; an absent operand's placeholder goes back.
fn gradients_like<const N: usize>(
    operands: [Input; N],
    gradients: [Vec<f32>; N],
) -> [FlexTensor; N] {
    let mut gradients = gradients.into_iter();
    operands.map(|operand| match gradients.next() {
        Some(gradient) if !gradient.is_empty() => operand.like(gradient),
        _ => operand.into_tensor(),
    })
}

impl SsmBackend for Flex {
    fn cached_attention(
        operands: CachedAttentionOperands<Self>,
        problem: &CachedAttentionProblem,
    ) -> [FlexTensor; 3] {
        cached_attention::reference::forward_with::<Self>(operands, problem, |held, tokens| {
            let mut held = Updated::new(held);
            let tokens = Input::new(tokens);
            cached_attention::host::write(held.values(), tokens.values(), problem);
            held.finish()
        })
    }

    fn selective_scan_forward(
        operands: SelectiveScanOperands<Self>,
        reset: Option<FlexTensor>,
        problem: &SelectiveScanProblem,
        save: bool,
    ) -> StateSpaceOutput<Self> {
        let p = problem;
        let inputs = StateSpaceInputs::new(operands, reset);
        let mut y = vec![0.0; p.batch * p.seq * p.d_inner];
        let mut last_state = vec![0.0; p.batch * p.d_inner * p.d_state];
        let saved = if save {
            selective_scan::host::saved_length(p)
        } else {
            0
        };
        let mut saved = vec![0.0; saved];
        selective_scan::host::forward(&inputs.scan(), p, &mut y, &mut last_state, &mut saved);
        let state_shape = Shape::new([p.batch, p.d_inner, p.d_state]);
        inputs.output(y, last_state, state_shape, saved)
    }

    fn selective_scan_saved(
        _device: &Device<Self>,
        _dtypes: [DType; 9],
        _has_reset: bool,
        problem: &SelectiveScanProblem,
    ) -> Option<Shape> {
        Some(Shape::new([selective_scan::host::saved_length(problem)]))
    }

    fn selective_scan_backward(
        operands: SelectiveScanOperands<Self>,
        reset: Option<FlexTensor>,
        saved: Option<FlexTensor>,
        gradients: StateSpaceGradients<Self>,
        problem: &SelectiveScanProblem,
    ) -> SelectiveScanOperands<Self> {
        let saved = saved.or_else(|| {
            let (operands, reset) = (operands.clone(), reset.clone());
            Self::selective_scan_forward(operands, reset, problem, true).saved
        });
        let saved = Input::new(saved.expect("the forward pass saves when asked to"));
        let inputs = StateSpaceInputs::new(operands, reset);
        let (dy, dlast) = (
            gradients.y.map(Input::new),
            gradients.last_state.map(Input::new),
        );
        let g = selective_scan::host::backward(
            &inputs.scan(),
            problem,
            saved.values(),
            dy.as_ref().map(Input::values),
            dlast.as_ref().map(Input::values),
        );
        inputs.gradients([
            g.u,
            g.dt,
            g.a,
            g.b,
            g.c,
            g.d,
            g.z,
            g.dt_bias,
            g.initial_state,
        ])
    }

    fn ssd_forward(
        operands: SsdOperands<Self>,
        reset: Option<FlexTensor>,
        problem: &SsdProblem,
        save: bool,
    ) -> StateSpaceOutput<Self> {
        let p = problem;
        let inputs = StateSpaceInputs::new(operands, reset);
        let mut y = vec![0.0; p.batch * p.seq * p.nheads * p.headdim];
        let mut last_state = vec![0.0; p.batch * p.nheads * p.headdim * p.d_state];
        let mut saved = vec![0.0; if save { ssd::host::saved_length(p) } else { 0 }];
        ssd::host::forward(&inputs.ssd(), p, &mut y, &mut last_state, &mut saved);
        let state_shape = Shape::new([p.batch, p.nheads, p.headdim, p.d_state]);
        inputs.output(y, last_state, state_shape, saved)
    }

    fn ssd_saved(_dtype: DType, problem: &SsdProblem) -> Option<Shape> {
        Some(Shape::new([ssd::host::saved_length(problem)]))
    }

    fn ssd_backward(
        operands: SsdOperands<Self>,
        reset: Option<FlexTensor>,
        saved: Option<FlexTensor>,
        gradients: StateSpaceGradients<Self>,
        problem: &SsdProblem,
    ) -> SsdOperands<Self> {
        let saved = saved.or_else(|| {
            let (operands, reset) = (operands.clone(), reset.clone());
            Self::ssd_forward(operands, reset, problem, true).saved
        });
        let saved = Input::new(saved.expect("the forward pass saves when asked to"));
        let inputs = StateSpaceInputs::new(operands, reset);
        let (dy, dlast) = (
            gradients.y.map(Input::new),
            gradients.last_state.map(Input::new),
        );
        let g = ssd::host::backward(
            &inputs.ssd(),
            problem,
            saved.values(),
            dy.as_ref().map(Input::values),
            dlast.as_ref().map(Input::values),
        );
        inputs.gradients([
            g.x,
            g.dt,
            g.a,
            g.b,
            g.c,
            g.d,
            g.z,
            g.dt_bias,
            g.initial_state,
        ])
    }

    fn causal_conv1d_forward(
        operands: CausalConv1dOperands<Self>,
        reset: Option<FlexTensor>,
        problem: &CausalConv1dProblem,
    ) -> FlexTensor {
        let (operands, reset) = (operands.map(Input::new), reset.map(Input::new));
        let mut y = vec![0.0; problem.batch * problem.seq * problem.channels];
        causal_conv1d::host::forward(&conv(&operands, &reset), problem, &mut y);
        operands[0].like(y)
    }

    fn causal_conv1d_backward(
        operands: CausalConv1dOperands<Self>,
        reset: Option<FlexTensor>,
        gradient: FlexTensor,
        problem: &CausalConv1dProblem,
    ) -> CausalConv1dOperands<Self> {
        let (operands, reset) = (operands.map(Input::new), reset.map(Input::new));
        let dy = Input::new(gradient);
        let g = causal_conv1d::host::backward(&conv(&operands, &reset), problem, dy.values());
        gradients_like(operands, [g.x, g.weight, g.bias, g.initial_window])
    }

    fn gated_rms_norm_forward(
        operands: GatedRmsNormOperands<Self>,
        problem: &GatedRmsNormProblem,
    ) -> FlexTensor {
        let operands = operands.map(Input::new);
        let mut out = vec![0.0; problem.batch * problem.seq * problem.channels];
        gated_rms_norm::host::forward(&norm(&operands), problem, &mut out);
        operands[0].like(out)
    }

    fn gated_rms_norm_backward(
        operands: GatedRmsNormOperands<Self>,
        gradient: FlexTensor,
        problem: &GatedRmsNormProblem,
    ) -> GatedRmsNormOperands<Self> {
        let operands = operands.map(Input::new);
        let dout = Input::new(gradient);
        let g = gated_rms_norm::host::backward(&norm(&operands), problem, dout.values());
        gradients_like(operands, [g.y, g.z, g.weight])
    }

    fn masked_softmax_forward(
        scores: FlexTensor,
        first: Option<FlexTensor>,
        problem: &MaskedSoftmaxProblem,
    ) -> FlexTensor {
        let (mut scores, first) = (Updated::new(scores), first.map(Input::new));
        let first = first.as_ref().map(Input::values);
        masked_softmax::host::forward(scores.values(), first, problem);
        scores.finish()
    }

    fn masked_softmax_backward(
        weights: FlexTensor,
        first: Option<FlexTensor>,
        gradient: FlexTensor,
        problem: &MaskedSoftmaxProblem,
    ) -> FlexTensor {
        let (weights, first) = (Input::new(weights), first.map(Input::new));
        let mut gradient = Updated::new(gradient);
        let first = first.as_ref().map(Input::values);
        masked_softmax::host::backward(weights.values(), gradient.values(), first, problem);
        gradient.finish()
    }

    fn rms_norm_forward(operands: RmsNormOperands<Self>, problem: &RmsNormProblem) -> FlexTensor {
        let [x, weight] = operands.map(Input::new);
        let mut out = vec![0.0; x.values().len()];
        rms_norm::host::forward(x.values(), weight.values(), problem, &mut out);
        x.shaped_like(out, problem.dtype.into())
    }

    fn rms_norm_backward(
        operands: RmsNormOperands<Self>,
        gradient: FlexTensor,
        problem: &RmsNormProblem,
        weight_wanted: bool,
    ) -> RmsNormGradients<Self> {
        let [x, weight] = operands.map(Input::new);
        let dout = Input::new(gradient);
        let (dx, dweight) = rms_norm::host::backward(
            x.values(),
            weight.values(),
            problem,
            dout.values(),
            weight_wanted,
        );
        (x.like(dx), weight_wanted.then(|| weight.like(dweight)))
    }

    fn swiglu_forward(operands: SwigluOperands<Self>, _problem: &SwigluProblem) -> FlexTensor {
        let [gate, up] = operands.map(Input::new);
        let mut out = vec![0.0; gate.values().len()];
        swiglu::host::forward(gate.values(), up.values(), &mut out);
        gate.like(out)
    }

    fn swiglu_backward(
        operands: SwigluOperands<Self>,
        gradient: FlexTensor,
        _problem: &SwigluProblem,
    ) -> SwigluOperands<Self> {
        let [gate, up] = operands.map(Input::new);
        let dout = Input::new(gradient);
        let gradients = swiglu::host::backward(gate.values(), up.values(), dout.values());
        gradients_like([gate, up], gradients)
    }

    fn rotary(x: FlexTensor, angles: FlexTensor, problem: &RotaryProblem) -> FlexTensor {
        let (x, angles) = (Input::new(x), Input::new(angles));
        let mut out = vec![0.0; x.values().len()];
        rotary::host::forward(x.values(), angles.values(), problem, &mut out);
        make(out, problem.result(), x.dtype())
    }

    fn decode_step(
        operands: DecodeStepOperands<Self>,
        problem: &DecodeStepProblem,
    ) -> [FlexTensor; 3] {
        let [rows, conv_window, ssm_state, weights] = operands;
        let (rows, weights) = (Input::new(rows), Input::new(weights));
        let (mut window, mut state) = (Updated::new(conv_window), Updated::new(ssm_state));
        let mut y = vec![0.0; problem.batch * problem.d_inner()];
        let operands = decode_step::host::Operands {
            rows: rows.values(),
            packed: weights.values(),
        };
        decode_step::host::forward(&operands, problem, window.values(), state.values(), &mut y);
        let shape = Shape::new([problem.batch, problem.d_inner()]);
        let y = make(y, shape, rows.dtype());
        [y, window.finish(), state.finish()]
    }

    fn verify(operands: VerifyOperands<Self>, problem: &VerifyProblem) -> [FlexTensor; 4] {
        let [rows, states, conv_inputs, cache, kept, weights] = operands;
        let mut states = Updated::new(states);
        let [rows, conv_inputs, cache, kept, weights] =
            [rows, conv_inputs, cache, kept, weights].map(Input::new);
        let operands = verify::host::Operands {
            rows: rows.values(),
            conv_inputs: conv_inputs.values(),
            cache: cache.values(),
            kept: kept.values(),
            packed: weights.values(),
        };
        let results = verify::host::forward(&operands, problem, states.values());
        let shape = |last: usize, lines: usize| Shape::new([problem.step.batch, lines, last]);
        let step = &problem.step;
        let y = shape(step.d_inner(), problem.tokens);
        let lines = shape(step.conv_channels(), problem.next_conv_lines());
        let entries = shape(problem.cache_width(), problem.tokens);
        [
            make(results.y, y, rows.dtype()),
            states.finish(),
            make(results.conv_inputs, lines, conv_inputs.dtype()),
            make(results.cache, entries, DType::F32),
        ]
    }
}

fn conv<'a>(
    operands: &'a [Input; 4],
    reset: &'a Option<Input>,
) -> causal_conv1d::host::Operands<'a> {
    let [x, weight, bias, initial_window] = operands.each_ref().map(Input::values);
    let reset = reset.as_ref().map(Input::values);
    causal_conv1d::host::Operands {
        x,
        weight,
        bias,
        initial_window,
        reset,
    }
}

fn norm(operands: &[Input; 3]) -> gated_rms_norm::host::Operands<'_> {
    let [y, z, weight] = operands.each_ref().map(Input::values);
    gated_rms_norm::host::Operands { y, z, weight }
}
