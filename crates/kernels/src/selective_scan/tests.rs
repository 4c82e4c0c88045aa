use super::{SelectiveScanInputs, SelectiveScanProblem, reference, selective_scan};
use crate::backend::{SsmBackend, StateSpaceGradients, StateSpaceOutput};
use crate::error::KernelError;
use crate::testing::laws::{check_packed, check_split};
use crate::testing::state_space::{Case, Operation, PATHS, Path, assert_outcomes_close};
use crate::testing::subject::Subject;
use crate::testing::{
    F32_GRADIENT_TOLERANCE, F32_TOLERANCE, Seeded, assert_close, assert_tensors_close, golden,
};
use burn::tensor::{DType, Tensor, backend::Backend, ops::FloatTensor};

impl Operation for SelectiveScanProblem {
    fn shapes(&self) -> [Option<Vec<usize>>; 9] {
        let inner = vec![self.batch, self.seq, self.d_inner];
        let grouped = vec![self.batch, self.seq, self.ngroups, self.d_state];
        [
            Some(inner.clone()),
            Some(inner.clone()),
            Some(vec![self.d_inner, self.d_state]),
            Some(grouped.clone()),
            Some(grouped),
            self.has_d.then(|| vec![self.d_inner]),
            self.has_z.then_some(inner),
            self.has_dt_bias.then(|| vec![self.d_inner]),
            self.has_initial_state
                .then(|| vec![self.batch, self.d_inner, self.d_state]),
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
        B::selective_scan_forward(operands, reset, self, false)
    }

    fn naive(&self, operands: &[Vec<f64>; 9], reset: Option<&[f64]>) -> (Vec<f64>, Vec<f64>) {
        let [u, dt, a, b, c, d, z, dt_bias, initial_state] = operands;
        let (channels, states) = (self.d_inner, self.d_state);
        let mut h = match self.has_initial_state {
            true => initial_state.clone(),
            false => vec![0.0; self.batch * channels * states],
        };
        let mut y = vec![0.0; u.len()];
        for row in 0..self.batch {
            for t in 0..self.seq {
                let step = row * self.seq + t;
                for ch in 0..channels {
                    let at = step * channels + ch;
                    let raw = dt[at] + if self.has_dt_bias { dt_bias[ch] } else { 0.0 };
                    let dt = if self.dt_softplus {
                        raw.exp().ln_1p()
                    } else {
                        raw
                    };
                    let group = ch / (channels / self.ngroups);
                    let mut sum = if self.has_d { d[ch] * u[at] } else { 0.0 };
                    for n in 0..states {
                        let h = &mut h[(row * channels + ch) * states + n];
                        let grouped = (step * self.ngroups + group) * states + n;
                        if reset.is_some_and(|reset| reset[step] != 0.0) {
                            *h = 0.0;
                        }
                        *h = (dt * a[ch * states + n]).exp() * *h + dt * b[grouped] * u[at];
                        sum += c[grouped] * *h;
                    }
                    let gate = match self.has_z {
                        true => z[at] / (1.0 + (-z[at]).exp()),
                        false => 1.0,
                    };
                    y[at] = sum * gate;
                }
            }
        }
        (y, h)
    }
}

/// Everything on.
fn problem(
    batch: usize,
    seq: usize,
    d_inner: usize,
    d_state: usize,
    ngroups: usize,
) -> SelectiveScanProblem {
    SelectiveScanProblem {
        batch,
        seq,
        d_inner,
        d_state,
        ngroups,
        has_d: true,
        has_z: true,
        has_dt_bias: true,
        has_initial_state: true,
        dt_softplus: true,
    }
}

/// Everything off.
fn plain(problem: SelectiveScanProblem) -> SelectiveScanProblem {
    SelectiveScanProblem {
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
    let file = golden::load("kernel_selective_scan");
    // [batch, d, l] and [batch, g, n, l] in the file, time second here.
    let inner = |key: &str| file[key].permute(&[0, 2, 1]);
    let grouped = |key: &str| file[key].permute(&[0, 3, 1, 2]);
    let [batch, d_inner, seq] = file["in.u"].shape[..] else {
        panic!("rank of u")
    };
    let [_, ngroups, d_state, _] = file["in.B"].shape[..] else {
        panic!("rank of B")
    };
    for case in ["full", "no_z", "no_d", "no_bias", "plain"] {
        let is_plain = case == "plain";
        let problem = SelectiveScanProblem {
            batch,
            seq,
            d_inner,
            d_state,
            ngroups,
            has_d: !is_plain && case != "no_d",
            has_z: !is_plain && case != "no_z",
            has_dt_bias: !is_plain && case != "no_bias",
            has_initial_state: false,
            dt_softplus: !is_plain,
        };
        let optional = |has: bool, values: Vec<f32>| if has { values } else { Vec::new() };
        let inputs = Case {
            problem,
            operands: [
                inner("in.u").floats(),
                inner(if is_plain { "in.delta_pos" } else { "in.delta" }).floats(),
                file["in.A"].floats(),
                grouped("in.B").floats(),
                grouped("in.C").floats(),
                optional(problem.has_d, file["in.D"].floats()),
                optional(problem.has_z, inner("in.z").floats()),
                optional(problem.has_dt_bias, file["in.delta_bias"].floats()),
                Vec::new(),
            ],
            reset: None,
            dy: inner("in.dy").floats(),
            dlast: file["in.dlast_state"].floats(),
        };
        for path in PATHS {
            let got = inputs.run(path);
            let check = |name: &str, got: &[f32], expected: &golden::Golden, tolerance| {
                let name = format!("{path:?} {case}.{name}");
                assert_close(&name, got, &expected.values, tolerance);
            };
            check("y", &got.y, &inner(&format!("{case}.y")), F32_TOLERANCE);
            let last_state = &file[&format!("{case}.last_state")];
            check("last_state", &got.last_state, last_state, F32_TOLERANCE);
            let keys = ["u", "delta", "A", "B", "C", "D", "z", "delta_bias"];
            for (key, gradient) in keys.into_iter().zip(&got.gradients) {
                if gradient.is_empty() {
                    continue;
                }
                let name = format!("{case}.grad.{key}");
                let expected = match key {
                    "u" | "delta" | "z" => inner(&name),
                    "B" | "C" => grouped(&name),
                    _ => file[&name].clone(),
                };
                check(key, gradient, &expected, F32_GRADIENT_TOLERANCE);
            }
        }
    }
}

#[test]
fn every_path_agrees_with_the_f64_recurrence() {
    for path in PATHS {
        for (batch, seq, d_inner, d_state, ngroups) in [
            (1, 1, 6, 3, 1),
            (3, 3, 8, 4, 2),
            (1, 9, 5, 2, 5),
            (2, 37, 32, 16, 2),
        ] {
            let problem = problem(batch, seq, d_inner, d_state, ngroups);
            Case::seeded(problem, 1).check_against_naive(path);
            Case::seeded(plain(problem), 2).check_against_naive(path);
        }
        let case = Case::seeded(problem(2, 12, 8, 4, 2), 3).with_documents(&[3, 7, 8]);
        case.check_against_naive(path);
    }
}

#[test]
fn public_path_agrees_with_the_reference_off_the_grid() {
    for seq in [1, 3, 63, 65, 130] {
        for (batch, d_inner, d_state, ngroups) in [
            (1, 24, 8, 1),
            (3, 24, 8, 2),
            (1, 12, 5, 12),
            (1, 144, 16, 9),
            (2, 40, 16, 1),
        ] {
            let problem = problem(batch, seq, d_inner, d_state, ngroups);
            for problem in [problem, plain(problem)] {
                let case = Case::seeded(problem, 4);
                let name = format!("{problem:?}");
                let expected = case.run(Path::Reference);
                assert_outcomes_close(&name, &case.run(Path::Public), &expected);
            }
        }
    }
}

#[test]
fn long_sequences_agree_with_the_reference() {
    // Many chunks; then a group in parts and states too many to be saved.
    for problem in [problem(1, 333, 48, 16, 3), problem(2, 333, 24, 40, 1)] {
        let case = Case::seeded(problem, 9).with_documents(&[0, 100, 101, 240]);
        let expected = case.run(Path::Reference);
        assert_outcomes_close(&format!("{problem:?}"), &case.run(Path::Public), &expected);
        let case = Case::seeded(plain(problem), 10);
        let expected = case.run(Path::Reference);
        assert_outcomes_close("plain", &case.run(Path::Public), &expected);
    }
}

#[test]
fn split_with_carried_state_equals_whole() {
    for path in [Path::Reference, Path::Public] {
        for at in [1, 40, 69] {
            check_split(&Case::seeded(problem(2, 70, 20, 8, 2), 5), at, path);
            check_split(&Case::seeded(plain(problem(2, 70, 20, 8, 2)), 5), at, path);
        }
    }
}

#[test]
fn packed_row_equals_documents_alone() {
    for path in PATHS {
        let case = Case::seeded(problem(2, 70, 20, 8, 2), 6);
        check_packed(&case, &[5, 6, 32, 64], path);
        check_packed(&case, &[0, 69], path);
    }
}

#[test]
fn wrong_shapes_are_errors() {
    let device = Default::default();
    let inputs = |seq: usize, ngroups: usize| SelectiveScanInputs::<Subject> {
        u: Tensor::zeros([2, seq, 6], &device),
        dt: Tensor::zeros([2, seq, 6], &device),
        a: Tensor::zeros([6, 4], &device),
        b: Tensor::zeros([2, seq, ngroups, 4], &device),
        c: Tensor::zeros([2, seq, ngroups, 4], &device),
        d: None,
        z: None,
        dt_bias: None,
        initial_state: None,
        reset: None,
    };
    assert!(selective_scan(inputs(5, 3), true).is_ok());
    let error = |inputs| selective_scan(inputs, true).expect_err("inputs are wrong");
    assert_eq!(
        error(inputs(0, 3)),
        KernelError::Empty {
            op: "selective_scan",
            size: "seq"
        }
    );
    assert_eq!(
        error(inputs(5, 4)).to_string(),
        "selective_scan: `d_inner` is 6, must be a multiple of `ngroups` = 4"
    );
    let short = SelectiveScanInputs {
        dt: Tensor::zeros([2, 4, 6], &device),
        ..inputs(5, 3)
    };
    assert!(matches!(
        error(short),
        KernelError::Shape { input: "dt", .. }
    ));
    let state = Some(Tensor::zeros([2, 4, 6], &device));
    let state = SelectiveScanInputs {
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
    let reset = SelectiveScanInputs {
        reset: Some(Tensor::zeros([2, 6], &device)),
        ..inputs(5, 3)
    };
    assert!(matches!(
        error(reset),
        KernelError::Shape { input: "reset", .. }
    ));
}

/// Inputs of small integers, exact in every float type.
fn whole_numbers(dtype: DType) -> SelectiveScanInputs<Subject> {
    let device = Default::default();
    let mut seeded = Seeded::new(8);
    let mut tensor = |dims: [usize; 3]| {
        seeded
            .tensor::<Subject, 3>(dims, -3.0, 3.0, &device)
            .round()
            .cast(dtype)
    };
    SelectiveScanInputs {
        u: tensor([2, 5, 6]),
        dt: tensor([2, 5, 6]).abs(),
        a: tensor([1, 6, 4]).reshape([6, 4]).abs().neg(),
        b: tensor([2, 5, 8]).reshape([2, 5, 2, 4]),
        c: tensor([2, 5, 8]).reshape([2, 5, 2, 4]),
        d: None,
        z: None,
        dt_bias: None,
        initial_state: None,
        reset: None,
    }
}

#[test]
fn views_give_the_same_result_as_contiguous_tensors() {
    let inputs = whole_numbers(DType::F32);
    let expected = selective_scan(inputs.clone(), false).expect("shapes agree");
    // Same values, laid out time first, and with other channels before them.
    let turned = |x: Tensor<Subject, 3>| x.swap_dims(0, 1).add_scalar(0.0).swap_dims(0, 1);
    let dt = Tensor::cat(vec![inputs.dt.clone().neg(), inputs.dt.clone()], 2).narrow(2, 6, 6);
    let views = SelectiveScanInputs {
        u: turned(inputs.u.clone()),
        dt,
        ..inputs
    };
    let got = selective_scan(views, false).expect("shapes agree");
    assert_tensors_close("y", got.y, expected.y, 0.0);
    assert_tensors_close("last state", got.last_state, expected.last_state, 0.0);
}

#[test]
fn half_precision_inputs_are_computed_in_f32_and_cast_back() {
    let expected = selective_scan(whole_numbers(DType::F32), false).expect("shapes agree");
    // One rounding of the largest output, several times its RMS.
    for (dtype, tolerance) in [(DType::F16, 4e-3), (DType::BF16, 3e-2)] {
        if !Subject::supports_dtype(&Default::default(), dtype) {
            continue;
        }
        let got = selective_scan(whole_numbers(dtype), false).expect("shapes agree");
        assert_eq!(got.y.dtype(), dtype);
        let y = got.y.cast(DType::F32);
        assert_tensors_close("y", y, expected.y.clone(), tolerance);
    }
}
