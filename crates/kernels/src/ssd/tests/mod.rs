mod half_precision;

use super::{SsdInputs, SsdOptions, SsdProblem, reference, ssd};
use crate::backend::{SsmBackend, StateSpaceGradients, StateSpaceOutput};
use crate::error::KernelError;
use crate::testing::laws::{check_packed, check_split};
use crate::testing::state_space::{Case, Operation, PATHS, Path, assert_outcomes_close};
use crate::testing::subject::Subject;
use crate::testing::{F32_GRADIENT_TOLERANCE, F32_TOLERANCE, assert_close, golden};
use burn::tensor::{Tensor, backend::Backend, ops::FloatTensor};

impl Operation for SsdProblem {
    fn shapes(&self) -> [Option<Vec<usize>>; 9] {
        let like_x = vec![self.batch, self.seq, self.nheads, self.headdim];
        let grouped = vec![self.batch, self.seq, self.ngroups, self.d_state];
        let per_head = vec![self.nheads];
        [
            Some(like_x.clone()),
            Some(vec![self.batch, self.seq, self.nheads]),
            Some(per_head.clone()),
            Some(grouped.clone()),
            Some(grouped),
            self.has_d.then(|| per_head.clone()),
            self.has_z.then_some(like_x),
            self.has_dt_bias.then_some(per_head),
            self.has_initial_state
                .then(|| vec![self.batch, self.nheads, self.headdim, self.d_state]),
        ]
    }

    fn seq(&self) -> usize {
        self.seq
    }

    fn batch(&self) -> usize {
        self.batch
    }

    fn with(&self, batch: usize, seq: usize, has_initial_state: bool) -> Self {
        Self {
            batch,
            seq,
            has_initial_state,
            ..*self
        }
    }

    fn dt_softplus(&self) -> bool {
        self.dt_softplus
    }

    fn reference_forward<B: Backend>(
        &self,
        operands: [FloatTensor<B>; 9],
        reset: Option<FloatTensor<B>>,
    ) -> StateSpaceOutput<B> {
        reference::forward::<B>(operands, reset, self)
    }

    fn reference_backward<B: Backend>(
        &self,
        operands: [FloatTensor<B>; 9],
        reset: Option<FloatTensor<B>>,
        gradients: StateSpaceGradients<B>,
    ) -> [FloatTensor<B>; 9] {
        reference::backward::<B>(operands, reset, gradients, self)
    }

    fn public_forward<B: SsmBackend>(
        &self,
        operands: [FloatTensor<B>; 9],
        reset: Option<FloatTensor<B>>,
    ) -> StateSpaceOutput<B> {
        B::ssd_forward(operands, reset, self, false)
    }

    fn naive(&self, operands: &[Vec<f64>; 9], reset: Option<&[f64]>) -> (Vec<f64>, Vec<f64>) {
        let [x, dt, a, b, c, d, z, dt_bias, initial_state] = operands;
        let (width, states) = (self.headdim, self.d_state);
        let mut state = match self.has_initial_state {
            true => initial_state.clone(),
            false => vec![0.0; self.batch * self.nheads * width * states],
        };
        let mut y = vec![0.0; x.len()];
        for row in 0..self.batch {
            for t in 0..self.seq {
                let step = row * self.seq + t;
                for head in 0..self.nheads {
                    let raw = dt[step * self.nheads + head]
                        + if self.has_dt_bias { dt_bias[head] } else { 0.0 };
                    let dt = if self.dt_softplus {
                        raw.exp().ln_1p()
                    } else {
                        raw
                    };
                    let decay = match reset.is_some_and(|reset| reset[step] != 0.0) {
                        true => 0.0,
                        false => (dt * a[head]).exp(),
                    };
                    let group = head / (self.nheads / self.ngroups);
                    let grouped = (step * self.ngroups + group) * states;
                    for p in 0..width {
                        let at = (step * self.nheads + head) * width + p;
                        let first = ((row * self.nheads + head) * width + p) * states;
                        let mut sum = if self.has_d { d[head] * x[at] } else { 0.0 };
                        for n in 0..states {
                            let s = &mut state[first + n];
                            *s = decay * *s + dt * x[at] * b[grouped + n];
                            sum += *s * c[grouped + n];
                        }
                        let gate = match self.has_z {
                            true => z[at] / (1.0 + (-z[at]).exp()),
                            false => 1.0,
                        };
                        y[at] = sum * gate;
                    }
                }
            }
        }
        (y, state)
    }
}

