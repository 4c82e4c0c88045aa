//! What a backend has to offer for the operations of this crate.

use crate::adamw::{self, AdamwOperands, AdamwResults, AdamwStep};
use crate::cached_attention::{self, CachedAttentionOperands, CachedAttentionProblem};
use crate::causal_conv1d::{self, CausalConv1dOperands, CausalConv1dProblem};
use crate::cross_entropy_kl::{
    self, CrossEntropyKlOperands, CrossEntropyKlProblem, CrossEntropyKlResults,
};
use crate::decode_step::{self, DecodeStepOperands, DecodeStepProblem};
use crate::fused_linear::{self, FusedLinearOperands, FusedLinearProblem};
use crate::gated_rms_norm::{self, GatedRmsNormOperands, GatedRmsNormProblem};
use crate::masked_softmax::{self, MaskedSoftmaxProblem};
use crate::primitive::wrap;
use crate::rms_norm::{self, RmsNormGradients, RmsNormOperands, RmsNormProblem};
use crate::rotary::{self, RotaryProblem};
use crate::selective_scan::{self, SelectiveScanOperands, SelectiveScanProblem};
use crate::squared_norm;
use crate::ssd::{self, SsdOperands, SsdProblem};
use crate::swiglu::{self, SwigluOperands, SwigluProblem};
use crate::verify::{self, VerifyOperands, VerifyProblem};
use crate::weigh_drafts::{self, WeighDraftsOperands, WeighDraftsProblem};
use burn::tensor::ops::{FloatTensor, IntTensor};
use burn::tensor::{DType, Device, Shape, backend::Backend};

/// What a state-space operation returns.
#[derive(Clone, Debug)]
pub struct StateSpaceOutput<B: Backend> {
    /// Output, shaped like the input.
    pub y: FloatTensor<B>,
    /// State after the last step.
    pub last_state: FloatTensor<B>,
    /// States at chunk boundaries for the backward pass; the layout is the backend's own.
    pub saved: Option<FloatTensor<B>>,
}

/// Gradients of a loss with respect to the outputs of a state-space operation; an absent one is
/// zero, and one is present.
#[derive(Clone, Debug)]
pub struct StateSpaceGradients<B: Backend> {
    /// For the output.
    pub y: Option<FloatTensor<B>>,
    /// For the state after the last step.
    pub last_state: Option<FloatTensor<B>>,
}

/// Memory of a device that this process holds, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceMemory {
    /// In tensors.
    pub in_use: u64,
    /// In tensors, or kept for those to come.
    pub reserved: u64,
}

/// A burn backend that can run the operations of this crate.
///
/// The default bodies are the references: plain tensor operations that run anywhere. A backend
/// overrides what it can do faster. The methods take primitives whose shapes the public functions
/// have checked; call those functions, not these methods.
pub trait SsmBackend: Backend {
    /// What this process holds of a device's own memory; `None` where that is the host's, or cannot be told. Waits for what
    /// was asked of the device before.
    fn device_memory(_device: &Device<Self>) -> Option<DeviceMemory> {
        None
    }

    /// Forward of [`selective_scan`](crate::selective_scan()). `save` asks for what
    /// the backward pass wants to find in [`StateSpaceOutput::saved`].
    fn selective_scan_forward(
        operands: SelectiveScanOperands<Self>,
        reset: Option<FloatTensor<Self>>,
        problem: &SelectiveScanProblem,
        _save: bool,
    ) -> StateSpaceOutput<Self> {
        selective_scan::reference::forward::<Self>(operands, reset, problem)
    }

    /// Shape of what [`selective_scan_forward`](Self::selective_scan_forward) saves in f32 if asked to, or
    /// `None` if that is nothing: for a backend that names results before it computes them. `dtypes` are those of
    /// the operands.
    fn selective_scan_saved(
        _device: &Device<Self>,
        _dtypes: [DType; 9],
        _has_reset: bool,
        _problem: &SelectiveScanProblem,
    ) -> Option<Shape> {
        None
    }

    /// Gradients of the selective scan with respect to its operands, in their order; for an absent
    /// operand the placeholder comes back.
    fn selective_scan_backward(
        operands: SelectiveScanOperands<Self>,
        reset: Option<FloatTensor<Self>>,
        _saved: Option<FloatTensor<Self>>,
        gradients: StateSpaceGradients<Self>,
        problem: &SelectiveScanProblem,
    ) -> SelectiveScanOperands<Self> {
        selective_scan::reference::backward::<Self>(operands, reset, gradients, problem)
    }

