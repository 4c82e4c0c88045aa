//! GPUs through CubeCL: our kernels where there are some, else the references as burn's own kernels
//! run them.

pub(crate) mod activation;
mod compiled;
mod features;
pub(crate) mod race;
pub(crate) mod rows;
pub(crate) mod sharers;
pub(crate) mod sum;
pub(crate) mod tensor;

pub use compiled::keep_compiled_kernels;

use crate::adamw::{self, AdamwOperands, AdamwResults, AdamwStep};
use crate::argmax;
use crate::backend::{DeviceMemory, SsmBackend, StateSpaceGradients, StateSpaceOutput};
use crate::cached_attention::{self, CachedAttentionOperands, CachedAttentionProblem};
use crate::causal_conv1d::{self, CausalConv1dOperands, CausalConv1dProblem};
use crate::cross_entropy_kl::{
    self, CrossEntropyKlOperands, CrossEntropyKlProblem, CrossEntropyKlResults,
};
use crate::decode_step::{self, DecodeStepOperands, DecodeStepProblem};
use crate::fused_linear::{self, FusedLinearOperands, FusedLinearProblem};
use crate::gated_rms_norm::{self, GatedRmsNormOperands, GatedRmsNormProblem};
use crate::masked_softmax::{self, MaskedSoftmaxProblem};
use crate::product;
use crate::rms_norm::{self, RmsNormGradients, RmsNormOperands, RmsNormProblem};
use crate::rotary::{self, RotaryProblem};
use crate::selective_scan::{self, SelectiveScanOperands, SelectiveScanProblem};
use crate::squared_norm;
use crate::ssd::{self, SsdOperands, SsdProblem};
use crate::swiglu::{self, SwigluOperands, SwigluProblem};
use crate::verify::{self, VerifyOperands, VerifyProblem};
use crate::weigh_drafts::{self, WeighDraftsOperands, WeighDraftsProblem};
use burn::tensor::ops::{FloatTensor, IntTensor};
use burn::tensor::{DType, Device, Shape};
use burn_cubecl::{CubeBackend, CubeRuntime, FloatElement, IntElement, element::BoolElement};

