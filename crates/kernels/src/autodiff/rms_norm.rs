//! Tape node of the RMS norm: the weight, mostly frozen, gets a gradient only where it is trained.

use crate::backend::SsmBackend;
use crate::rms_norm::{RmsNormGradients, RmsNormOperands, RmsNormProblem};
use burn::backend::autodiff::{
    Autodiff, NodeId,
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind},
};
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::ops::FloatTensor;

/// The tape node.
#[derive(Debug)]
struct Step(RmsNormProblem);

impl<B: SsmBackend> Backward<B, 2> for Step {
    type State = [NodeId; 2];

    fn backward(
        self,
        ops: Ops<Self::State, 2>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let gradient = grads.consume::<B>(&ops.node);
        let operands = (ops.state).map(|id| checkpointer.retrieve_node_output(id));
        let [x, weight] = ops.parents;
        let (dx, dweight) = B::rms_norm_backward(operands, gradient, &self.0, weight.is_some());
        if let Some(x) = x {
            grads.register::<B>(x.id, dx);
        }
        if let (Some(weight), Some(dweight)) = (weight, dweight) {
            grads.register::<B>(weight.id, dweight);
        }
    }
}

/// Runs the operation and puts its output on the tape.
pub(super) fn forward<B: SsmBackend, C: CheckpointStrategy>(
    operands: RmsNormOperands<Autodiff<B, C>>,
    problem: RmsNormProblem,
) -> FloatTensor<Autodiff<B, C>> {
    let nodes = operands.each_ref().map(|operand| operand.node.clone());
    // Held until the output is on the tape: a tape drops what no tensor holds, at the backward pass of any thread.
    let _held = operands.each_ref().map(|operand| operand.rc.clone());
    match Backward::<B, 2>::prepare::<C>(Step(problem), nodes)
        .compute_bound()
        .stateful()
    {
        OpsKind::Tracked(mut prep) => {
            let ids = operands.each_ref().map(|operand| prep.checkpoint(operand));
            let inner = operands.map(|operand| operand.primitive);
            prep.finish(ids, B::rms_norm_forward(inner, &problem))
        }
        OpsKind::UnTracked(prep) => {
            let inner = operands.map(|operand| operand.primitive);
            prep.finish(B::rms_norm_forward(inner, &problem))
        }
    }
}

/// Gradients as constants: there is no second derivative.
pub(super) fn backward<B: SsmBackend, C: CheckpointStrategy>(
    operands: RmsNormOperands<Autodiff<B, C>>,
    gradient: FloatTensor<Autodiff<B, C>>,
    problem: &RmsNormProblem,
    weight_wanted: bool,
) -> RmsNormGradients<Autodiff<B, C>> {
    let operands = operands.map(|operand| operand.primitive);
    let (dx, dweight) = B::rms_norm_backward(operands, gradient.primitive, problem, weight_wanted);
    let constant = <Autodiff<B, C> as AutodiffBackend>::from_inner;
    (constant(dx), dweight.map(constant))
}
