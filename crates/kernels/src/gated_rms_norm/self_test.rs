//! The gated norm in f64, and its cases.

use super::GatedRmsNormProblem;
use crate::backend::SsmBackend;
use crate::self_test::golden::{GoldenCase, GoldenError, Tensors};
use crate::self_test::single_output::{Case, Operation};
use crate::self_test::tape::Var;
use burn::tensor::ops::FloatTensor;

impl Operation<3> for GatedRmsNormProblem {
    fn label(&self) -> String {
        let Self {
            batch,
            seq,
            channels,
            group_size,
            ..
        } = self;
        format!("b{batch} l{seq} c{channels} of {group_size}")
    }

    fn names(&self) -> [&'static str; 3] {
        ["y", "z", "weight"]
    }

    fn shapes(&self) -> [Option<Vec<usize>>; 3] {
        let full = vec![self.batch, self.seq, self.channels];
        [Some(full.clone()), Some(full), Some(vec![self.channels])]
    }

    fn public_forward<B: SsmBackend>(
        &self,
        operands: [FloatTensor<B>; 3],
        _reset: Option<FloatTensor<B>>,
    ) -> FloatTensor<B> {
        B::gated_rms_norm_forward(operands, self)
    }

    fn naive(&self, operands: &[Vec<Var>; 3], _reset: Option<&[f32]>) -> Vec<Var> {
        let [y, z, weight] = operands;
        let gated: Vec<Var> = y.iter().zip(z).map(|(y, z)| *y * z.silu()).collect();
        let mut out = Vec::with_capacity(y.len());
        for (group, values) in gated.chunks(self.group_size).enumerate() {
            let mut square = Var::ZERO;
            for g in values {
                square += *g * *g;
            }
            let mean = square.scale(1.0 / self.group_size as f64);
            let scale = (mean + Var::constant(self.eps)).inverse_sqrt();
            let first = group * self.group_size % self.channels;
            for (offset, g) in values.iter().enumerate() {
                out.push(weight[first + offset] * *g * scale);
            }
        }
        out
    }
}

/// Lengths off every grid, one group, two and as many as channels.
pub(crate) fn cases() -> Vec<Case<GatedRmsNormProblem, 3>> {
    let mut cases = Vec::new();
    let mut add = |batch, seq, channels, group_size, eps| {
        let problem = GatedRmsNormProblem {
            batch,
            seq,
            channels,
            group_size,
            eps,
        };
        cases.push(Case::seeded(problem, 1));
    };
    for seq in [1, 3, 63, 65, 130, 333] {
        for group_size in [1, 9, 18] {
            add(2, seq, 18, group_size, 1e-3);
        }
    }
    add(3, 65, 72, 8, 1e-5);
    add(1, 7, 144, 16, 1e-3);
    add(2, 5, 66, 33, 1e-3);
    add(2, 33, 64, 64, 1e-5);
    add(1, 130, 512, 256, 1e-5);
    add(8, 2048, 6, 3, 1e-5);
    // Gates far out on both sides, and groups of nothing but zeros.
    let mut far = cases[cases.len() - 2].clone();
    far.operands[1].iter_mut().for_each(|z| *z *= 50.0);
    far.operands[0][..256].fill(0.0);
    cases.push(far);
    cases
}

/// The cases of `kernel_gated_norm` with the gate before the norm.
pub(crate) fn golden(
    file: &Tensors,
) -> Result<Vec<GoldenCase<Case<GatedRmsNormProblem, 3>>>, GoldenError> {
    let [batch, seq, channels] = file.dims("in.x")?;
    let floats = |name: &str| Ok(file.get(name)?.floats());
    let mut cases = Vec::new();
    for (name, group_size) in [("group0", channels), ("group16", 16), ("group8", 8)] {
        let case = Case {
            problem: GatedRmsNormProblem {
                batch,
                seq,
                channels,
                group_size,
                eps: 1e-5,
            },
            operands: [floats("in.x")?, floats("in.z")?, floats("in.weight")?],
            reset: None,
            dy: floats("in.dy")?,
        };
        let name = format!("before_gate0.{name}");
        let mut golden = GoldenCase::new(&name, case);
        golden.expect("y", file.get(&format!("{name}.y"))?.clone());
        for (operand, key) in [("y", "x"), ("z", "z"), ("weight", "weight")] {
            let gradient = file.get(&format!("{name}.grad.{key}"))?;
            golden.expect(&format!("grad.{operand}"), gradient.clone());
        }
        cases.push(golden);
    }
    Ok(cases)
}
