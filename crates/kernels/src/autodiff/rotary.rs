//! Tape node of the rotation: its gradient is the way back, and needs nothing but the angles.

use crate::backend::SsmBackend;
use crate::rotary::RotaryProblem;
use burn::backend::autodiff::{
    Autodiff,
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind},
};
use burn::tensor::ops::FloatTensor;

/// The tape node.
#[derive(Debug)]
struct Step(RotaryProblem);

impl<B: SsmBackend> Backward<B, 1> for Step {
    /// The angles.
    type State = FloatTensor<B>;

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = grads.consume::<B>(&ops.node);
        let [x] = ops.parents;
        if let Some(x) = x {
            grads.register::<B>(x.id, B::rotary(gradient, ops.state, &self.0.inverse()));
        }
    }
}

/// Runs the operation and puts its output on the tape.
pub(super) fn forward<B: SsmBackend, C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<B, C>>,
    angles: FloatTensor<Autodiff<B, C>>,
    problem: RotaryProblem,
) -> FloatTensor<Autodiff<B, C>> {
    let angles = angles.primitive;
    // Held until the output is on the tape: a tape drops what no tensor holds, at the backward pass of any thread.
    let (node, _held) = (x.node.clone(), x.rc.clone());
    let turned = B::rotary(x.primitive, angles.clone(), &problem);
    match Backward::<B, 1>::prepare::<C>(Step(problem), [node])
        .compute_bound()
        .stateful()
    {
        OpsKind::Tracked(prep) => prep.finish(angles, turned),
        OpsKind::UnTracked(prep) => prep.finish(turned),
    }
}
