//! One harness for the operations with one output.

use super::host::{download, free_nan, upload};
use super::tape::{self, Var};
use crate::backend::SsmBackend;
use crate::primitive::wrap;
use crate::seeded::Seeded;
use burn::backend::Autodiff;
use burn::tensor::Shape;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::ops::{FloatTensor, FloatTensorOps};

/// What the harness has to know about an operation with `N` operands.
pub(crate) trait Operation<const N: usize>: Copy + std::fmt::Debug {
    /// Sizes and options, short.
    fn label(&self) -> String;
    /// Names of the operands.
    fn names(&self) -> [&'static str; N];
    /// `None` for an absent operand.
    fn shapes(&self) -> [Option<Vec<usize>>; N];
    /// Shape of the input that tells documents apart.
    fn documents_shape(&self) -> [usize; 2] {
        let shapes = self.shapes();
        let first = shapes[0].as_ref().expect("first operand");
        [first[0], first[1]]
    }
    fn public_forward<B: SsmBackend>(
        &self,
        operands: [FloatTensor<B>; N],
        reset: Option<FloatTensor<B>>,
    ) -> FloatTensor<B>;
    /// The definition in f64. Absent operands are empty.
    fn naive(&self, operands: &[Vec<Var>; N], reset: Option<&[f32]>) -> Vec<Var>;
}

/// Inputs and the output gradient on the host.
#[derive(Clone, Debug)]
pub(crate) struct Case<P, const N: usize> {
    pub(crate) problem: P,
    /// Empty when absent.
    pub(crate) operands: [Vec<f32>; N],
    /// `[batch, seq]`, or what else tells documents apart.
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

    /// Operands and reset.
    pub(crate) fn primitives<B: Backend>(&self) -> ([FloatTensor<B>; N], Option<FloatTensor<B>>) {
        let shapes = self.problem.shapes();
        let operands = std::array::from_fn(|index| match &shapes[index] {
            Some(shape) => upload::<B>(&self.operands[index], shape),
            None => upload::<B>(&[f32::NAN], &[1]),
        });
        let rows = self.problem.documents_shape();
        let reset = (self.reset.as_ref()).map(|reset| upload::<B>(reset, &rows));
        (operands, reset)
    }

    /// Runs `forward` on burn's tape over `B`.
    pub(crate) fn run_taped<B: Backend>(
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
        let dy = upload::<B>(&self.dy, &[self.dy.len()]);
        let dy = <Autodiff<B> as AutodiffBackend>::from_inner(dy);
        let flat = Autodiff::<B>::float_reshape(y.clone(), Shape::new([self.dy.len()]));
        let loss = (wrap::<Autodiff<B>, 1>(flat) * wrap::<Autodiff<B>, 1>(dy)).sum();
        let gradients = loss.backward();
        let gradients = std::array::from_fn(|index| {
            shapes[index].as_ref()?;
            <Autodiff<B> as AutodiffBackend>::grad(&leaves[index], &gradients)
        });
        Outcome {
            y: download::<B>(<Autodiff<B> as AutodiffBackend>::inner(y)),
            gradients: gradients.map(|gradient| gradient.map_or_else(Vec::new, download::<B>)),
        }
    }

    /// What users of `B` get, forward and backward.
    pub(crate) fn run_public<B: SsmBackend>(&self) -> Outcome<N> {
        let lengths = self.operands.iter().map(Vec::len);
        free_nan::<B>(lengths.filter(|&length| length > 0));
        self.run_taped::<B>(|problem, operands, reset| {
            problem.public_forward::<Autodiff<B>>(operands, reset)
        })
    }

    /// Output and gradients of the f64 definition.
    pub(crate) fn expected(&self) -> Vec<(String, Vec<f64>)> {
        let operands = tape::leaves(&self.operands);
        let y = self.problem.naive(&operands, self.reset.as_deref());
        let outputs = y.iter().copied().zip(self.dy.iter().copied());
        let gradients = tape::gradients(&operands, outputs);
        let y = y.iter().map(|output| output.value).collect();
        self.named_results(std::iter::once(y).chain(gradients).collect())
    }

    /// An outcome with the names of its tensors.
    pub(crate) fn named(&self, outcome: Outcome<N>) -> Vec<(String, Vec<f32>)> {
        self.named_results(
            std::iter::once(outcome.y)
                .chain(outcome.gradients)
                .collect(),
        )
    }

    /// Names for the output and the gradients of the operands that are there.
    fn named_results<T>(&self, results: Vec<Vec<T>>) -> Vec<(String, Vec<T>)> {
        let gradients = self.problem.names().map(|name| format!("grad.{name}"));
        let names = std::iter::once("y".to_owned()).chain(gradients);
        names
            .zip(results)
            .filter(|(_, values)| !values.is_empty())
            .collect()
    }
}
