//! Tape node of the product: each operand gets a gradient, and the other one is kept, only where it is on the tape.

use crate::backend::SsmBackend;
use burn::backend::autodiff::{
    Autodiff, NodeId,
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind},
};
use burn::tensor::ops::FloatTensor;

/// The tape node.
#[derive(Debug)]
struct Step;

impl<B: SsmBackend> Backward<B, 2> for Step {
    /// The operands that a gradient is made with.
    type State = [Option<NodeId>; 2];

    fn backward(
        self,
        ops: Ops<Self::State, 2>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let gradient = grads.consume::<B>(&ops.node);
        let [lhs, rhs] = (ops.state).map(|id| id.map(|id| checkpointer.retrieve_node_output(id)));
        let [lhs_node, rhs_node] = ops.parents;
        if let (Some(node), Some(rhs)) = (lhs_node, rhs) {
            let gradient = B::product(gradient.clone(), B::float_transpose(rhs));
            grads.register::<B>(node.id, gradient);
        }
        if let (Some(node), Some(lhs)) = (rhs_node, lhs) {
            let gradient = B::product(B::float_transpose(lhs), gradient);
            grads.register::<B>(node.id, gradient);
        }
    }
}

/// Runs the operation and puts its output on the tape.
pub(super) fn forward<B: SsmBackend, C: CheckpointStrategy>(
    lhs: FloatTensor<Autodiff<B, C>>,
    rhs: FloatTensor<Autodiff<B, C>>,
) -> FloatTensor<Autodiff<B, C>> {
    let nodes = [&lhs, &rhs].map(|operand| operand.node.clone());
    // Held until the output is on the tape: a tape drops what no tensor holds, at the backward pass of any thread.
    let _held = [&lhs, &rhs].map(|operand| operand.rc.clone());
    let [lhs_wanted, rhs_wanted] = nodes.each_ref().map(|node| !node.requirement.is_none());
    match Backward::<B, 2>::prepare::<C>(Step, nodes)
        .compute_bound()
        .stateful()
    {
        OpsKind::Tracked(mut prep) => {
            let kept = [
                rhs_wanted.then(|| prep.checkpoint(&lhs)),
                lhs_wanted.then(|| prep.checkpoint(&rhs)),
            ];
            prep.finish(kept, B::product(lhs.primitive, rhs.primitive))
        }
        OpsKind::UnTracked(prep) => prep.finish(B::product(lhs.primitive, rhs.primitive)),
    }
}
