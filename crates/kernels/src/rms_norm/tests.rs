use super::{RmsNormProblem, reference, rms_norm, self_test};
use crate::backend::SsmBackend;
use crate::error::KernelError;
use crate::primitive::unwrap;
use crate::seeded::Seeded;
use crate::self_test::F32_GRADIENT_TOLERANCE;
use crate::testing::assert_close;
use crate::testing::single_output::{Case, Operation, Reference};
use crate::testing::subject::{Subject, download, upload};
use burn::tensor::ops::{FloatTensor, FloatTensorOps};
use burn::tensor::{DType, FloatDType, Tensor, TensorMetadata, backend::Backend};

impl Reference<2> for RmsNormProblem {
    fn reference_forward<B: Backend>(
        &self,
        operands: [FloatTensor<B>; 2],
        _reset: Option<FloatTensor<B>>,
    ) -> FloatTensor<B> {
        reference::forward::<B>(operands, self)
    }

    fn reference_backward<B: Backend>(
        &self,
        operands: [FloatTensor<B>; 2],
        _reset: Option<FloatTensor<B>>,
        gradient: FloatTensor<B>,
    ) -> [FloatTensor<B>; 2] {
        let (dx, dweight) = reference::backward::<B>(operands, gradient, self, true);
        [dx, dweight.expect("it was wanted")]
    }
}

#[test]
fn every_path_agrees_with_the_f64_definition() {
    for case in self_test::cases() {
        case.check();
    }
}

#[test]
fn a_weight_that_is_not_wanted_changes_nothing_else() {
    for case in self_test::cases() {
        let p = case.problem;
        let (operands, _) = case.primitives::<Subject>();
        let shape = p.shapes()[0].clone().expect("x");
        let run = |weight_wanted| {
            let dout = upload::<Subject>(&case.dy, &shape);
            Subject::rms_norm_backward(operands.clone(), dout, &p, weight_wanted)
        };
        let ((both, weight), (alone, none)) = (run(true), run(false));
        assert!(weight.is_some() && none.is_none());
        assert_eq!(download::<Subject>(both), download::<Subject>(alone));
    }
}

/// The stream in f32, the result in bf16: nothing is rounded but the result, and a gradient in bf16 gives one in f32.
#[test]
fn the_result_is_rounded_once() {
    if !Subject::supports_dtype(&Default::default(), DType::BF16) {
        return;
    }
    for case in self_test::cases() {
        let p = RmsNormProblem {
            dtype: FloatDType::BF16,
            ..case.problem
        };
        let (operands, _) = case.primitives::<Subject>();
        let out = Subject::rms_norm_forward(operands.clone(), &p);
        assert_eq!(TensorMetadata::dtype(&out), DType::BF16);
        let expected = case.expected();
        for (index, (found, expected)) in download::<Subject>(out)
            .iter()
            .zip(&expected[0].1)
            .enumerate()
        {
            let bound = 2f64.powi(-8) * expected.abs() + 1e-6;
            let error = (f64::from(*found) - expected).abs();
            assert!(error <= bound, "{} [{index}] {found} {expected}", p.label());
        }

        let shape = p.shapes()[0].clone().expect("x");
        let dout = upload::<Subject>(&case.dy, &shape);
        let rounded = Subject::float_cast(dout, FloatDType::BF16);
        let exact = Case {
            dy: download::<Subject>(rounded.clone()),
            ..case
        };
        let (dx, dweight) = Subject::rms_norm_backward(operands, rounded, &p, true);
        assert_eq!(TensorMetadata::dtype(&dx), DType::F32);
        let expected = exact.expected();
        assert_close(
            "dx",
            &download::<Subject>(dx),
            &expected[1].1,
            F32_GRADIENT_TOLERANCE,
        );
        let dweight = download::<Subject>(dweight.expect("it was wanted"));
        assert_close("dweight", &dweight, &expected[2].1, F32_GRADIENT_TOLERANCE);
    }
}

/// Slices of wider rows, as a projection of several inputs leaves them.
#[test]
fn rows_may_be_apart() {
    let device = Default::default();
    let mut seeded = Seeded::new(5);
    let (batch, seq, channels) = (2, 9, 24);
    let wide: Vec<f32> = seeded.uniforms(batch * seq * 2 * channels, -2.0, 2.0);
    let wide = upload::<Subject>(&wide, &[batch, seq, 2 * channels]);
    let wide = crate::primitive::wrap::<Subject, 3>(wide);
    let weight = Tensor::ones([channels], &device);
    for first in [0, channels, 3] {
        let slice = wide.clone().narrow(2, first, channels);
        let copy = Tensor::from_data(slice.to_data(), &device);
        let norm =
            |x| download::<Subject>(unwrap(rms_norm(x, weight.clone(), 1e-5, None).unwrap()));
        assert_eq!(norm(slice), norm(copy), "from {first}");
    }
}

#[test]
fn wrong_inputs_are_errors() {
    let device = Default::default();
    let run = |x: [usize; 3], weight: usize, eps: f64| {
        let x = Tensor::<Subject, 3>::zeros(x, &device);
        rms_norm(x, Tensor::zeros([weight], &device), eps, None).expect_err("inputs are wrong")
    };
    assert_eq!(
        run([2, 3, 6], 5, 1e-5).to_string(),
        "rms_norm: `weight` has shape [5], expected [6] = [channels]"
    );
    let empty = run([2, 0, 6], 6, 1e-5);
    assert!(
        matches!(empty, KernelError::Empty { size: "seq", .. }),
        "{empty}"
    );
    let eps = run([2, 3, 6], 6, f64::NAN);
    assert!(matches!(eps, KernelError::Epsilon { .. }), "{eps}");
}
