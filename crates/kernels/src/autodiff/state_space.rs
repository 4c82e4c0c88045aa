//! Tape nodes of the operations that return an output and a last state.

use crate::backend::{SsmBackend, StateSpaceGradients, StateSpaceOutput};
use crate::selective_scan::SelectiveScanProblem;
use crate::ssd::SsdProblem;
use burn::backend::autodiff::{
    Autodiff, NodeId,
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind},
};
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::ops::FloatTensor;
use std::fmt::Debug;

type Operands<B> = [FloatTensor<B>; 9];

/// A problem knows which operation of the inner backend it belongs to.
pub(super) trait StateSpaceOp: Copy + Debug + Send + 'static {
    fn forward<B: SsmBackend>(
        &self,
        operands: Operands<B>,
        reset: Option<FloatTensor<B>>,
        save: bool,
    ) -> StateSpaceOutput<B>;

    fn backward<B: SsmBackend>(
        &self,
        operands: Operands<B>,
        reset: Option<FloatTensor<B>>,
        saved: Option<FloatTensor<B>>,
        gradients: StateSpaceGradients<B>,
    ) -> Operands<B>;
}

impl StateSpaceOp for SelectiveScanProblem {
    fn forward<B: SsmBackend>(
        &self,
        operands: Operands<B>,
        reset: Option<FloatTensor<B>>,
        save: bool,
    ) -> StateSpaceOutput<B> {
        B::selective_scan_forward(operands, reset, self, save)
    }

    fn backward<B: SsmBackend>(
        &self,
        operands: Operands<B>,
        reset: Option<FloatTensor<B>>,
        saved: Option<FloatTensor<B>>,
        gradients: StateSpaceGradients<B>,
    ) -> Operands<B> {
        B::selective_scan_backward(operands, reset, saved, gradients, self)
    }
}

impl StateSpaceOp for SsdProblem {
    fn forward<B: SsmBackend>(
        &self,
        operands: Operands<B>,
        reset: Option<FloatTensor<B>>,
        save: bool,
    ) -> StateSpaceOutput<B> {
        B::ssd_forward(operands, reset, self, save)
    }

    fn backward<B: SsmBackend>(
        &self,
        operands: Operands<B>,
        reset: Option<FloatTensor<B>>,
        saved: Option<FloatTensor<B>>,
        gradients: StateSpaceGradients<B>,
    ) -> Operands<B> {
        B::ssd_backward(operands, reset, saved, gradients, self)
    }
}

/// Which output a tape node stands for.
#[derive(Clone, Copy, Debug)]
enum Output {
    Y,
    LastState,
}

/// The tape node of one output.
#[derive(Debug)]
struct Step<P> {
    problem: P,
    output: Output,
}

/// What a tape node keeps: operand ids, reset, saved states.
type Kept<B> = ([NodeId; 9], Option<FloatTensor<B>>, Option<FloatTensor<B>>);

impl<B: SsmBackend, P: StateSpaceOp> Backward<B, 9> for Step<P> {
    type State = Kept<B>;

    fn backward(
        self,
        ops: Ops<Self::State, 9>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let gradient = grads.consume::<B>(&ops.node);
        let (ids, reset, saved) = ops.state;
        let operands = ids.map(|id| checkpointer.retrieve_node_output(id));
        let gradients = match self.output {
            Output::Y => StateSpaceGradients {
                y: Some(gradient),
                last_state: None,
            },
            Output::LastState => StateSpaceGradients {
                y: None,
                last_state: Some(gradient),
            },
        };
        let operand_gradients = self
            .problem
            .backward::<B>(operands, reset, saved, gradients);
        for (node, gradient) in ops.parents.into_iter().zip(operand_gradients) {
            if let Some(node) = node {
                grads.register::<B>(node.id, gradient);
            }
        }
    }
}

/// Runs the operation once and puts both outputs on the tape.
pub(super) fn forward<B: SsmBackend, C: CheckpointStrategy, P: StateSpaceOp>(
    operands: Operands<Autodiff<B, C>>,
    reset: Option<FloatTensor<Autodiff<B, C>>>,
    problem: P,
) -> StateSpaceOutput<Autodiff<B, C>> {
    let reset = reset.map(|reset| reset.primitive);
    let tracked = operands
        .iter()
        .any(|operand| !operand.node.requirement.is_none());
    let inner = operands.each_ref().map(|operand| operand.primitive.clone());
    let output = problem.forward::<B>(inner, reset.clone(), tracked);
    let put = |output: FloatTensor<B>, which: Output, saved: Option<FloatTensor<B>>| {
        let nodes = operands.each_ref().map(|operand| operand.node.clone());
        let step = Step {
            problem,
            output: which,
        };
        match Backward::<B, 9>::prepare::<C>(step, nodes)
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(mut prep) => {
                let ids = operands.each_ref().map(|operand| prep.checkpoint(operand));
                prep.finish((ids, reset.clone(), saved), output)
            }
            OpsKind::UnTracked(prep) => prep.finish(output),
        }
    };
    StateSpaceOutput {
        y: put(output.y, Output::Y, output.saved.clone()),
        last_state: put(output.last_state, Output::LastState, output.saved),
        saved: None,
    }
}

/// Gradients as constants: they carry no tape of their own, so there is no second derivative.
pub(super) fn backward<B: SsmBackend, C: CheckpointStrategy, P: StateSpaceOp>(
    operands: Operands<Autodiff<B, C>>,
    reset: Option<FloatTensor<Autodiff<B, C>>>,
    saved: Option<FloatTensor<Autodiff<B, C>>>,
    gradients: StateSpaceGradients<Autodiff<B, C>>,
    problem: P,
) -> Operands<Autodiff<B, C>> {
    let inner = StateSpaceGradients {
        y: gradients.y.map(|gradient| gradient.primitive),
        last_state: gradients.last_state.map(|gradient| gradient.primitive),
    };
    problem
        .backward::<B>(
            operands.map(|operand| operand.primitive),
            reset.map(|reset| reset.primitive),
            saved.map(|saved| saved.primitive),
            inner,
        )
        .map(<Autodiff<B, C> as AutodiffBackend>::from_inner)
}
