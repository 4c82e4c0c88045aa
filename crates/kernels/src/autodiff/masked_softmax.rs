//! Tape node of the masked softmax: it keeps the weights, and the scores are free.

use crate::backend::SsmBackend;
use crate::masked_softmax::MaskedSoftmaxProblem;
use burn::backend::autodiff::{
    Autodiff,
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind},
};
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::ops::FloatTensor;

/// The tape node.
#[derive(Debug)]
struct Step(MaskedSoftmaxProblem);

impl<B: SsmBackend> Backward<B, 1> for Step {
    /// Weights, and the first visible keys.
    type State = (FloatTensor<B>, Option<FloatTensor<B>>);

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = grads.consume::<B>(&ops.node);
        let (weights, first) = ops.state;
        let [scores] = ops.parents;
        if let Some(scores) = scores {
            let gradient = B::masked_softmax_backward(weights, first, gradient, &self.0);
            grads.register::<B>(scores.id, gradient);
        }
    }
}

/// Runs the operation and puts the weights on the tape.
pub(super) fn forward<B: SsmBackend, C: CheckpointStrategy>(
    scores: FloatTensor<Autodiff<B, C>>,
    first: Option<FloatTensor<Autodiff<B, C>>>,
    problem: MaskedSoftmaxProblem,
) -> FloatTensor<Autodiff<B, C>> {
    let first = first.map(|first| first.primitive);
    // Held until the output is on the tape: a tape drops what no tensor holds, at the backward pass of any thread.
    let (node, _held) = (scores.node.clone(), scores.rc.clone());
    let weights = B::masked_softmax_forward(scores.primitive, first.clone(), &problem);
    match Backward::<B, 1>::prepare::<C>(Step(problem), [node])
        .compute_bound()
        .stateful()
    {
        OpsKind::Tracked(prep) => prep.finish((weights.clone(), first), weights),
        OpsKind::UnTracked(prep) => prep.finish(weights),
    }
}

/// The gradient as a constant: there is no second derivative.
pub(super) fn backward<B: SsmBackend, C: CheckpointStrategy>(
    weights: FloatTensor<Autodiff<B, C>>,
    first: Option<FloatTensor<Autodiff<B, C>>>,
    gradient: FloatTensor<Autodiff<B, C>>,
    problem: &MaskedSoftmaxProblem,
) -> FloatTensor<Autodiff<B, C>> {
    let first = first.map(|first| first.primitive);
    let (weights, gradient) = (weights.primitive, gradient.primitive);
    let gradient = B::masked_softmax_backward(weights, first, gradient, problem);
    <Autodiff<B, C> as AutodiffBackend>::from_inner(gradient)
}
