//! The gate in f64, and its cases.

use super::SwigluProblem;
use crate::backend::SsmBackend;
use crate::self_test::single_output::{Case, Operation};
use crate::self_test::tape::Var;
use burn::tensor::ops::FloatTensor;

impl Operation<2> for SwigluProblem {
    fn label(&self) -> String {
        let Self {
            batch,
            seq,
            channels,
        } = self;
        format!("b{batch} l{seq} c{channels}")
    }

    fn names(&self) -> [&'static str; 2] {
        ["gate", "up"]
    }

    fn shapes(&self) -> [Option<Vec<usize>>; 2] {
        let full = vec![self.batch, self.seq, self.channels];
        [Some(full.clone()), Some(full)]
    }

    fn public_forward<B: SsmBackend>(
        &self,
        operands: [FloatTensor<B>; 2],
        _reset: Option<FloatTensor<B>>,
    ) -> FloatTensor<B> {
        B::swiglu_forward(operands, self)
    }

    fn naive(&self, [gate, up]: &[Vec<Var>; 2], _reset: Option<&[f32]>) -> Vec<Var> {
        gate.iter()
            .zip(up)
            .map(|(gate, up)| gate.silu() * *up)
            .collect()
    }
}

/// Lengths and widths off every grid; gates far from zero, where `e^x` leaves the range of f32.
pub(crate) fn cases() -> Vec<Case<SwigluProblem, 2>> {
    let case = |batch, seq, channels| {
        let problem = SwigluProblem {
            batch,
            seq,
            channels,
        };
        Case::seeded(problem, 1)
    };
    let mut cases = Vec::new();
    for seq in [1, 3, 63, 65, 130, 333] {
        cases.push(case(2, seq, 18));
    }
    cases.push(case(3, 65, 72));
    cases.push(case(1, 7, 1));
    cases.push(case(1, 5, 4099));
    let mut far = case(2, 8, 24);
    for (index, gate) in far.operands[0].iter_mut().enumerate() {
        *gate += [0.0, 60.0, 110.0][index % 3];
        if index % 2 == 0 {
            *gate = -*gate;
        }
    }
    cases.push(far);
    cases
}
