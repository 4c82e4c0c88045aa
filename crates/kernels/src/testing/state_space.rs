//! Every implementation of the operations with a state, on the same cases.

use super::subject::{Subject, download, upload};
use super::{F32_GRADIENT_TOLERANCE, F32_TOLERANCE, assert_close};
use crate::backend::{StateSpaceGradients, StateSpaceOutput};
pub(crate) use crate::self_test::state_space::{Case, NAMES, Operation, Outcome};
use crate::self_test::{CaseCheck, compare::compare};
use burn::backend::Autodiff;
use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;
use burn_flex::Flex;

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

/// The reference of an operation, and problems like another.
pub(crate) trait Reference: Operation {
    fn with(&self, batch: usize, seq: usize, has_initial_state: bool) -> Self;
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

impl<P: Reference> Case<P> {
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

    /// Runs forward and backward.
    pub(crate) fn run(&self, path: Path) -> Outcome {
        match path {
            Path::Reference => self.run_reference::<Flex>(),
            Path::Tape => self.run_taped::<Flex>(|problem, operands, reset| {
                problem.reference_forward::<Autodiff<Flex>>(operands, reset)
            }),
            Path::Public => self.run_public::<Subject>(),
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

    /// Outputs and gradients against the f64 recurrence.
    pub(crate) fn check(&self, path: Path) {
        self.check_against(path, &self.expected());
    }

    /// Outputs and gradients against known ones.
    pub(crate) fn check_against(&self, path: Path, expected: &[(String, Vec<f64>)]) {
        let check = CaseCheck {
            op: "",
            case: self.problem.label(),
            tensors: compare(&self.run(path).named(), expected),
        };
        check.assert_passed(&format!("{path:?}"));
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