    /// Forward of [`ssd`](crate::ssd()). `save` as in the selective scan.
    fn ssd_forward(
        operands: SsdOperands<Self>,
        reset: Option<FloatTensor<Self>>,
        problem: &SsdProblem,
        _save: bool,
    ) -> StateSpaceOutput<Self> {
        ssd::reference::forward::<Self>(operands, reset, problem)
    }

    /// Shape of what [`ssd_forward`](Self::ssd_forward) saves, as in the selective scan; `dtype` is that of x.
    fn ssd_saved(_dtype: DType, _problem: &SsdProblem) -> Option<Shape> {
        None
    }

    /// Gradients of [`ssd`](crate::ssd()) with respect to its operands, as in the selective scan.
    fn ssd_backward(
        operands: SsdOperands<Self>,
        reset: Option<FloatTensor<Self>>,
        _saved: Option<FloatTensor<Self>>,
        gradients: StateSpaceGradients<Self>,
        problem: &SsdProblem,
    ) -> SsdOperands<Self> {
        ssd::reference::backward::<Self>(operands, reset, gradients, problem)
    }

    /// Forward of [`causal_conv1d`](crate::causal_conv1d()), without the window.
    fn causal_conv1d_forward(
        operands: CausalConv1dOperands<Self>,
        reset: Option<FloatTensor<Self>>,
        problem: &CausalConv1dProblem,
    ) -> FloatTensor<Self> {
        causal_conv1d::reference::forward::<Self>(operands, reset, problem)
    }

    /// Gradients of [`causal_conv1d`](crate::causal_conv1d()) with respect to its operands.
    fn causal_conv1d_backward(
        operands: CausalConv1dOperands<Self>,
        reset: Option<FloatTensor<Self>>,
        gradient: FloatTensor<Self>,
        problem: &CausalConv1dProblem,
    ) -> CausalConv1dOperands<Self> {
        causal_conv1d::reference::backward::<Self>(operands, reset, gradient, problem)
    }

    /// Forward of [`gated_rms_norm`](crate::gated_rms_norm()).
    fn gated_rms_norm_forward(
        operands: GatedRmsNormOperands<Self>,
        problem: &GatedRmsNormProblem,
    ) -> FloatTensor<Self> {
        gated_rms_norm::reference::forward::<Self>(operands, problem)
    }

    /// Gradients of [`gated_rms_norm`](crate::gated_rms_norm()) with respect to its operands.
    fn gated_rms_norm_backward(
        operands: GatedRmsNormOperands<Self>,
        gradient: FloatTensor<Self>,
        problem: &GatedRmsNormProblem,
    ) -> GatedRmsNormOperands<Self> {
        gated_rms_norm::reference::backward::<Self>(operands, gradient, problem)
    }

    /// Forward of [`masked_softmax`](crate::masked_softmax()); `first` is of the visible keys.
    fn masked_softmax_forward(
        scores: FloatTensor<Self>,
        first: Option<FloatTensor<Self>>,
        problem: &MaskedSoftmaxProblem,
    ) -> FloatTensor<Self> {
        masked_softmax::reference::forward::<Self>(scores, first, problem)
    }

    /// Gradient of [`masked_softmax`](crate::masked_softmax()) with respect to the scores, from the weights
    /// that it returned.
    fn masked_softmax_backward(
        weights: FloatTensor<Self>,
        _first: Option<FloatTensor<Self>>,
        gradient: FloatTensor<Self>,
        problem: &MaskedSoftmaxProblem,
    ) -> FloatTensor<Self> {
        masked_softmax::reference::backward::<Self>(weights, gradient, problem)
    }

    /// Forward of [`rms_norm`](crate::rms_norm()).
    fn rms_norm_forward(
        operands: RmsNormOperands<Self>,
        problem: &RmsNormProblem,
    ) -> FloatTensor<Self> {
        rms_norm::reference::forward::<Self>(operands, problem)
    }

