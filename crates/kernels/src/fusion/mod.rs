//! Backends behind burn-fusion, which queues operations and fuses neighbours where it can: each of our operations is
//! one call of the inner backend in the queue.

mod queued;
#[cfg(all(test, feature = "flex", feature = "wgpu"))]
mod tests;

use crate::adamw::{AdamwOperands, AdamwResults, AdamwStep};
use crate::backend::{DeviceMemory, SsmBackend, StateSpaceGradients, StateSpaceOutput};
use crate::cached_attention::{CachedAttentionOperands, CachedAttentionProblem};
use crate::causal_conv1d::{CausalConv1dOperands, CausalConv1dProblem};
use crate::cross_entropy_kl::{
    CrossEntropyKlOperands, CrossEntropyKlProblem, CrossEntropyKlResults,
};
use crate::decode_step::{DecodeStepOperands, DecodeStepProblem};
use crate::fused_linear::{FusedLinearOperands, FusedLinearProblem};
use crate::gated_rms_norm::{GatedRmsNormOperands, GatedRmsNormProblem};
use crate::masked_softmax::MaskedSoftmaxProblem;
use crate::rms_norm::{RmsNormGradients, RmsNormOperands, RmsNormProblem};
use crate::rotary::RotaryProblem;
use crate::selective_scan::{SelectiveScanOperands, SelectiveScanProblem};
use crate::ssd::{SsdOperands, SsdProblem};
use crate::swiglu::{SwigluOperands, SwigluProblem};
use crate::verify::{VerifyOperands, VerifyProblem};
use burn::tensor::{DType, Device, Shape, ops::FloatTensor};
use burn_fusion::{Fusion, FusionBackend};
use queued::{Form, Inputs, Queued, like, queue};

type Operands<B> = [FloatTensor<B>; 9];

/// Operands, then what may be absent.
fn join<T, const N: usize, const M: usize>(
    operands: [T; N],
    optional: [Option<T>; M],
) -> impl Iterator<Item = Option<T>> {
    operands.into_iter().map(Some).chain(optional)
}

