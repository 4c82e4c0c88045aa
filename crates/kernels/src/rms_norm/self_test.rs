//! The RMS norm in f64, and its cases.

use super::RmsNormProblem;
use crate::backend::SsmBackend;
use crate::self_test::single_output::{Case, Operation};
use crate::self_test::tape::Var;
use burn::tensor::FloatDType;
use burn::tensor::ops::FloatTensor;

impl Operation<2> for RmsNormProblem {
    fn label(&self) -> String {
        let Self {
            batch,
            seq,
            channels,
            ..
        } = self;
        format!("b{batch} l{seq} c{channels}")
    }

    fn names(&self) -> [&'static str; 2] {
        ["x", "weight"]
    }

    fn shapes(&self) -> [Option<Vec<usize>>; 2] {
        let full = vec![self.batch, self.seq, self.channels];
        [Some(full), Some(vec![self.channels])]
    }

    fn public_forward<B: SsmBackend>(
        &self,
        operands: [FloatTensor<B>; 2],
        _reset: Option<FloatTensor<B>>,
    ) -> FloatTensor<B> {
        B::rms_norm_forward(operands, self)
    }

    fn naive(&self, [x, weight]: &[Vec<Var>; 2], _reset: Option<&[f32]>) -> Vec<Var> {
        let mut out = Vec::with_capacity(x.len());
        for step in x.chunks(self.channels) {
            let mut square = Var::ZERO;
            for x in step {
                square += *x * *x;
            }
            let mean = square.scale(1.0 / self.channels as f64);
            let scale = (mean + Var::constant(self.eps)).inverse_sqrt();
            out.extend(
                step.iter()
                    .zip(weight)
                    .map(|(x, weight)| *weight * *x * scale),
            );
        }
        out
    }
}

/// Lengths and widths off every grid, a step wider than a cube.
pub(crate) fn cases() -> Vec<Case<RmsNormProblem, 2>> {
    let case = |batch, seq, channels, eps| {
        let problem = RmsNormProblem {
            batch,
            seq,
            channels,
            eps,
            dtype: FloatDType::F32,
        };
        Case::seeded(problem, 1)
    };
    let mut cases = Vec::new();
    for seq in [1, 3, 63, 65, 130, 333] {
        cases.push(case(2, seq, 18, 1e-3));
    }
    cases.push(case(3, 65, 72, 1e-5));
    cases.push(case(1, 7, 1, 1e-3));
    cases.push(case(2, 5, 33, 1e-5));
    cases.push(case(2, 17, 576, 1e-5));
    cases.push(case(1, 3, 4100, 1e-6));
    cases
}