/// Everything on: batch, seq, nheads, headdim, ngroups, d_state, chunk_size.
fn problem(sizes: [usize; 7]) -> SsdProblem {
    let [batch, seq, nheads, headdim, ngroups, d_state, chunk_size] = sizes;
    SsdProblem {
        batch,
        seq,
        nheads,
        headdim,
        ngroups,
        d_state,
        chunk_size,
        has_d: true,
        has_z: true,
        has_dt_bias: true,
        has_initial_state: true,
        dt_softplus: true,
    }
}

/// Everything off.
fn plain(problem: SsdProblem) -> SsdProblem {
    SsdProblem {
        has_d: false,
        has_z: false,
        has_dt_bias: false,
        has_initial_state: false,
        dt_softplus: false,
        ..problem
    }
}

#[test]
fn golden_values_are_reproduced() {
    let file = golden::load("kernel_ssd");
    let [batch, seq, nheads, headdim] = file["in.x"].shape[..] else {
        panic!("rank of x")
    };
    let [_, _, ngroups, d_state] = file["in.B"].shape[..] else {
        panic!("rank of B")
    };
    for case in ["init", "init_z", "zero"] {
        for chunk_size in [16, 32, 64, 256] {
            let problem = SsdProblem {
                has_z: case == "init_z",
                has_initial_state: case != "zero",
                ..problem([batch, seq, nheads, headdim, ngroups, d_state, chunk_size])
            };
            let optional = |has: bool, key: &str| match has {
                true => file[key].floats(),
                false => Vec::new(),
            };
            let inputs = Case {
                problem,
                operands: [
                    file["in.x"].floats(),
                    file["in.dt"].floats(),
                    file["in.A"].floats(),
                    file["in.B"].floats(),
                    file["in.C"].floats(),
                    file["in.D"].floats(),
                    optional(problem.has_z, "in.z"),
                    file["in.dt_bias"].floats(),
                    optional(problem.has_initial_state, "in.initial_states"),
                ],
                reset: None,
                dy: file["in.dy"].floats(),
                dlast: file["in.dfinal_state"].floats(),
            };
            for path in PATHS {
                let got = inputs.run(path);
                let check = |key: &str, got: &[f32], tolerance| {
                    let name = format!("{path:?} chunks of {chunk_size} {case}.{key}");
                    if let Some(expected) = file.get(&format!("{case}.{key}")) {
                        assert_close(&name, got, &expected.values, tolerance);
                    }
                };
                check("y", &got.y, F32_TOLERANCE);
                check("final_state", &got.last_state, F32_TOLERANCE);
                let keys = [
                    "x",
                    "dt",
                    "A",
                    "B",
                    "C",
                    "D",
                    "z",
                    "dt_bias",
                    "initial_states",
                ];
                for (key, gradient) in keys.into_iter().zip(&got.gradients) {
                    check(&format!("grad.{key}"), gradient, F32_GRADIENT_TOLERANCE);
                }
            }
        }
    }
}

#[test]
fn every_path_agrees_with_the_f64_recurrence() {
    for path in PATHS {
        for sizes in [
            [1, 1, 3, 4, 1, 2, 8],
            [3, 3, 2, 5, 2, 3, 2],
            [1, 9, 9, 2, 3, 4, 4],
            [1, 37, 9, 8, 9, 8, 16],
        ] {
            Case::seeded(problem(sizes), 1).check_against_naive(path);
            Case::seeded(plain(problem(sizes)), 2).check_against_naive(path);
        }
        let case = Case::seeded(problem([2, 12, 4, 4, 2, 4, 5]), 3);
        case.with_documents(&[3, 5, 6, 10])
            .check_against_naive(path);
    }
}

