use crate::backend::{SsmBackend, StateSpaceGradients};
use crate::ssd::SsdProblem;
use crate::ssd::self_test::problem;
use crate::testing::assert_close;
use crate::testing::state_space::{Case, NAMES, Operation, Path, widen};
use crate::testing::subject::{Subject, download, upload};
use burn::tensor::backend::Backend;
use burn::tensor::ops::{FloatTensor, FloatTensorOps};
use burn::tensor::{DType, FloatDType, bf16, f16};

#[test]
fn half_precision_agrees_with_the_reference() {
    let device = Default::default();
    // Products on matrix units where the device has them: widths that are multiples of 16.
    for sizes in [
        [2, 130, 4, 64, 2, 64, 64],
        [1, 150, 3, 128, 3, 128, 64],
        [1, 70, 2, 32, 1, 16, 256],
        [1, 200, 4, 80, 1, 96, 64],
        [1, 71, 2, 20, 2, 12, 64],
    ] {
        for (dtype, tolerance) in [(DType::F16, 2e-2), (DType::BF16, 1e-1)] {
            if !Subject::supports_dtype(&device, dtype) {
                continue;
            }
            let problem = problem(sizes);
            for starts in [&[][..], &[0, 40, 64, 69]] {
                let mut case = Case::seeded(problem, 11);
                if !starts.is_empty() {
                    case = case.with_documents(starts);
                }
                check_half_precision(case, dtype, tolerance);
            }
        }
    }
}

/// Large tensors in `dtype`, parameters and states in f32, against the reference on the rounded values.
fn check_half_precision(mut case: Case<SsdProblem>, dtype: DType, tolerance: f64) {
    let problem = case.problem;
    let name = format!("{dtype:?} {problem:?}");
    let round = |values: &mut Vec<f32>| {
        for value in values {
            *value = match dtype {
                DType::F16 => f16::from_f32(*value).to_f32(),
                _ => bf16::from_f32(*value).to_f32(),
            };
        }
    };
    for index in [0, 1, 3, 4, 6] {
        round(&mut case.operands[index]);
    }
    round(&mut case.dy);
    let mut short = case.clone();
    short.problem.chunk_size = 16;
    let expected = short.run(Path::Reference);

    let shapes = problem.shapes();
    let operands: [FloatTensor<Subject>; 9] = std::array::from_fn(|index| {
        let shape = shapes[index].as_ref().expect("everything is on");
        let operand = upload::<Subject>(&case.operands[index], shape);
        match [0, 1, 3, 4, 6].contains(&index) {
            true => Subject::float_cast(operand, FloatDType::from(dtype)),
            false => operand,
        }
    });
    let rows = [problem.batch, problem.seq];
    let reset = case
        .reset
        .as_ref()
        .map(|reset| upload::<Subject>(reset, &rows));
    let out = Subject::ssd_forward(operands.clone(), reset.clone(), &problem, true);
    assert_eq!(burn::tensor::TensorMetadata::dtype(&out.y), dtype);
    let dy = upload::<Subject>(&case.dy, shapes[0].as_ref().expect("x"));
    let gradients = StateSpaceGradients {
        y: Some(Subject::float_cast(dy, FloatDType::from(dtype))),
        last_state: Some(upload::<Subject>(
            &case.dlast,
            shapes[8].as_ref().expect("state"),
        )),
    };
    let gradients = Subject::ssd_backward(operands, reset, out.saved, gradients, &problem);
    let check = |what: &str, got: FloatTensor<Subject>, expected: &[f32]| {
        let got = download::<Subject>(got);
        assert_close(
            &format!("{name}: {what}"),
            &got,
            &widen(expected),
            tolerance,
        );
    };
    check("y", out.y, &expected.y);
    check("last state", out.last_state, &expected.last_state);
    for (index, gradient) in gradients.into_iter().enumerate() {
        check(NAMES[index], gradient, &expected.gradients[index]);
    }
}
