use super::{SwigluProblem, reference, self_test, swiglu};
use crate::error::KernelError;
use crate::primitive::unwrap;
use crate::seeded::Seeded;
use crate::testing::single_output::Reference;
use crate::testing::subject::{Subject, download, upload};
use burn::tensor::{DType, FloatDType, Tensor, backend::Backend, ops::FloatTensor};

impl Reference<2> for SwigluProblem {
    fn reference_forward<B: Backend>(
        &self,
        operands: [FloatTensor<B>; 2],
        _reset: Option<FloatTensor<B>>,
    ) -> FloatTensor<B> {
        reference::forward::<B>(operands)
    }

    fn reference_backward<B: Backend>(
        &self,
        operands: [FloatTensor<B>; 2],
        _reset: Option<FloatTensor<B>>,
        gradient: FloatTensor<B>,
    ) -> [FloatTensor<B>; 2] {
        reference::backward::<B>(operands, gradient)
    }
}

#[test]
fn every_path_agrees_with_the_f64_definition() {
    for case in self_test::cases() {
        case.check();
    }
}

/// In bf16 the result is that of the rounded operands in f32, rounded once.
#[test]
fn half_precision_is_rounded_once() {
    if !Subject::supports_dtype(&Default::default(), DType::BF16) {
        return;
    }
    for case in self_test::cases() {
        let shape = [case.problem.batch, case.problem.seq, case.problem.channels];
        let short = |values: &[f32]| {
            let tensor = crate::primitive::wrap::<Subject, 3>(upload::<Subject>(values, &shape));
            tensor.cast(FloatDType::BF16)
        };
        let [gate, up] = case.operands.each_ref().map(|operand| short(operand));
        let out = swiglu(gate.clone(), up.clone()).expect("shapes agree");
        assert_eq!(out.dtype(), DType::BF16);
        let floats = |tensor: Tensor<Subject, 3>| download::<Subject>(unwrap(tensor));
        let operands = floats(gate).into_iter().zip(floats(up));
        for (found, (gate, up)) in floats(out).iter().zip(operands) {
            let (gate, up) = (f64::from(gate), f64::from(up));
            let expected = gate / (1.0 + (-gate).exp()) * up;
            let bound = 2f64.powi(-8) * 1.01 * expected.abs() + 1e-30;
            let error = (f64::from(*found) - expected).abs();
            assert!(error <= bound, "{found} instead of {expected}");
        }
    }
}

/// Slices of one projection.
#[test]
fn rows_may_be_apart() {
    let mut seeded = Seeded::new(5);
    let (batch, seq, channels) = (2, 9, 24);
    let both = seeded.uniforms(batch * seq * 2 * channels, -2.0, 2.0);
    let both = upload::<Subject>(&both, &[batch, seq, 2 * channels]);
    let both = crate::primitive::wrap::<Subject, 3>(both);
    let slices = [0, channels].map(|first| both.clone().narrow(2, first, channels));
    let device = Default::default();
    let copies = slices
        .clone()
        .map(|slice| Tensor::from_data(slice.to_data(), &device));
    let run = |[gate, up]: [Tensor<Subject, 3>; 2]| {
        download::<Subject>(unwrap(swiglu(gate, up).expect("shapes agree")))
    };
    assert_eq!(run(slices), run(copies));
}

#[test]
fn wrong_inputs_are_errors() {
    let device = Default::default();
    let run = |gate: [usize; 3], up: [usize; 3]| {
        let gate = Tensor::<Subject, 3>::zeros(gate, &device);
        swiglu(gate, Tensor::zeros(up, &device)).expect_err("inputs are wrong")
    };
    assert_eq!(
        run([2, 3, 6], [2, 3, 5]).to_string(),
        "swiglu: `up` has shape [2, 3, 5], expected [2, 3, 6] = [batch, seq, channels]"
    );
    let empty = run([0, 3, 6], [0, 3, 6]);
    assert!(
        matches!(empty, KernelError::Empty { size: "batch", .. }),
        "{empty}"
    );
}
