//! Differentiable operations on burn's tape: one node an output, gradients from the inner backend.
//!
//! The tape is locked while a node computes its gradients, so none of them may use the tape itself:
//! every backward of [`SsmBackend`] is written by hand.

mod masked_softmax;
mod product;
mod rms_norm;
mod rotary;
mod single_output;
mod state_space;

use crate::backend::{SsmBackend, StateSpaceGradients, StateSpaceOutput};
use crate::causal_conv1d::{CausalConv1dOperands, CausalConv1dProblem};
use crate::gated_rms_norm::{GatedRmsNormOperands, GatedRmsNormProblem};
use crate::masked_softmax::MaskedSoftmaxProblem;
use crate::rms_norm::{RmsNormGradients, RmsNormOperands, RmsNormProblem};
use crate::rotary::RotaryProblem;
use crate::selective_scan::{SelectiveScanOperands, SelectiveScanProblem};
use crate::ssd::{SsdOperands, SsdProblem};
use crate::swiglu::{SwigluOperands, SwigluProblem};
use burn::backend::autodiff::{Autodiff, checkpoint::strategy::CheckpointStrategy};
use burn::tensor::ops::FloatTensor;

impl<B: SsmBackend, C: CheckpointStrategy> SsmBackend for Autodiff<B, C> {
    fn selective_scan_forward(
        operands: SelectiveScanOperands<Self>,
        reset: Option<FloatTensor<Self>>,
        problem: &SelectiveScanProblem,
        _save: bool,
    ) -> StateSpaceOutput<Self> {
        state_space::forward::<B, C, _>(operands, reset, *problem)
    }

    fn ssd_forward(
        operands: SsdOperands<Self>,
        reset: Option<FloatTensor<Self>>,
        problem: &SsdProblem,
        _save: bool,
    ) -> StateSpaceOutput<Self> {
        state_space::forward::<B, C, _>(operands, reset, *problem)
    }

    fn causal_conv1d_forward(
        operands: CausalConv1dOperands<Self>,
        reset: Option<FloatTensor<Self>>,
        problem: &CausalConv1dProblem,
    ) -> FloatTensor<Self> {
        single_output::forward::<B, C, _, 4>(operands, reset, *problem)
    }

    fn gated_rms_norm_forward(
        operands: GatedRmsNormOperands<Self>,
        problem: &GatedRmsNormProblem,
    ) -> FloatTensor<Self> {
        single_output::forward::<B, C, _, 3>(operands, None, *problem)
    }

    fn masked_softmax_forward(
        scores: FloatTensor<Self>,
        first: Option<FloatTensor<Self>>,
        problem: &MaskedSoftmaxProblem,
    ) -> FloatTensor<Self> {
        masked_softmax::forward::<B, C>(scores, first, *problem)
    }

    fn rms_norm_forward(
        operands: RmsNormOperands<Self>,
        problem: &RmsNormProblem,
    ) -> FloatTensor<Self> {
        rms_norm::forward::<B, C>(operands, *problem)
    }

    fn product(lhs: FloatTensor<Self>, rhs: FloatTensor<Self>) -> FloatTensor<Self> {
        product::forward::<B, C>(lhs, rhs)
    }

    fn swiglu_forward(
        operands: SwigluOperands<Self>,
        problem: &SwigluProblem,
    ) -> FloatTensor<Self> {
        single_output::forward::<B, C, _, 2>(operands, None, *problem)
    }

    fn rotary(
        x: FloatTensor<Self>,
        angles: FloatTensor<Self>,
        problem: &RotaryProblem,
    ) -> FloatTensor<Self> {
        rotary::forward::<B, C>(x, angles, *problem)
    }

    fn selective_scan_backward(
        operands: SelectiveScanOperands<Self>,
        reset: Option<FloatTensor<Self>>,
        saved: Option<FloatTensor<Self>>,
        gradients: StateSpaceGradients<Self>,
        problem: &SelectiveScanProblem,
    ) -> SelectiveScanOperands<Self> {
        state_space::backward::<B, C, _>(operands, reset, saved, gradients, *problem)
    }

    fn ssd_backward(
        operands: SsdOperands<Self>,
        reset: Option<FloatTensor<Self>>,
        saved: Option<FloatTensor<Self>>,
        gradients: StateSpaceGradients<Self>,
        problem: &SsdProblem,
    ) -> SsdOperands<Self> {
        state_space::backward::<B, C, _>(operands, reset, saved, gradients, *problem)
    }

    fn causal_conv1d_backward(
        operands: CausalConv1dOperands<Self>,
        reset: Option<FloatTensor<Self>>,
        gradient: FloatTensor<Self>,
        problem: &CausalConv1dProblem,
    ) -> CausalConv1dOperands<Self> {
        single_output::backward::<B, C, _, 4>(operands, reset, gradient, *problem)
    }

    fn gated_rms_norm_backward(
        operands: GatedRmsNormOperands<Self>,
        gradient: FloatTensor<Self>,
        problem: &GatedRmsNormProblem,
    ) -> GatedRmsNormOperands<Self> {
        single_output::backward::<B, C, _, 3>(operands, None, gradient, *problem)
    }

    fn masked_softmax_backward(
        weights: FloatTensor<Self>,
        first: Option<FloatTensor<Self>>,
        gradient: FloatTensor<Self>,
        problem: &MaskedSoftmaxProblem,
    ) -> FloatTensor<Self> {
        masked_softmax::backward::<B, C>(weights, first, gradient, problem)
    }

    fn rms_norm_backward(
        operands: RmsNormOperands<Self>,
        gradient: FloatTensor<Self>,
        problem: &RmsNormProblem,
        weight_wanted: bool,
    ) -> RmsNormGradients<Self> {
        rms_norm::backward::<B, C>(operands, gradient, problem, weight_wanted)
    }

    fn swiglu_backward(
        operands: SwigluOperands<Self>,
        gradient: FloatTensor<Self>,
        problem: &SwigluProblem,
    ) -> SwigluOperands<Self> {
        single_output::backward::<B, C, _, 2>(operands, None, gradient, *problem)
    }
}
