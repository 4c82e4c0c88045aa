//! The causal convolution in f64, and its cases.

use super::CausalConv1dProblem;
use crate::backend::SsmBackend;
use crate::self_test::golden::{GoldenCase, GoldenError, Tensors};
use crate::self_test::single_output::{Case, Operation};
use crate::self_test::tape::Var;
use burn::tensor::ops::FloatTensor;

impl Operation<4> for CausalConv1dProblem {
    fn label(&self) -> String {
        let Self {
            batch,
            seq,
            channels,
            width,
            ..
        } = self;
        let flags = [
            (self.has_bias, "bias"),
            (self.has_initial_window, "window"),
            (self.silu, "silu"),
        ];
        let on = flags
            .iter()
            .filter(|(on, _)| *on)
            .map(|(_, flag)| format!(" {flag}"));
        let on: String = on.collect();
        format!("b{batch} l{seq} c{channels} w{width}{on}")
    }

    fn names(&self) -> [&'static str; 4] {
        ["x", "weight", "bias", "initial_window"]
    }

    fn shapes(&self) -> [Option<Vec<usize>>; 4] {
        [
            Some(vec![self.batch, self.seq, self.channels]),
            Some(vec![self.channels, self.width]),
            self.has_bias.then(|| vec![self.channels]),
            self.has_initial_window
                .then(|| vec![self.batch, self.width - 1, self.channels]),
        ]
    }

    fn public_forward<B: SsmBackend>(
        &self,
        operands: [FloatTensor<B>; 4],
        reset: Option<FloatTensor<B>>,
    ) -> FloatTensor<B> {
        B::causal_conv1d_forward(operands, reset, self)
    }

    fn naive(&self, operands: &[Vec<Var>; 4], reset: Option<&[f32]>) -> Vec<Var> {
        let [x, weight, bias, window] = operands;
        let mut y = vec![Var::ZERO; x.len()];
        for row in 0..self.batch {
            for t in 0..self.seq {
                for ch in 0..self.channels {
                    let mut v = if self.has_bias { bias[ch] } else { Var::ZERO };
                    for back in 0..self.width {
                        // Stop at the first step of a document.
                        let input = if back <= t {
                            x[(row * self.seq + t - back) * self.channels + ch]
                        } else if self.has_initial_window {
                            let entry = self.width - 1 + t - back;
                            window[(row * (self.width - 1) + entry) * self.channels + ch]
                        } else {
                            Var::ZERO
                        };
                        v += weight[ch * self.width + self.width - 1 - back] * input;
                        let starts = |step: usize| {
                            reset.is_some_and(|reset| reset[row * self.seq + step] != 0.0)
                        };
                        if back <= t && starts(t - back) {
                            break;
                        }
                    }
                    y[(row * self.seq + t) * self.channels + ch] =
                        if self.silu { v.silu() } else { v };
                }
            }
        }
        y
    }
}

pub(super) fn problem(
    batch: usize,
    seq: usize,
    channels: usize,
    width: usize,
) -> CausalConv1dProblem {
    CausalConv1dProblem {
        batch,
        seq,
        channels,
        width,
        has_bias: true,
        has_initial_window: width > 1,
        silu: true,
    }
}

pub(super) fn plain(problem: CausalConv1dProblem) -> CausalConv1dProblem {
    CausalConv1dProblem {
        has_bias: false,
        has_initial_window: false,
        silu: false,
        ..problem
    }
}

/// Document starts at every step where `starts` says so, shifted from row to row.
pub(super) fn documents(batch: usize, seq: usize) -> Vec<f32> {
    let starts = |row: usize, t: usize| matches!((t + row) % 7, 3 | 5 | 6);
    (0..batch)
        .flat_map(|row| (0..seq).map(move |t| f32::from(u8::from(starts(row, t)))))
        .collect()
}

/// Lengths off every grid, widths 1 to 5, operands there and not, documents.
pub(crate) fn cases() -> Vec<Case<CausalConv1dProblem, 4>> {
    let mut cases = Vec::new();
    let mut add = |problem: CausalConv1dProblem| {
        for problem in [problem, plain(problem)] {
            let case = Case::seeded(problem, 1);
            let reset = Some(documents(problem.batch, problem.seq));
            cases.push(case.clone());
            cases.push(Case { reset, ..case });
        }
    };
    for seq in [1, 3, 63, 65, 130, 333] {
        add(problem(2, seq, 9, 4));
    }
    add(problem(3, 65, 64, 4));
    add(problem(1, 130, 130, 4));
    add(problem(1, 9, 4, 1));
    add(problem(2, 9, 17, 2));
    add(problem(2, 65, 17, 3));
    add(problem(1, 11, 6, 5));
    add(problem(8, 2048, 3, 4));
    // Far out on both sides of the activation.
    let mut far = Case::seeded(problem(2, 65, 8, 4), 2);
    far.operands[0].iter_mut().for_each(|x| *x *= 100.0);
    cases.push(far);
    cases
}

/// The convolution's part of `kernel_verify`: a prefix, then two rounds of drafts.
pub(crate) fn golden(
    file: &Tensors,
) -> Result<Vec<GoldenCase<Case<CausalConv1dProblem, 4>>>, GoldenError> {
    let [channels, width] = file.dims("conv.in.weight")?;
    let floats = |name: &str| Ok(file.permuted(name, &[0, 2, 1])?.floats());
    let run = |y: &str, x: &str, window: Option<&str>| {
        let [batch, _, seq] = file.dims(x)?;
        let has_initial_window = window.is_some();
        let x = floats(x)?;
        let case = Case {
            problem: CausalConv1dProblem {
                has_initial_window,
                ..problem(batch, seq, channels, width)
            },
            dy: vec![1.0; x.len()],
            operands: [
                x,
                file.get("conv.in.weight")?.floats(),
                file.get("conv.in.bias")?.floats(),
                window.map_or(Ok(Vec::new()), floats)?,
            ],
            reset: None,
        };
        let mut golden = GoldenCase::new(y.trim_end_matches(".y"), case);
        golden.expect("y", file.permuted(y, &[0, 2, 1])?);
        Ok(golden)
    };
    let mut cases = vec![
        run("conv.prefix.y", "conv.in.prefix", None)?,
        run(
            "conv.round1.y",
            "conv.in.round1",
            Some("conv.prefix.window"),
        )?,
    ];
    for accepted in 0..4 {
        let y = format!("conv.accept{accepted}.round2.y");
        let window = format!("conv.accept{accepted}.window");
        cases.push(run(&y, "conv.in.round2", Some(&window))?);
    }
    Ok(cases)
}
