//! Every implementation of the operations with one output, on the same cases.

use super::state_space::{PATHS, Path};
use super::subject::{Subject, download, upload};
pub(crate) use crate::self_test::single_output::{Case, Operation, Outcome};
use crate::self_test::{CaseCheck, compare::compare};
use burn::backend::Autodiff;
use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;
use burn_flex::Flex;

/// The reference of an operation with `N` operands.
pub(crate) trait Reference<const N: usize>: Operation<N> {
    fn reference_forward<B: Backend>(
        &self,
        operands: [FloatTensor<B>; N],
        reset: Option<FloatTensor<B>>,
    ) -> FloatTensor<B>;
    fn reference_backward<B: Backend>(
        &self,
        operands: [FloatTensor<B>; N],
        reset: Option<FloatTensor<B>>,
        gradient: FloatTensor<B>,
    ) -> [FloatTensor<B>; N];
}

impl<P: Reference<N>, const N: usize> Case<P, N> {
    /// Runs forward and backward.
    pub(crate) fn run(&self, path: Path) -> Outcome<N> {
        match path {
            Path::Reference => self.run_reference::<Flex>(),
            Path::Tape => self.run_taped::<Flex>(|problem, operands, reset| {
                problem.reference_forward::<Autodiff<Flex>>(operands, reset)
            }),
            Path::Public => self.run_public::<Subject>(),
        }
    }

    fn run_reference<B: Backend>(&self) -> Outcome<N> {
        let shapes = self.problem.shapes();
        let (operands, reset) = self.primitives::<B>();
        let y = self
            .problem
            .reference_forward::<B>(operands.clone(), reset.clone());
        let dy = upload::<B>(&self.dy, shapes[0].as_ref().expect("first operand"));
        let gradients = self.problem.reference_backward::<B>(operands, reset, dy);
        let mut gradients = gradients.into_iter().zip(&shapes);
        Outcome {
            y: download::<B>(y),
            gradients: std::array::from_fn(|_| {
                match gradients.next().expect("one for each operand") {
                    (gradient, Some(_)) => download::<B>(gradient),
                    _ => Vec::new(),
                }
            }),
        }
    }

    /// Every path against the f64 definition.
    pub(crate) fn check(&self) {
        self.check_against(&self.expected());
    }

    /// Every path against known results.
    pub(crate) fn check_against(&self, expected: &[(String, Vec<f64>)]) {
        for path in PATHS {
            let check = CaseCheck {
                op: "",
                case: self.problem.label(),
                tensors: compare(&self.named(self.run(path)), expected),
            };
            check.assert_passed(&format!("{path:?}"));
        }
    }
}
