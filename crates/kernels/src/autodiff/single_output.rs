//! Tape nodes of the operations with one output.

use crate::backend::SsmBackend;
use crate::causal_conv1d::CausalConv1dProblem;
use crate::gated_rms_norm::GatedRmsNormProblem;
use crate::swiglu::SwigluProblem;
use burn::backend::autodiff::{
    Autodiff, NodeId,
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind},
};
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::ops::FloatTensor;
use std::fmt::Debug;

/// A problem knows which operation of the inner backend it belongs to.
pub(super) trait SingleOutputOp<const N: usize>: Copy + Debug + Send + 'static {
    fn forward<B: SsmBackend>(
        &self,
        operands: [FloatTensor<B>; N],
        reset: Option<FloatTensor<B>>,
    ) -> FloatTensor<B>;

    fn backward<B: SsmBackend>(
        &self,
        operands: [FloatTensor<B>; N],
        reset: Option<FloatTensor<B>>,
        gradient: FloatTensor<B>,
    ) -> [FloatTensor<B>; N];
}

impl SingleOutputOp<4> for CausalConv1dProblem {
    fn forward<B: SsmBackend>(
        &self,
        operands: [FloatTensor<B>; 4],
        reset: Option<FloatTensor<B>>,
    ) -> FloatTensor<B> {
        B::causal_conv1d_forward(operands, reset, self)
    }

    fn backward<B: SsmBackend>(
        &self,
        operands: [FloatTensor<B>; 4],
        reset: Option<FloatTensor<B>>,
        gradient: FloatTensor<B>,
    ) -> [FloatTensor<B>; 4] {
        B::causal_conv1d_backward(operands, reset, gradient, self)
    }
}

impl SingleOutputOp<3> for GatedRmsNormProblem {
    fn forward<B: SsmBackend>(
        &self,
        operands: [FloatTensor<B>; 3],
        _reset: Option<FloatTensor<B>>,
    ) -> FloatTensor<B> {
        B::gated_rms_norm_forward(operands, self)
    }

    fn backward<B: SsmBackend>(
        &self,
        operands: [FloatTensor<B>; 3],
        _reset: Option<FloatTensor<B>>,
        gradient: FloatTensor<B>,
    ) -> [FloatTensor<B>; 3] {
        B::gated_rms_norm_backward(operands, gradient, self)
    }
}

impl SingleOutputOp<2> for SwigluProblem {
    fn forward<B: SsmBackend>(
        &self,
        operands: [FloatTensor<B>; 2],
        _reset: Option<FloatTensor<B>>,
    ) -> FloatTensor<B> {
        B::swiglu_forward(operands, self)
    }

    fn backward<B: SsmBackend>(
        &self,
        operands: [FloatTensor<B>; 2],
        _reset: Option<FloatTensor<B>>,
        gradient: FloatTensor<B>,
    ) -> [FloatTensor<B>; 2] {
        B::swiglu_backward(operands, gradient, self)
    }
}

/// The tape node.
#[derive(Debug)]
struct Step<P>(P);

impl<B: SsmBackend, P: SingleOutputOp<N>, const N: usize> Backward<B, N> for Step<P> {
    type State = ([NodeId; N], Option<FloatTensor<B>>);

    fn backward(
        self,
        ops: Ops<Self::State, N>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let gradient = grads.consume::<B>(&ops.node);
        let (ids, reset) = ops.state;
        let operands = ids.map(|id| checkpointer.retrieve_node_output(id));
        let operand_gradients = self.0.backward::<B>(operands, reset, gradient);
        for (node, gradient) in ops.parents.into_iter().zip(operand_gradients) {
            if let Some(node) = node {
                grads.register::<B>(node.id, gradient);
            }
        }
    }
}

/// Runs the operation and puts its output on the tape.
pub(super) fn forward<B: SsmBackend, C: CheckpointStrategy, P, const N: usize>(
    operands: [FloatTensor<Autodiff<B, C>>; N],
    reset: Option<FloatTensor<Autodiff<B, C>>>,
    problem: P,
) -> FloatTensor<Autodiff<B, C>>
where
    P: SingleOutputOp<N>,
{
    let reset = reset.map(|reset| reset.primitive);
    let nodes = operands.each_ref().map(|operand| operand.node.clone());
    // Held until the output is on the tape: a tape drops what no tensor holds, at the backward pass of any thread.
    let _held = operands.each_ref().map(|operand| operand.rc.clone());
    match Backward::<B, N>::prepare::<C>(Step(problem), nodes)
        .compute_bound()
        .stateful()
    {
        OpsKind::Tracked(mut prep) => {
            let ids = operands.each_ref().map(|operand| prep.checkpoint(operand));
            let inner = operands.map(|operand| operand.primitive);
            let output = problem.forward::<B>(inner, reset.clone());
            prep.finish((ids, reset), output)
        }
        OpsKind::UnTracked(prep) => {
            let inner = operands.map(|operand| operand.primitive);
            prep.finish(problem.forward::<B>(inner, reset))
        }
    }
}

/// Gradients as constants: they carry no tape of their own, so there is no second derivative.
pub(super) fn backward<B: SsmBackend, C: CheckpointStrategy, P, const N: usize>(
    operands: [FloatTensor<Autodiff<B, C>>; N],
    reset: Option<FloatTensor<Autodiff<B, C>>>,
    gradient: FloatTensor<Autodiff<B, C>>,
    problem: P,
) -> [FloatTensor<Autodiff<B, C>>; N]
where
    P: SingleOutputOp<N>,
{
    problem
        .backward::<B>(
            operands.map(|operand| operand.primitive),
            reset.map(|reset| reset.primitive),
            gradient.primitive,
        )
        .map(<Autodiff<B, C> as AutodiffBackend>::from_inner)
}
