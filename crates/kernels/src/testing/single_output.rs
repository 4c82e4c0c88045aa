//! One harness for the operations with one output: every implementation, on the same cases.

use super::state_space::{PATHS, Path, widen};
use super::subject::{Subject, download, upload};
use super::{F32_GRADIENT_TOLERANCE, F32_TOLERANCE, Seeded, assert_close};
use crate::backend::SsmBackend;
use crate::primitive::wrap;
use burn::backend::Autodiff;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::ops::{FloatTensor, FloatTensorOps};
use burn_flex::Flex;

/// What the harness has to know about an operation with `N` operands.
pub(crate) trait Operation<const N: usize>: Copy + std::fmt::Debug {
    /// `None` for an absent operand.
    fn shapes(&self) -> [Option<Vec<usize>>; N];
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
    fn public_forward<B: SsmBackend>(
        &self,
        operands: [FloatTensor<B>; N],
        reset: Option<FloatTensor<B>>,
    ) -> FloatTensor<B>;
    /// The definition in f64. Absent operands are empty.
    fn naive(&self, operands: &[Vec<f64>; N], reset: Option<&[f64]>) -> Vec<f64>;
}

/// Inputs and the output gradient on the host.
#[derive(Clone, Debug)]
pub(crate) struct Case<P, const N: usize> {
    pub(crate) problem: P,
    /// Empty when absent.
    pub(crate) operands: [Vec<f32>; N],
    /// `[batch, seq]`.
    pub(crate) reset: Option<Vec<f32>>,
    pub(crate) dy: Vec<f32>,
}

/// What an implementation returned; an absent operand's gradient is empty.
#[derive(Clone, Debug)]
pub(crate) struct Outcome<const N: usize> {
    pub(crate) y: Vec<f32>,
    pub(crate) gradients: [Vec<f32>; N],
}

impl<P: Operation<N>, const N: usize> Case<P, N> {
    /// Seeded inputs in -2..2.
    pub(crate) fn seeded(problem: P, seed: u64) -> Self {
        let mut seeded = Seeded::new(seed);
        let operands = problem.shapes().map(|shape| {
            let length = shape.map_or(0, |shape| shape.iter().product());
            seeded.uniforms(length, -2.0, 2.0)
        });
        let dy = seeded.uniforms(operands[0].len(), -1.0, 1.0);
        Self {
            problem,
            operands,
            reset: None,
            dy,
        }
    }

    /// Runs forward and backward.
    pub(crate) fn run(&self, path: Path) -> Outcome<N> {
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

    /// Operands and reset.
    fn primitives<B: Backend>(&self) -> ([FloatTensor<B>; N], Option<FloatTensor<B>>) {
        let shapes = self.problem.shapes();
        let operands = std::array::from_fn(|index| match &shapes[index] {
            Some(shape) => upload::<B>(&self.operands[index], shape),
            None => upload::<B>(&[f32::NAN], &[1]),
        });
        let rows = &shapes[0].as_ref().expect("first operand")[..2];
        let reset = self.reset.as_ref().map(|reset| upload::<B>(reset, rows));
        (operands, reset)
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

    /// Runs `forward` on burn's tape over `B`.
    fn run_taped<B: Backend>(
        &self,
        forward: impl FnOnce(
            &P,
            [FloatTensor<Autodiff<B>>; N],
            Option<FloatTensor<Autodiff<B>>>,
        ) -> FloatTensor<Autodiff<B>>,
    ) -> Outcome<N> {
        let shapes = self.problem.shapes();
        let (operands, reset) = self.primitives::<B>();
        let leaves = operands.map(|primitive| {
            let leaf = <Autodiff<B> as AutodiffBackend>::from_inner(primitive);
            Autodiff::<B>::float_set_require_grad(leaf, true)
        });
        let reset = reset.map(<Autodiff<B> as AutodiffBackend>::from_inner);
        let y = forward(&self.problem, leaves.clone(), reset);
        let dy = upload::<B>(&self.dy, shapes[0].as_ref().expect("first operand"));
        let dy = <Autodiff<B> as AutodiffBackend>::from_inner(dy);
        let loss = (wrap::<Autodiff<B>, 3>(y.clone()) * wrap::<Autodiff<B>, 3>(dy)).sum();
        let gradients = loss.backward();
        let gradients = std::array::from_fn(|index| match shapes[index] {
            Some(_) => download::<B>(
                <Autodiff<B> as AutodiffBackend>::grad(&leaves[index], &gradients)
                    .unwrap_or_else(|| panic!("no gradient of operand {index}")),
            ),
            None => Vec::new(),
        });
        Outcome {
            y: download::<B>(<Autodiff<B> as AutodiffBackend>::inner(y)),
            gradients,
        }
    }

    /// Every path against the f64 definition and its central differences.
    pub(crate) fn check(&self) {
        for path in PATHS {
            self.check_path(path);
        }
    }

    fn check_path(&self, path: Path) {
        let outcome = self.run(path);
        let operands = self.operands.each_ref().map(|operand| widen(operand));
        let reset = self.reset.as_deref().map(widen);
        let y = self.problem.naive(&operands, reset.as_deref());
        let label = format!("{path:?} {:?}", self.problem);
        assert_close(&label, &outcome.y, &y, F32_TOLERANCE);
        let loss = |operands: &[Vec<f64>; N]| -> f64 {
            let y = self.problem.naive(operands, reset.as_deref());
            y.iter()
                .zip(&self.dy)
                .map(|(y, &dy)| y * f64::from(dy))
                .sum()
        };
        let mut seeded = Seeded::new(99);
        for (index, gradient) in outcome.gradients.iter().enumerate() {
            let length = gradient.len();
            let norm = widen(gradient).iter().map(|g| g * g).sum::<f64>().sqrt();
            for _ in 0..4.min(length) {
                let direction = widen(&seeded.uniforms(length, -1.0, 1.0));
                let size = direction.iter().map(|d| d * d).sum::<f64>().sqrt();
                let moved = |step: f64| {
                    let mut operands = operands.clone();
                    for (value, d) in operands[index].iter_mut().zip(&direction) {
                        *value += step * d / size;
                    }
                    loss(&operands)
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
                    "{label}: gradient of operand {index} is {got:e}, expected {expected:e}",
                );
            }
        }
    }

    /// The public path against the reference.
    pub(crate) fn check_public(&self) {
        let (got, expected) = (self.run(Path::Public), self.run(Path::Reference));
        let label = format!("{:?}", self.problem);
        assert_close(&label, &got.y, &widen(&expected.y), F32_TOLERANCE);
        for (index, (got, expected)) in got.gradients.iter().zip(&expected.gradients).enumerate() {
            let name = format!("{label}: gradient of operand {index}");
            assert_close(&name, got, &widen(expected), F32_GRADIENT_TOLERANCE);
        }
    }
}
