//! One harness for the operations with a state: every implementation, on the same cases.
//!
//! Operands are in the order of the operations: input, dt, a, b, c, d, z, dt_bias, initial_state.

use super::subject::{Subject, download, upload};
use super::{F32_GRADIENT_TOLERANCE, F32_TOLERANCE, Seeded, assert_close};
use crate::backend::{SsmBackend, StateSpaceGradients, StateSpaceOutput};
use crate::primitive::wrap;
use burn::backend::Autodiff;
use burn::tensor::Shape;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::ops::{FloatTensor, FloatTensorOps};
use burn_flex::Flex;

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

/// Operands with a time axis (axis 1).
pub(super) const TIMED: [bool; 9] = [true, true, false, true, true, false, true, false, false];

/// Implementations of one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Path {
    /// The reference on the CPU, differentiated by burn's tape.
    Tape,
    /// The reference on the CPU and its hand-written gradients.
    Reference,
    /// What users of the [`Subject`] get, through the tape nodes.
    Public,
}

pub(crate) const PATHS: [Path; 3] = [Path::Tape, Path::Reference, Path::Public];

/// What the harness has to know about an operation.
pub(crate) trait Operation: Copy + std::fmt::Debug {
    /// `None` for an absent operand.
    fn shapes(&self) -> [Option<Vec<usize>>; 9];
    fn seq(&self) -> usize;
    fn batch(&self) -> usize;
    fn with(&self, batch: usize, seq: usize, has_initial_state: bool) -> Self;
    fn dt_softplus(&self) -> bool;
    fn reference_forward<B: Backend>(
        &self,
        operands: [FloatTensor<B>; 9],
        reset: Option<FloatTensor<B>>,
    ) -> StateSpaceOutput<B>;
    fn reference_backward<B: Backend>(
        &self,
        operands: [FloatTensor<B>; 9],
        reset: Option<FloatTensor<B>>,
        gradients: StateSpaceGradients<B>,
    ) -> [FloatTensor<B>; 9];
    fn public_forward<B: SsmBackend>(
        &self,
        operands: [FloatTensor<B>; 9],
        reset: Option<FloatTensor<B>>,
    ) -> StateSpaceOutput<B>;
    /// The recurrence step by step in f64: output and last state. Absent operands are empty.
    fn naive(&self, operands: &[Vec<f64>; 9], reset: Option<&[f64]>) -> (Vec<f64>, Vec<f64>);
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

fn state_shape(shapes: &[Option<Vec<usize>>; 9], batch: usize, last: usize) -> Vec<usize> {
    let inputs = shapes[0].as_ref().expect("input");
    let d_state = *shapes[3].as_ref().expect("b").last().expect("d_state");
    let mut shape = vec![batch];
    shape.extend_from_slice(&inputs[2..]);
    shape.push(d_state);
    debug_assert_eq!(shape.iter().product::<usize>(), last);
    shape
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
        let inner = shapes[0].as_ref().expect("input");
        let width: usize = inner[2..].iter().product();
        let d_state = *shapes[3].as_ref().expect("b").last().expect("d_state");
        let dy = seeded.uniforms(operands[0].len(), -1.0, 1.0);
        let dlast = seeded.uniforms(problem.batch() * width * d_state, -1.0, 1.0);
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

    /// The steps `range` of every row, as a case of its own.
    pub(crate) fn steps(&self, range: std::ops::Range<usize>, has_initial_state: bool) -> Self {
        let (batch, seq) = (self.problem.batch(), self.problem.seq());
        let cut = |values: &[f32]| -> Vec<f32> {
            let width = values.len() / (batch * seq);
            let row = |row: usize| {
                let start = (row * seq + range.start) * width;
                values[start..start + range.len() * width].to_vec()
            };
            (0..batch).flat_map(row).collect()
        };
        let mut operands = self.operands.clone();
        for (index, operand) in operands.iter_mut().enumerate() {
            if TIMED[index] {
                *operand = cut(operand);
            }
        }
        if !has_initial_state {
            operands[8].clear();
        }
        Self {
            problem: self.problem.with(batch, range.len(), has_initial_state),
            operands,
            reset: self.reset.as_deref().map(cut),
            dy: cut(&self.dy),
            dlast: self.dlast.clone(),
        }
    }

    fn primitives<B: Backend>(&self) -> [FloatTensor<B>; 9] {
        let shapes = self.problem.shapes();
        std::array::from_fn(|index| match &shapes[index] {
            Some(shape) => upload::<B>(&self.operands[index], shape),
            None => upload::<B>(&[f32::NAN], &[1]),
        })
    }

    fn reset_primitive<B: Backend>(&self) -> Option<FloatTensor<B>> {
        let shape = [self.problem.batch(), self.problem.seq()];
        self.reset.as_ref().map(|reset| upload::<B>(reset, &shape))
    }

    /// Runs forward and backward.
    pub(crate) fn run(&self, path: Path) -> Outcome {
        match path {
            Path::Reference => self.run_reference::<Flex>(),
            Path::Tape => self.run_taped::<Flex>(|problem, operands, reset| {
                problem.reference_forward::<Autodiff<Flex>>(operands, reset)
            }),
            Path::Public => self.run_taped::<Subject>(|problem, operands, reset| {
                problem.public_forward::<Autodiff<Subject>>(operands, reset)
            }),
        }
    }

    fn run_reference<B: Backend>(&self) -> Outcome {
        let shapes = self.problem.shapes();
        let inner = shapes[0].as_ref().expect("input");
        let state = state_shape(&shapes, self.problem.batch(), self.dlast.len());
        let (operands, reset) = (self.primitives::<B>(), self.reset_primitive::<B>());
        let out = self
            .problem
            .reference_forward::<B>(operands.clone(), reset.clone());
        let gradients = StateSpaceGradients {
            y: Some(upload::<B>(&self.dy, inner)),
            last_state: Some(upload::<B>(&self.dlast, &state)),
        };
        let gradients = self
            .problem
            .reference_backward::<B>(operands, reset, gradients);
        let mut index = 0;
        let gradients = gradients.map(|gradient| {
            index += 1;
            match shapes[index - 1].is_some() {
                true => download::<B>(gradient),
                false => Vec::new(),
            }
        });
        Outcome {
            y: download::<B>(out.y),
            last_state: download::<B>(out.last_state),
            gradients,
        }
    }

    /// Runs `forward` on burn's tape over `B`.
    fn run_taped<B: Backend>(
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
        let gradients = std::array::from_fn(|index| match &shapes[index] {
            Some(_) => download::<B>(
                <Autodiff<B> as AutodiffBackend>::grad(&leaves[index], &gradients)
                    .unwrap_or_else(|| panic!("no gradient of `{}`", NAMES[index])),
            ),
            None => Vec::new(),
        });
        Outcome {
            y: download::<B>(<Autodiff<B> as AutodiffBackend>::inner(out.y)),
            last_state: download::<B>(<Autodiff<B> as AutodiffBackend>::inner(out.last_state)),
            gradients,
        }
    }

    fn loss(&self, operands: &[Vec<f64>; 9]) -> f64 {
        let reset = self.reset.as_deref().map(widen);
        let (y, last_state) = self.problem.naive(operands, reset.as_deref());
        let dot =
            |a: &[f64], b: &[f32]| -> f64 { a.iter().zip(b).map(|(a, &b)| a * f64::from(b)).sum() };
        dot(&y, &self.dy) + dot(&last_state, &self.dlast)
    }

    /// Outputs against the f64 recurrence, gradients against its central differences along random
    /// directions and in single elements.
    pub(crate) fn check_against_naive(&self, path: Path) {
        let label = |what: &str| format!("{path:?} {:?}: {what}", self.problem);
        let outcome = self.run(path);
        let operands = self.operands.each_ref().map(|operand| widen(operand));
        let reset = self.reset.as_deref().map(widen);
        let (y, last_state) = self.problem.naive(&operands, reset.as_deref());
        assert_close(&label("y"), &outcome.y, &y, F32_TOLERANCE);
        assert_close(
            &label("last state"),
            &outcome.last_state,
            &last_state,
            F32_TOLERANCE,
        );

        let mut seeded = Seeded::new(99);
        for (index, gradient) in outcome.gradients.iter().enumerate() {
            if gradient.is_empty() {
                continue;
            }
            let length = gradient.len();
            let norm = widen(gradient).iter().map(|g| g * g).sum::<f64>().sqrt();
            for round in 0..4 {
                let direction: Vec<f64> = if round < 2 {
                    widen(&seeded.uniforms(length, -1.0, 1.0))
                } else {
                    let hot = seeded.uniform(0.0, length as f32) as usize % length;
                    (0..length)
                        .map(|i| if i == hot { 1.0 } else { 0.0 })
                        .collect()
                };
                let size = direction.iter().map(|d| d * d).sum::<f64>().sqrt();
                let moved = |step: f64| {
                    let mut operands = operands.clone();
                    for (value, d) in operands[index].iter_mut().zip(&direction) {
                        *value += step * d / size;
                    }
                    self.loss(&operands)
                };
                const STEP: f64 = 1e-5;
                let expected = (moved(STEP) - moved(-STEP)) / (2.0 * STEP);
                let got: f64 = gradient
                    .iter()
                    .zip(&direction)
                    .map(|(&g, d)| f64::from(g) * d / size)
                    .sum();
                let rms = norm / (length as f64).sqrt();
                let limit = F32_GRADIENT_TOLERANCE * rms.max(expected.abs()) + 1e-9;
                assert!(
                    (got - expected).abs() <= limit,
                    "{}: along direction {round} is {got:e}, expected {expected:e}",
                    label(NAMES[index]),
                );
            }
        }
    }
}

pub(crate) fn widen(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| f64::from(value)).collect()
}

/// Outputs and gradients of one outcome against another.
pub(crate) fn assert_outcomes_close(name: &str, got: &Outcome, expected: &Outcome) {
    assert_close(
        &format!("{name}: y"),
        &got.y,
        &widen(&expected.y),
        F32_TOLERANCE,
    );
    let last_state = widen(&expected.last_state);
    assert_close(
        &format!("{name}: last state"),
        &got.last_state,
        &last_state,
        F32_TOLERANCE,
    );
    for (index, (got, expected)) in got.gradients.iter().zip(&expected.gradients).enumerate() {
        let name = format!("{name}: gradient of {}", NAMES[index]);
        assert_close(&name, got, &widen(expected), F32_GRADIENT_TOLERANCE);
    }
}