#[test]
fn public_path_agrees_with_the_reference_off_the_grid() {
    for seq in [1, 3, 63, 65, 130] {
        for [batch, nheads, headdim, ngroups, d_state] in [
            [1, 9, 16, 9, 16],
            [3, 4, 8, 1, 12],
            [1, 4, 32, 2, 32],
            [1, 2, 64, 2, 64],
            [2, 3, 5, 3, 7],
        ] {
            let problem = problem([batch, seq, nheads, headdim, ngroups, d_state, 64]);
            for problem in [problem, plain(problem)] {
                let case = Case::seeded(problem, 4);
                let expected = case.run(Path::Reference);
                assert_outcomes_close(&format!("{problem:?}"), &case.run(Path::Public), &expected);
            }
        }
    }
}

#[test]
fn heads_and_states_may_be_wider_than_a_tile() {
    for (seq, chunk_size) in [(130, 64), (333, 256)] {
        for [nheads, headdim, ngroups, d_state] in [[4, 96, 2, 68], [3, 65, 1, 130]] {
            let problem = problem([1, seq, nheads, headdim, ngroups, d_state, chunk_size]);
            let case = Case::seeded(problem, 9);
            for case in [case.clone(), case.with_documents(&[0, 70, 128, 129])] {
                // The reference loses digits in long chunks.
                let mut short = case.clone();
                short.problem.chunk_size = 16;
                let expected = short.run(Path::Reference);
                assert_outcomes_close(&format!("{problem:?}"), &case.run(Path::Public), &expected);
            }
        }
    }
}

#[test]
fn chunk_size_does_not_change_the_result() {
    for path in [Path::Reference, Path::Public] {
        let run =
            |chunk_size| Case::seeded(problem([2, 70, 3, 16, 3, 16, chunk_size]), 7).run(path);
        let expected = run(70);
        for chunk_size in [1, 16, 64, 1024] {
            let name = format!("{path:?} chunks of {chunk_size}");
            assert_outcomes_close(&name, &run(chunk_size), &expected);
        }
    }
}

#[test]
fn split_with_carried_state_equals_whole() {
    for path in [Path::Reference, Path::Public] {
        for at in [1, 40, 69] {
            let problem = problem([2, 70, 3, 16, 3, 8, 32]);
            check_split(&Case::seeded(problem, 5), at, path);
            check_split(&Case::seeded(plain(problem), 5), at, path);
        }
    }
}

#[test]
fn packed_row_equals_documents_alone() {
    for path in PATHS {
        let case = Case::seeded(problem([2, 70, 3, 16, 3, 8, 32]), 6);
        check_packed(&case, &[5, 6, 32, 64], path);
        check_packed(&case, &[0, 69], path);
    }
}

#[test]
fn wrong_shapes_are_errors() {
    let device = Default::default();
    let inputs = |seq: usize, ngroups: usize| SsdInputs::<Subject> {
        x: Tensor::zeros([2, seq, 6, 4], &device),
        dt: Tensor::zeros([2, seq, 6], &device),
        a: Tensor::zeros([6], &device),
        b: Tensor::zeros([2, seq, ngroups, 8], &device),
        c: Tensor::zeros([2, seq, ngroups, 8], &device),
        d: None,
        z: None,
        dt_bias: None,
        initial_state: None,
        reset: None,
    };
    let options = SsdOptions::default();
    assert!(ssd(inputs(5, 3), options).is_ok());
    let error = |inputs| ssd(inputs, options).expect_err("inputs are wrong");
    assert_eq!(
        error(inputs(0, 3)),
        KernelError::Empty {
            op: "ssd",
            size: "seq"
        }
    );
    assert_eq!(
        error(inputs(5, 4)).to_string(),
        "ssd: `nheads` is 6, must be a multiple of `ngroups` = 4"
    );
    let c = SsdInputs {
        c: Tensor::zeros([2, 5, 3, 7], &device),
        ..inputs(5, 3)
    };
    assert!(matches!(error(c), KernelError::Shape { input: "c", .. }));
    let state = Some(Tensor::zeros([2, 6, 8, 4], &device));
    let state = SsdInputs {
        initial_state: state,
        ..inputs(5, 3)
    };
    assert!(matches!(
        error(state),
        KernelError::Shape {
            input: "initial_state",
            ..
        }
    ));
    let none = ssd(
        inputs(5, 3),
        SsdOptions {
            chunk_size: 0,
            ..options
        },
    )
    .expect_err("no chunk");
    assert_eq!(
        none,
        KernelError::Empty {
            op: "ssd",
            size: "chunk_size"
        }
    );
}