impl<R, F, I, BT> SsmBackend for CubeBackend<R, F, I, BT>
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    BT: BoolElement,
{
    fn device_memory(device: &Device<Self>) -> Option<DeviceMemory> {
        let usage = R::client(device).memory_usage().ok()?;
        Some(DeviceMemory {
            in_use: usage.bytes_in_use,
            reserved: usage.bytes_reserved,
        })
    }

    fn selective_scan_forward(
        operands: SelectiveScanOperands<Self>,
        reset: Option<FloatTensor<Self>>,
        problem: &SelectiveScanProblem,
        save: bool,
    ) -> StateSpaceOutput<Self> {
        selective_scan::launch::forward(operands, reset, problem, save)
    }

    fn selective_scan_saved(
        device: &Device<Self>,
        dtypes: [DType; 9],
        has_reset: bool,
        problem: &SelectiveScanProblem,
    ) -> Option<Shape> {
        selective_scan::launch::saved::<R>(device, dtypes, has_reset, problem)
    }

    fn selective_scan_backward(
        operands: SelectiveScanOperands<Self>,
        reset: Option<FloatTensor<Self>>,
        saved: Option<FloatTensor<Self>>,
        gradients: StateSpaceGradients<Self>,
        problem: &SelectiveScanProblem,
    ) -> SelectiveScanOperands<Self> {
        selective_scan::launch::backward(operands, reset, saved, gradients, problem)
    }

    fn ssd_forward(
        operands: SsdOperands<Self>,
        reset: Option<FloatTensor<Self>>,
        problem: &SsdProblem,
        save: bool,
    ) -> StateSpaceOutput<Self> {
        ssd::launch::forward(operands, reset, problem, save)
    }

    fn ssd_saved(dtype: DType, problem: &SsdProblem) -> Option<Shape> {
        ssd::launch::saved(problem, dtype)
    }

    fn ssd_backward(
        operands: SsdOperands<Self>,
        reset: Option<FloatTensor<Self>>,
        saved: Option<FloatTensor<Self>>,
        gradients: StateSpaceGradients<Self>,
        problem: &SsdProblem,
    ) -> SsdOperands<Self> {
        ssd::launch::backward(operands, reset, saved, gradients, problem)
    }

    fn causal_conv1d_forward(
        operands: CausalConv1dOperands<Self>,
        reset: Option<FloatTensor<Self>>,
        problem: &CausalConv1dProblem,
    ) -> FloatTensor<Self> {
        causal_conv1d::launch::forward(operands, reset, problem)
    }

    fn causal_conv1d_backward(
        operands: CausalConv1dOperands<Self>,
        reset: Option<FloatTensor<Self>>,
        gradient: FloatTensor<Self>,
        problem: &CausalConv1dProblem,
    ) -> CausalConv1dOperands<Self> {
        causal_conv1d::launch::backward::<R, F, I, BT>(operands, reset, gradient, problem)
    }

    fn gated_rms_norm_forward(
        operands: GatedRmsNormOperands<Self>,
        problem: &GatedRmsNormProblem,
    ) -> FloatTensor<Self> {
        gated_rms_norm::launch::forward(operands, problem)
    }

    fn gated_rms_norm_backward(
        operands: GatedRmsNormOperands<Self>,
        gradient: FloatTensor<Self>,
        problem: &GatedRmsNormProblem,
    ) -> GatedRmsNormOperands<Self> {
        gated_rms_norm::launch::backward(operands, gradient, problem)
    }

    fn masked_softmax_forward(
        scores: FloatTensor<Self>,
        first: Option<FloatTensor<Self>>,
        problem: &MaskedSoftmaxProblem,
    ) -> FloatTensor<Self> {
        masked_softmax::launch::forward(scores, first, problem)
    }

    fn masked_softmax_backward(
        weights: FloatTensor<Self>,
        first: Option<FloatTensor<Self>>,
        gradient: FloatTensor<Self>,
        problem: &MaskedSoftmaxProblem,
    ) -> FloatTensor<Self> {
        masked_softmax::launch::backward(weights, first, gradient, problem)
    }

    fn rms_norm_forward(
        operands: RmsNormOperands<Self>,
        problem: &RmsNormProblem,
    ) -> FloatTensor<Self> {
        rms_norm::launch::forward(operands, problem)
    }

    fn rms_norm_backward(
        operands: RmsNormOperands<Self>,
        gradient: FloatTensor<Self>,
        problem: &RmsNormProblem,
        weight_wanted: bool,
    ) -> RmsNormGradients<Self> {
        rms_norm::launch::backward(operands, gradient, problem, weight_wanted)
    }

    fn product(lhs: FloatTensor<Self>, rhs: FloatTensor<Self>) -> FloatTensor<Self> {
        product::launch::product::<R, F, I, BT>(lhs, rhs)
    }

    fn swiglu_forward(
        operands: SwigluOperands<Self>,
        problem: &SwigluProblem,
    ) -> FloatTensor<Self> {
        swiglu::launch::forward(operands, problem)
    }

    fn swiglu_backward(
        operands: SwigluOperands<Self>,
        gradient: FloatTensor<Self>,
        problem: &SwigluProblem,
    ) -> SwigluOperands<Self> {
        swiglu::launch::backward(operands, gradient, problem)
    }

    fn rotary(
        x: FloatTensor<Self>,
        angles: FloatTensor<Self>,
        problem: &RotaryProblem,
    ) -> FloatTensor<Self> {
        rotary::launch::forward(x, angles, problem)
    }

    fn decode_step(
        operands: DecodeStepOperands<Self>,
        problem: &DecodeStepProblem,
    ) -> [FloatTensor<Self>; 3] {
        decode_step::launch::forward::<R, F, I, BT>(operands, problem)
    }

    fn verify(operands: VerifyOperands<Self>, problem: &VerifyProblem) -> [FloatTensor<Self>; 4] {
        verify::launch::forward::<R, F, I, BT>(operands, problem)
    }

    fn fused_linear(
        operands: FusedLinearOperands<Self>,
        problem: &FusedLinearProblem,
    ) -> FloatTensor<Self> {
        fused_linear::launch::forward::<R, F, I, BT>(operands, problem)
    }

    fn cached_attention(
        operands: CachedAttentionOperands<Self>,
        problem: &CachedAttentionProblem,
    ) -> [FloatTensor<Self>; 3] {
        cached_attention::launch::forward::<R, F, I, BT>(operands, problem)
    }

    fn argmax(logits: FloatTensor<Self>) -> IntTensor<Self> {
        argmax::launch::forward(logits, I::dtype())
    }

    fn weigh_drafts(
        operands: WeighDraftsOperands<Self>,
        problem: &WeighDraftsProblem,
    ) -> FloatTensor<Self> {
        weigh_drafts::launch::forward(operands, problem)
    }

    fn cross_entropy_kl(
        operands: CrossEntropyKlOperands<Self>,
        problem: &CrossEntropyKlProblem,
    ) -> CrossEntropyKlResults<Self> {
        cross_entropy_kl::launch::forward(operands, problem)
    }

    fn adamw(operands: AdamwOperands<Self>, step: &AdamwStep) -> AdamwResults<Self> {
        adamw::launch::step(operands, step)
    }

    fn squared_norm(tensors: Vec<FloatTensor<Self>>) -> FloatTensor<Self> {
        squared_norm::launch::sum(tensors)
    }

    fn device_features(device: &Device<Self>) -> Vec<(&'static str, String)> {
        features::describe::<R>(device)
    }
}
