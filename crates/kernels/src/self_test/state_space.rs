//! One harness for the operations with a state: every implementation, on the same cases.
//!
//! Operands are in the order of the operations: input, dt, a, b, c, d, z, dt_bias, initial_state.

use super::host::{download, free_nan, upload};
use super::tape::{self, Var};
use crate::backend::{SsmBackend, StateSpaceOutput};
use crate::primitive::wrap;
use crate::seeded::Seeded;
use burn::backend::Autodiff;
use burn::tensor::Shape;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::ops::{FloatTensor, FloatTensorOps};

/// Names of the operands.
pub(crate) const NAMES: [&str; 9] = [
    "input",
    "dt",
    "a",
    "b",
    "c",
    "d",
    "z",
    "dt_bias",
    "initial_state",
];

/// What the harness has to know about an operation.
pub(crate) trait Operation: Copy + std::fmt::Debug {
    /// `None` for an absent operand.
    fn shapes(&self) -> [Option<Vec<usize>>; 9];
    /// Sizes and options, short.
    fn label(&self) -> String;
    fn seq(&self) -> usize;
    fn batch(&self) -> usize;
    fn dt_softplus(&self) -> bool;
    /// Elements of a state.
    fn state_len(&self) -> usize {
        let shapes = self.shapes();
        let width: usize = (shapes[0].as_ref().expect("input"))[2..].iter().product();
        let d_state = *shapes[3].as_ref().expect("b").last().expect("d_state");
        self.batch() * width * d_state
    }
    fn public_forward<B: SsmBackend>(
        &self,
        operands: [FloatTensor<B>; 9],
        reset: Option<FloatTensor<B>>,
    ) -> StateSpaceOutput<B>;
    /// The recurrence step by step in f64: output and last state. Absent operands are empty.
    fn naive(&self, operands: &[Vec<Var>; 9], reset: Option<&[f32]>) -> (Vec<Var>, Vec<Var>);
}

/// Inputs and output gradients on the host.
#[derive(Clone, Debug)]
pub(crate) struct Case<P> {
    pub(crate) problem: P,
    /// Empty when absent.
    pub(crate) operands: [Vec<f32>; 9],
    /// `[batch, seq]`.
    pub(crate) reset: Option<Vec<f32>>,
    pub(crate) dy: Vec<f32>,
    /// Gradient of the last state.
    pub(crate) dlast: Vec<f32>,
}

/// What an implementation returned.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) y: Vec<f32>,
    pub(crate) last_state: Vec<f32>,
    /// Empty for an absent operand.
    pub(crate) gradients: [Vec<f32>; 9],
}

impl<P: Operation> Case<P> {
    /// Seeded inputs for a problem.
    pub(crate) fn seeded(problem: P, seed: u64) -> Self {
        let mut seeded = Seeded::new(seed);
        let shapes = problem.shapes();
        let range = |index: usize| match index {
            1 if problem.dt_softplus() => (-3.0, 1.0),
            1 => (0.01, 0.6),
            2 => (-3.0, -0.1),
            7 if problem.dt_softplus() => (-1.0, 0.5),
            7 => (0.0, 0.2),
            _ => (-1.0, 1.0),
        };
        let operands: [Vec<f32>; 9] = std::array::from_fn(|index| {
            let (low, high) = range(index);
            let length = shapes[index]
                .as_ref()
                .map_or(0, |shape| shape.iter().product());
            seeded.uniforms(length, low, high)
        });
        let dy = seeded.uniforms(operands[0].len(), -1.0, 1.0);
        let dlast = seeded.uniforms(problem.state_len(), -1.0, 1.0);
        Self {
            problem,
            operands,
            reset: None,
            dy,
            dlast,
        }
    }

    /// Marks document starts, the same in every row.
    pub(crate) fn with_documents(mut self, starts: &[usize]) -> Self {
        let (batch, seq) = (self.problem.batch(), self.problem.seq());
        let mut reset = vec![0.0; batch * seq];
        for row in 0..batch {
            for &start in starts {
                reset[row * seq + start] = 1.0;
            }
        }
        self.reset = Some(reset);
        self
    }

    pub(crate) fn primitives<B: Backend>(&self) -> [FloatTensor<B>; 9] {
        let shapes = self.problem.shapes();
        std::array::from_fn(|index| match &shapes[index] {
            Some(shape) => upload::<B>(&self.operands[index], shape),
            None => upload::<B>(&[f32::NAN], &[1]),
        })
    }

