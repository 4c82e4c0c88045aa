use super::self_test::{Case, Inputs, cases};
use super::{
    CrossEntropyKlInputs, CrossEntropyKlOperands, CrossEntropyKlProblem, cross_entropy_kl,
    reference,
};
use crate::error::KernelError;
use crate::primitive::unwrap;
use crate::self_test::host::download;
use crate::self_test::{CaseCheck, TensorCheck};
use crate::testing::subject::Subject;
use burn::tensor::{DType, Tensor};
use burn_flex::Flex;

fn assert_passed(case: &Case, path: &str, tensors: Vec<TensorCheck>) {
    let check = CaseCheck {
        op: "cross_entropy_kl",
        case: case.label(),
        tensors,
    };
    check.assert_passed(path);
}

/// Values and gradient by the reference.
fn by_reference(case: &Case, inputs: &Inputs) -> Vec<Vec<f32>> {
    let inputs = case.tensors::<Flex>(inputs, DType::F32);
    let problem = CrossEntropyKlProblem {
        rows: case.rows,
        vocab: case.vocab,
        with_gradient: true,
    };
    let operands = CrossEntropyKlOperands {
        student: unwrap(inputs.student),
        teacher: inputs.teacher.map(unwrap),
        labels: inputs.labels.into_primitive(),
        weights: [inputs.ce_weight, inputs.kl_weight].map(unwrap),
    };
    let (values, gradient) = reference::forward::<Flex>(operands, &problem);
    let gradient = gradient.expect("it was asked for");
    vec![download::<Flex>(values), download::<Flex>(gradient)]
}

#[test]
fn operation_and_reference_follow_the_definition() {
    for case in cases() {
        let inputs = case.inputs(7);
        let results = by_reference(&case, &inputs);
        assert_passed(&case, "reference", case.compared(&inputs, results));
        assert_passed(&case, "operation", case.check::<Subject>());
    }
}

#[test]
fn half_precision_logits_lose_only_the_gradients_digits() {
    #[cfg(feature = "wgpu")]
    let dtypes = [DType::F16];
    #[cfg(not(feature = "wgpu"))]
    let dtypes = [DType::F16, DType::BF16];
    for case in cases().into_iter().filter(|case| case.scale <= 5.0) {
        let inputs = case.inputs(3);
        for dtype in dtypes {
            // Half a unit in the last place, and what f16 cannot hold of small probabilities.
            let tolerance = if dtype == DType::F16 { 1e-3 } else { 4e-3 };
            let mut checks = case.compared(&inputs, case.run::<Subject>(&inputs, dtype));
            checks[1].tolerance = tolerance;
            assert_passed(&case, &format!("{dtype:?}"), checks);
        }
    }
}

#[test]
fn a_student_that_equals_its_teacher_has_the_gradient_of_cross_entropy_alone() {
    let case = Case {
        rows: 4,
        vocab: 130,
        scale: 6.0,
        has_teacher: true,
    };
    let mut inputs = case.inputs(5);
    inputs.teacher = Some(inputs.student.clone());
    let with = case.run::<Subject>(&inputs, DType::F32);
    inputs.teacher = None;
    let without = case.run::<Subject>(&inputs, DType::F32);
    for (with, without) in with[0].chunks(2).zip(without[0].chunks(2)) {
        assert_eq!(with[0], without[0]);
        assert!(with[1].abs() < 1e-6 && without[1] == 0.0, "{with:?}");
    }
    for (with, without) in with[1].iter().zip(&without[1]) {
        assert!((with - without).abs() < 1e-6, "{with} {without}");
    }
}

#[test]
fn without_gradient_the_values_are_the_same() {
    let case = cases()[3];
    let inputs = case.inputs(7);
    let out = cross_entropy_kl(case.tensors::<Subject>(&inputs, DType::F32), false).unwrap();
    assert!(out.gradient.is_none());
    let values: Vec<f32> = out.values.into_data().iter::<f32>().collect();
    assert_eq!(values, case.run::<Subject>(&inputs, DType::F32)[0]);
}

#[test]
fn wrong_inputs_are_errors() {
    let case = cases()[1];
    let good = || case.tensors::<Flex>(&case.inputs(7), DType::F32);
    let device = Default::default();
    let error = |inputs: CrossEntropyKlInputs<Flex>| {
        cross_entropy_kl(inputs, true).expect_err("inputs are wrong")
    };
    let wrong = |found: &KernelError, expected: &str| {
        let is_expected = matches!(found, KernelError::Shape { input, .. } if *input == expected);
        assert!(is_expected, "{found}");
    };
    let teacher = Some(Tensor::zeros([case.rows, case.vocab + 1], &device));
    wrong(
        &error(CrossEntropyKlInputs { teacher, ..good() }),
        "teacher",
    );
    let labels = good().labels.narrow(0, 0, 2);
    wrong(&error(CrossEntropyKlInputs { labels, ..good() }), "labels");
    let kl_weight = Tensor::zeros([1], &device);
    wrong(
        &error(CrossEntropyKlInputs {
            kl_weight,
            ..good()
        }),
        "kl_weight",
    );
    let student = Tensor::zeros([0, case.vocab], &device);
    assert_eq!(
        error(CrossEntropyKlInputs { student, ..good() }).to_string(),
        "cross_entropy_kl: `rows` is 0, must be at least 1"
    );
}