    /// Gradients of [`rms_norm`](crate::rms_norm()) with respect to `x` and, where it is wanted, to the weight: most
    /// norms are frozen in stage 1.
    fn rms_norm_backward(
        operands: RmsNormOperands<Self>,
        gradient: FloatTensor<Self>,
        problem: &RmsNormProblem,
        weight_wanted: bool,
    ) -> RmsNormGradients<Self> {
        rms_norm::reference::backward::<Self>(operands, gradient, problem, weight_wanted)
    }

    /// [`product`](crate::product()), either operand in any layout.
    fn product(lhs: FloatTensor<Self>, rhs: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::float_matmul(lhs, rhs)
    }

    /// Forward of [`swiglu`](crate::swiglu()).
    fn swiglu_forward(
        operands: SwigluOperands<Self>,
        _problem: &SwigluProblem,
    ) -> FloatTensor<Self> {
        swiglu::reference::forward::<Self>(operands)
    }

    /// Gradients of [`swiglu`](crate::swiglu()) with respect to its operands.
    fn swiglu_backward(
        operands: SwigluOperands<Self>,
        gradient: FloatTensor<Self>,
        _problem: &SwigluProblem,
    ) -> SwigluOperands<Self> {
        swiglu::reference::backward::<Self>(operands, gradient)
    }

    /// [`rotary`](crate::rotary()), or its gradient, which is the inverse.
    fn rotary(
        x: FloatTensor<Self>,
        angles: FloatTensor<Self>,
        problem: &RotaryProblem,
    ) -> FloatTensor<Self> {
        rotary::reference::forward::<Self>(x, angles, problem)
    }

    /// [`decode_step`](crate::decode_step()): output, next window, next state.
    fn decode_step(
        operands: DecodeStepOperands<Self>,
        problem: &DecodeStepProblem,
    ) -> [FloatTensor<Self>; 3] {
        decode_step::reference::forward::<Self>(operands, problem)
    }

    /// [`verify`](crate::verify()): output, next states, next inputs of the convolution, next cache.
    fn verify(operands: VerifyOperands<Self>, problem: &VerifyProblem) -> [FloatTensor<Self>; 4] {
        verify::reference::forward::<Self>(operands, problem)
    }

    /// [`fused_linear`](crate::fused_linear()).
    fn fused_linear(
        operands: FusedLinearOperands<Self>,
        problem: &FusedLinearProblem,
    ) -> FloatTensor<Self> {
        fused_linear::reference::forward::<Self>(operands, problem)
    }

    /// [`cached_attention`](crate::cached_attention()): output, keys, values.
    fn cached_attention(
        operands: CachedAttentionOperands<Self>,
        problem: &CachedAttentionProblem,
    ) -> [FloatTensor<Self>; 3] {
        cached_attention::reference::forward::<Self>(operands, problem)
    }

    /// [`argmax`](crate::argmax()).
    fn argmax(logits: FloatTensor<Self>) -> IntTensor<Self> {
        wrap::<Self, 2>(logits).argmax(1).into_primitive()
    }

    /// [`weigh_drafts`](crate::weigh_drafts()).
    fn weigh_drafts(
        operands: WeighDraftsOperands<Self>,
        problem: &WeighDraftsProblem,
    ) -> FloatTensor<Self> {
        weigh_drafts::reference::forward::<Self>(operands, problem)
    }

    /// [`cross_entropy_kl`](crate::cross_entropy_kl()): values and gradient.
    fn cross_entropy_kl(
        operands: CrossEntropyKlOperands<Self>,
        problem: &CrossEntropyKlProblem,
    ) -> CrossEntropyKlResults<Self> {
        cross_entropy_kl::reference::forward::<Self>(operands, problem)
    }

    /// [`adamw`](crate::adamw()).
    fn adamw(operands: AdamwOperands<Self>, step: &AdamwStep) -> AdamwResults<Self> {
        adamw::reference::step::<Self>(operands, step)
    }

    /// [`squared_norm`](crate::squared_norm()) of at least one tensor.
    fn squared_norm(tensors: Vec<FloatTensor<Self>>) -> FloatTensor<Self> {
        squared_norm::reference::sum::<Self>(tensors)
    }

    /// What the device has that kernels are chosen by: names and values, for people.
    fn device_features(_device: &Device<Self>) -> Vec<(&'static str, String)> {
        Vec::new()
    }
}