    pub(crate) fn reset_primitive<B: Backend>(&self) -> Option<FloatTensor<B>> {
        let shape = [self.problem.batch(), self.problem.seq()];
        self.reset.as_ref().map(|reset| upload::<B>(reset, &shape))
    }

    /// Runs `forward` on burn's tape over `B`.
    pub(crate) fn run_taped<B: Backend>(
        &self,
        forward: impl FnOnce(
            &P,
            [FloatTensor<Autodiff<B>>; 9],
            Option<FloatTensor<Autodiff<B>>>,
        ) -> StateSpaceOutput<Autodiff<B>>,
    ) -> Outcome {
        let shapes = self.problem.shapes();
        let leaves = self.primitives::<B>().map(|primitive| {
            let leaf = <Autodiff<B> as AutodiffBackend>::from_inner(primitive);
            Autodiff::<B>::float_set_require_grad(leaf, true)
        });
        let reset = self
            .reset_primitive::<B>()
            .map(<Autodiff<B> as AutodiffBackend>::from_inner);
        let out = forward(&self.problem, leaves.clone(), reset);
        let weigh = |output: &FloatTensor<Autodiff<B>>, weights: &[f32]| {
            let flat = Shape::new([weights.len()]);
            let weights = upload::<B>(weights, &[weights.len()]);
            let weights = <Autodiff<B> as AutodiffBackend>::from_inner(weights);
            let output = Autodiff::<B>::float_reshape(output.clone(), flat);
            (wrap::<Autodiff<B>, 1>(output) * wrap::<Autodiff<B>, 1>(weights)).sum()
        };
        let loss = weigh(&out.y, &self.dy) + weigh(&out.last_state, &self.dlast);
        let gradients = loss.backward();
        let gradients = std::array::from_fn(|index| {
            shapes[index].as_ref()?;
            <Autodiff<B> as AutodiffBackend>::grad(&leaves[index], &gradients)
        });
        Outcome {
            y: download::<B>(<Autodiff<B> as AutodiffBackend>::inner(out.y)),
            last_state: download::<B>(<Autodiff<B> as AutodiffBackend>::inner(out.last_state)),
            gradients: gradients.map(|gradient| gradient.map_or_else(Vec::new, download::<B>)),
        }
    }

    /// What users of `B` get, forward and backward.
    pub(crate) fn run_public<B: SsmBackend>(&self) -> Outcome {
        let lengths = self.operands.iter().map(Vec::len);
        free_nan::<B>(lengths.filter(|&length| length > 0));
        self.run_taped::<B>(|problem, operands, reset| {
            problem.public_forward::<Autodiff<B>>(operands, reset)
        })
    }

    /// Outputs and gradients of the f64 recurrence.
    pub(crate) fn expected(&self) -> Vec<(String, Vec<f64>)> {
        let operands = tape::leaves(&self.operands);
        let (y, last_state) = self.problem.naive(&operands, self.reset.as_deref());
        let weigh = |outputs: &[Var], weights: &[f32]| -> Vec<(Var, f32)> {
            outputs
                .iter()
                .copied()
                .zip(weights.iter().copied())
                .collect()
        };
        let outputs = [weigh(&y, &self.dy), weigh(&last_state, &self.dlast)];
        let gradients = tape::gradients(&operands, outputs.into_iter().flatten());
        let values = |outputs: &[Var]| outputs.iter().map(|output| output.value).collect();
        let named = [values(&y), values(&last_state)]
            .into_iter()
            .chain(gradients);
        named_results(named.collect())
    }
}

/// The case with step sizes near 0 and far above 1, and every third decay rate so large that nothing is left of a state.
pub(crate) fn extreme<P: Operation>(mut case: Case<P>) -> Case<P> {
    for (index, dt) in case.operands[1].iter_mut().enumerate() {
        *dt += if index % 2 == 0 { 60.0 } else { -60.0 };
    }
    for a in case.operands[2].iter_mut().step_by(3) {
        *a *= 1e4;
    }
    case
}

/// Names for output, last state and the gradients of the operands that are there.
fn named_results<T>(results: Vec<Vec<T>>) -> Vec<(String, Vec<T>)> {
    let names = ["y".to_owned(), "last_state".to_owned()].into_iter();
    let names = names.chain(NAMES.map(|name| format!("grad.{name}")));
    names
        .zip(results)
        .filter(|(_, values)| !values.is_empty())
        .collect()
}

impl Outcome {
    pub(crate) fn named(self) -> Vec<(String, Vec<f32>)> {
        let outputs = [self.y, self.last_state].into_iter();
        named_results(outputs.chain(self.gradients).collect())
    }
}