/// Queues a call with one result.
fn queue_one<B: FusionBackend>(
    name: &'static str,
    inputs: impl IntoIterator<Item = Option<Queued<B>>>,
    form: Form,
    run: impl Fn(&mut Inputs<'_, B>) -> FloatTensor<B> + Send + Sync + 'static,
) -> Queued<B> {
    let run = move |inputs: &mut Inputs<'_, B>| ([run(inputs)], None);
    let ([result], _) = queue(name, inputs, ([form], None), run);
    result
}

/// Queues a backward pass whose gradients are like the operands.
fn queue_gradients<B: FusionBackend, const N: usize, const M: usize>(
    name: &'static str,
    operands: [Queued<B>; N],
    optional: [Option<Queued<B>>; M],
    run: impl Fn(&mut Inputs<'_, B>) -> [FloatTensor<B>; N] + Send + Sync + 'static,
) -> [Queued<B>; N] {
    let forms = (operands.each_ref().map(like::<B>), None);
    let run = move |inputs: &mut Inputs<'_, B>| (run(inputs), None);
    queue(name, join(operands, optional), forms, run).0
}

/// Queues the forward pass of an operation with a state; `saved` is the shape of what it keeps.
fn queue_forward<B: FusionBackend + SsmBackend>(
    name: &'static str,
    operands: [Queued<B>; 9],
    reset: Option<Queued<B>>,
    last_state: Form,
    saved: Option<Shape>,
    run: impl Fn(Operands<B>, Option<FloatTensor<B>>) -> StateSpaceOutput<B> + Send + Sync + 'static,
) -> StateSpaceOutput<Fusion<B>> {
    let saved = saved.map(|shape| (shape, DType::F32));
    let forms = ([like::<B>(&operands[0]), last_state], saved);
    let run = move |inputs: &mut Inputs<'_, B>| {
        let output = run(inputs.floats(), inputs.optional());
        ([output.y, output.last_state], output.saved)
    };
    let ([y, last_state], saved) = queue(name, join(operands, [reset]), forms, run);
    StateSpaceOutput {
        y,
        last_state,
        saved,
    }
}

/// The inputs of the backward pass of an operation with a state, beside its operands.
fn state_inputs<B: FusionBackend + SsmBackend>(
    reset: Option<Queued<B>>,
    saved: Option<Queued<B>>,
    gradients: StateSpaceGradients<Fusion<B>>,
) -> [Option<Queued<B>>; 4] {
    [reset, saved, gradients.y, gradients.last_state]
}

/// The last two of [`state_inputs`].
fn state_gradients<B: FusionBackend + SsmBackend>(
    inputs: &mut Inputs<'_, B>,
) -> StateSpaceGradients<B> {
    StateSpaceGradients {
        y: inputs.optional(),
        last_state: inputs.optional(),
    }
}

impl<B: FusionBackend + SsmBackend> SsmBackend for Fusion<B> {
    fn device_memory(device: &Device<Self>) -> Option<DeviceMemory> {
        B::device_memory(device)
    }

    fn selective_scan_forward(
        operands: SelectiveScanOperands<Self>,
        reset: Option<FloatTensor<Self>>,
        problem: &SelectiveScanProblem,
        save: bool,
    ) -> StateSpaceOutput<Self> {
        let p = *problem;
        let last_state = Shape::new([p.batch, p.d_inner, p.d_state]);
        let last_state = (last_state, operands[0].dtype);
        let dtypes = operands.each_ref().map(|operand| operand.dtype);
        let device = operands[0].client.device();
        let saved = match save {
            true => B::selective_scan_saved(device, dtypes, reset.is_some(), &p),
            false => None,
        };
        let run = move |operands, reset| B::selective_scan_forward(operands, reset, &p, save);
        let name = "selective_scan_forward";
        queue_forward::<B>(name, operands, reset, last_state, saved, run)
    }

    fn selective_scan_saved(
        device: &Device<Self>,
        dtypes: [DType; 9],
        has_reset: bool,
        problem: &SelectiveScanProblem,
    ) -> Option<Shape> {
        B::selective_scan_saved(device, dtypes, has_reset, problem)
    }

    fn selective_scan_backward(
        operands: SelectiveScanOperands<Self>,
        reset: Option<FloatTensor<Self>>,
        saved: Option<FloatTensor<Self>>,
        gradients: StateSpaceGradients<Self>,
        problem: &SelectiveScanProblem,
    ) -> SelectiveScanOperands<Self> {
        let p = *problem;
        let optional = state_inputs::<B>(reset, saved, gradients);
        queue_gradients::<B, 9, 4>("selective_scan_backward", operands, optional, move |x| {
            let (operands, reset, saved) = (x.floats(), x.optional(), x.optional());
            B::selective_scan_backward(operands, reset, saved, state_gradients(x), &p)
        })
    }

    fn ssd_forward(
        operands: SsdOperands<Self>,
        reset: Option<FloatTensor<Self>>,
        problem: &SsdProblem,
        save: bool,
    ) -> StateSpaceOutput<Self> {
        let p = *problem;
        let last_state = Shape::new([p.batch, p.nheads, p.headdim, p.d_state]);
        let last_state = (last_state, DType::F32);
        let saved = match save {
            true => B::ssd_saved(operands[0].dtype, &p),
            false => None,
        };
        let run = move |operands, reset| B::ssd_forward(operands, reset, &p, save);
        queue_forward::<B>("ssd_forward", operands, reset, last_state, saved, run)
    }

    fn ssd_saved(dtype: DType, problem: &SsdProblem) -> Option<Shape> {
        B::ssd_saved(dtype, problem)
    }

    fn ssd_backward(
        operands: SsdOperands<Self>,
        reset: Option<FloatTensor<Self>>,
        saved: Option<FloatTensor<Self>>,
        gradients: StateSpaceGradients<Self>,
        problem: &SsdProblem,
    ) -> SsdOperands<Self> {
        let p = *problem;
        let optional = state_inputs::<B>(reset, saved, gradients);
        queue_gradients::<B, 9, 4>("ssd_backward", operands, optional, move |x| {
            let (operands, reset, saved) = (x.floats(), x.optional(), x.optional());
            B::ssd_backward(operands, reset, saved, state_gradients(x), &p)
        })
    }

    fn causal_conv1d_forward(
        operands: CausalConv1dOperands<Self>,
        reset: Option<FloatTensor<Self>>,
        problem: &CausalConv1dProblem,
    ) -> FloatTensor<Self> {
        let (p, form) = (*problem, like::<B>(&operands[0]));
        let inputs = join(operands, [reset]);
        queue_one::<B>("causal_conv1d_forward", inputs, form, move |x| {
            B::causal_conv1d_forward(x.floats(), x.optional(), &p)
        })
    }

    fn causal_conv1d_backward(
        operands: CausalConv1dOperands<Self>,
        reset: Option<FloatTensor<Self>>,
        gradient: FloatTensor<Self>,
        problem: &CausalConv1dProblem,
    ) -> CausalConv1dOperands<Self> {
        let (p, optional) = (*problem, [reset, Some(gradient)]);
        queue_gradients::<B, 4, 2>("causal_conv1d_backward", operands, optional, move |x| {
            B::causal_conv1d_backward(x.floats(), x.optional(), x.float(), &p)
        })
    }

    fn gated_rms_norm_forward(
        operands: GatedRmsNormOperands<Self>,
        problem: &GatedRmsNormProblem,
    ) -> FloatTensor<Self> {
        let (p, form) = (*problem, like::<B>(&operands[0]));
        let inputs = operands.map(Some);
        queue_one::<B>("gated_rms_norm_forward", inputs, form, move |x| {
            B::gated_rms_norm_forward(x.floats(), &p)
        })
    }

    fn gated_rms_norm_backward(
        operands: GatedRmsNormOperands<Self>,
        gradient: FloatTensor<Self>,
        problem: &GatedRmsNormProblem,
    ) -> GatedRmsNormOperands<Self> {
        let (p, optional) = (*problem, [Some(gradient)]);
        queue_gradients::<B, 3, 1>("gated_rms_norm_backward", operands, optional, move |x| {
            B::gated_rms_norm_backward(x.floats(), x.float(), &p)
        })
    }

    fn masked_softmax_forward(
        scores: FloatTensor<Self>,
        first: Option<FloatTensor<Self>>,
        problem: &MaskedSoftmaxProblem,
    ) -> FloatTensor<Self> {
        let (p, form) = (*problem, like::<B>(&scores));
        queue_one::<B>(
            "masked_softmax_forward",
            [Some(scores), first],
            form,
            move |x| B::masked_softmax_forward(x.float(), x.optional(), &p),
        )
    }

    fn masked_softmax_backward(
        weights: FloatTensor<Self>,
        first: Option<FloatTensor<Self>>,
        gradient: FloatTensor<Self>,
        problem: &MaskedSoftmaxProblem,
    ) -> FloatTensor<Self> {
        let (p, form) = (*problem, like::<B>(&weights));
        let inputs = [Some(weights), first, Some(gradient)];
        queue_one::<B>("masked_softmax_backward", inputs, form, move |x| {
            B::masked_softmax_backward(x.float(), x.optional(), x.float(), &p)
        })
    }

    fn rms_norm_forward(
        operands: RmsNormOperands<Self>,
        problem: &RmsNormProblem,
    ) -> FloatTensor<Self> {
        let (p, form) = (
            *problem,
            (operands[0].shape.clone(), DType::from(problem.dtype)),
        );
        queue_one::<B>("rms_norm_forward", operands.map(Some), form, move |x| {
            B::rms_norm_forward(x.floats(), &p)
        })
    }

    fn rms_norm_backward(
        operands: RmsNormOperands<Self>,
        gradient: FloatTensor<Self>,
        problem: &RmsNormProblem,
        weight_wanted: bool,
    ) -> RmsNormGradients<Self> {
        let p = *problem;
        let [dx, dweight] = operands.each_ref().map(like::<B>);
        let forms = ([dx], weight_wanted.then_some(dweight));
        let run = move |x: &mut Inputs<'_, B>| {
            let (dx, dweight) = B::rms_norm_backward(x.floats(), x.float(), &p, weight_wanted);
            ([dx], dweight)
        };
        let inputs = join(operands, [Some(gradient)]);
        let ([dx], dweight) = queue("rms_norm_backward", inputs, forms, run);
        (dx, dweight)
    }

    fn swiglu_forward(
        operands: SwigluOperands<Self>,
        problem: &SwigluProblem,
    ) -> FloatTensor<Self> {
        let (p, form) = (*problem, like::<B>(&operands[0]));
        queue_one::<B>("swiglu_forward", operands.map(Some), form, move |x| {
            B::swiglu_forward(x.floats(), &p)
        })
    }

    fn swiglu_backward(
        operands: SwigluOperands<Self>,
        gradient: FloatTensor<Self>,
        problem: &SwigluProblem,
    ) -> SwigluOperands<Self> {
        let (p, optional) = (*problem, [Some(gradient)]);
        queue_gradients::<B, 2, 1>("swiglu_backward", operands, optional, move |x| {
            B::swiglu_backward(x.floats(), x.float(), &p)
        })
    }

    fn rotary(
        x: FloatTensor<Self>,
        angles: FloatTensor<Self>,
        problem: &RotaryProblem,
    ) -> FloatTensor<Self> {
        let (p, form) = (*problem, (problem.result(), x.dtype));
        queue_one::<B>("rotary", [Some(x), Some(angles)], form, move |inputs| {
            B::rotary(inputs.float(), inputs.float(), &p)
        })
    }

    fn decode_step(
        operands: DecodeStepOperands<Self>,
        problem: &DecodeStepProblem,
    ) -> [FloatTensor<Self>; 3] {
        let p = *problem;
        let [rows, window, state, _] = &operands;
        let y = (Shape::new([p.batch, p.d_inner()]), rows.dtype);
        let forms = [y, like::<B>(window), like::<B>(state)];
        let run = move |x: &mut Inputs<'_, B>| (B::decode_step(x.floats(), &p), None);
        queue("decode_step", operands.map(Some), (forms, None), run).0
    }

    fn verify(operands: VerifyOperands<Self>, problem: &VerifyProblem) -> [FloatTensor<Self>; 4] {
        let p = *problem;
        let [rows, states, conv_inputs, ..] = &operands;
        let shape = |lines: usize, width: usize| Shape::new([p.step.batch, lines, width]);
        let forms = [
            (shape(p.tokens, p.step.d_inner()), rows.dtype),
            like::<B>(states),
            (
                shape(p.next_conv_lines(), p.step.conv_channels()),
                conv_inputs.dtype,
            ),
            (shape(p.tokens, p.cache_width()), DType::F32),
        ];
        let run = move |x: &mut Inputs<'_, B>| (B::verify(x.floats(), &p), None);
        queue("verify", operands.map(Some), (forms, None), run).0
    }

    fn fused_linear(
        operands: FusedLinearOperands<Self>,
        problem: &FusedLinearProblem,
    ) -> FloatTensor<Self> {
        let (p, form) = (*problem, (problem.result(), operands.x.dtype));
        let FusedLinearOperands {
            x,
            norm,
            weights: [first, second, third],
            residual,
        } = operands;
        let inputs = [Some(x), norm, first, second, third, residual];
        queue_one::<B>("fused_linear", inputs, form, move |inputs| {
            let operands = FusedLinearOperands {
                x: inputs.float(),
                norm: inputs.optional(),
                weights: std::array::from_fn(|_| inputs.optional()),
                residual: inputs.optional(),
            };
            B::fused_linear(operands, &p)
        })
    }

    fn cached_attention(
        operands: CachedAttentionOperands<Self>,
        problem: &CachedAttentionProblem,
    ) -> [FloatTensor<Self>; 3] {
        let p = problem.clone();
        let CachedAttentionOperands {
            qkv,
            angles,
            keys,
            values,
            lens,
        } = operands;
        let mixed = (p.result(), qkv.dtype);
        let forms = [mixed, like::<B>(&keys), like::<B>(&values)];
        let inputs = [Some(qkv), Some(angles), Some(keys), Some(values), lens];
        let run = move |inputs: &mut Inputs<'_, B>| {
            let operands = CachedAttentionOperands {
                qkv: inputs.float(),
                angles: inputs.float(),
                keys: inputs.float(),
                values: inputs.float(),
                lens: inputs.optional(),
            };
            (B::cached_attention(operands, &p), None)
        };
        queue("cached_attention", inputs, (forms, None), run).0
    }

    fn cross_entropy_kl(
        operands: CrossEntropyKlOperands<Self>,
        problem: &CrossEntropyKlProblem,
    ) -> CrossEntropyKlResults<Self> {
        let p = *problem;
        let values = (Shape::new([p.rows, 2]), DType::F32);
        let gradient = p.with_gradient.then(|| like::<B>(&operands.student));
        let CrossEntropyKlOperands {
            student,
            teacher,
            labels,
            weights,
        } = operands;
        let [ce_weight, kl_weight] = weights.map(Some);
        let inputs = [Some(student), teacher, Some(labels), ce_weight, kl_weight];
        let run = move |x: &mut Inputs<'_, B>| {
            let operands = CrossEntropyKlOperands {
                student: x.float(),
                teacher: x.optional(),
                labels: x.int(),
                weights: x.floats(),
            };
            let (values, gradient) = B::cross_entropy_kl(operands, &p);
            ([values], gradient)
        };
        let ([values], gradient) = queue("cross_entropy_kl", inputs, ([values], gradient), run);
        (values, gradient)
    }

    fn adamw(operands: AdamwOperands<Self>, step: &AdamwStep) -> AdamwResults<Self> {
        let step = *step;
        let [parameter, _, moment_1, moment_2] = operands.each_ref().map(like::<B>);
        let forms = ([parameter, moment_1, moment_2], None);
        let run = move |x: &mut Inputs<'_, B>| (B::adamw(x.floats(), &step), None);
        queue("adamw", operands.map(Some), forms, run).0
    }

    fn squared_norm(tensors: Vec<FloatTensor<Self>>) -> FloatTensor<Self> {
        let (count, form) = (tensors.len(), (Shape::new([1]), DType::F32));
        let tensors = tensors.into_iter().map(Some);
        queue_one::<B>("squared_norm", tensors, form, move |x| {
            B::squared_norm((0..count).map(|_| x.float()).collect())
        })
    }

    fn device_features(device: &Device<Self>) -> Vec<(&'static str, String)> {
        B::device_features(device)
    }
}
