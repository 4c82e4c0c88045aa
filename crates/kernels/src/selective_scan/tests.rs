use super::self_test::{self, cases, plain, problem};
use super::{SelectiveScanInputs, SelectiveScanProblem, reference, selective_scan};
use crate::backend::{SsmBackend, StateSpaceGradients, StateSpaceOutput};
use crate::error::KernelError;
use crate::testing::laws::{check_packed, check_split};
use crate::testing::state_space::{Case, PATHS, Path, Reference, assert_outcomes_close};
use crate::testing::subject::Subject;
use crate::testing::{Seeded, assert_tensors_close, golden};
use burn::tensor::{DType, Tensor, TensorMetadata, backend::Backend, ops::FloatTensor};

impl Reference for SelectiveScanProblem {
    fn with(&self, batch: usize, seq: usize, has_initial_state: bool) -> Self {
        Self {
            batch,
            seq,
            has_initial_state,
            ..*self
        }
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
}

#[test]
fn golden_values_are_reproduced() {
    let file = golden::load("kernel_selective_scan");
    for golden in self_test::golden(&file).expect("the fixture") {
        for path in PATHS {
            golden.case.check_against(path, &golden.expected);
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
            Case::seeded(problem, 1).check(path);
            Case::seeded(plain(problem), 2).check(path);
        }
        let case = Case::seeded(problem(2, 12, 8, 4, 2), 3).with_documents(&[3, 7, 8]);
        case.check(path);
    }
}

#[test]
fn public_path_agrees_with_the_f64_recurrence_off_the_grid() {
    for case in cases() {
        case.check(Path::Public);
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
fn saved_states_have_the_shape_that_is_named_beforehand() {
    for case in cases() {
        let (operands, reset) = (
            case.primitives::<Subject>(),
            case.reset_primitive::<Subject>(),
        );
        let dtypes = operands.each_ref().map(|operand| operand.dtype());
        let (device, has_reset) = (Default::default(), reset.is_some());
        let named = Subject::selective_scan_saved(&device, dtypes, has_reset, &case.problem);
        let saved = Subject::selective_scan_forward(operands, reset, &case.problem, true).saved;
        let saved = saved.map(|saved| saved.shape());
        assert_eq!(saved, named, "{:?}", case.problem);
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
