use super::self_test::angles_of;
use super::{RotaryProblem, reference, rotary, self_test};
use crate::backend::SsmBackend;
use crate::error::KernelError;
use crate::primitive::{unwrap, wrap};
use crate::seeded::Seeded;
use crate::testing::single_output::Reference;
use crate::testing::subject::{Subject, download, upload};
use burn::tensor::ops::{FloatTensor, FloatTensorOps};
use burn::tensor::{DType, FloatDType, Tensor, TensorMetadata, backend::Backend};

impl Reference<1> for RotaryProblem {
    fn reference_forward<B: Backend>(
        &self,
        [x]: [FloatTensor<B>; 1],
        angles: Option<FloatTensor<B>>,
    ) -> FloatTensor<B> {
        reference::forward::<B>(x, shaped::<B>(angles, self), self)
    }

    fn reference_backward<B: Backend>(
        &self,
        _x: [FloatTensor<B>; 1],
        angles: Option<FloatTensor<B>>,
        gradient: FloatTensor<B>,
    ) -> [FloatTensor<B>; 1] {
        let gradient = B::float_reshape(gradient, self.result());
        let angles = shaped::<B>(angles, self);
        [reference::forward::<B>(gradient, angles, &self.inverse())]
    }
}

fn shaped<B: Backend>(angles: Option<FloatTensor<B>>, p: &RotaryProblem) -> FloatTensor<B> {
    let angles = angles.expect("every case has angles");
    let rows = if p.own_angles { p.batch } else { 1 };
    B::float_reshape(angles, [rows, p.seq, p.head_dim].into())
}

#[test]
fn every_path_agrees_with_the_f64_definition() {
    for case in self_test::cases() {
        case.check();
    }
}

#[test]
fn the_way_back_undoes_the_turn() {
    for case in self_test::cases() {
        let p = case.problem;
        let ([x], angles) = case.primitives::<Subject>();
        let angles = angles_of::<Subject>(angles, &p);
        let turned = Subject::rotary(x, angles.clone(), &p);
        assert_eq!(turned.shape(), p.result());
        let back = Subject::rotary(turned, angles, &p.inverse());
        for (found, expected) in download::<Subject>(back).iter().zip(&case.operands[0]) {
            assert!((found - expected).abs() < 2e-6, "{p:?}: {found} {expected}");
        }
    }
}

/// Heads in bf16, angles in f32: one rounding, of the result.
#[test]
fn half_precision_is_rounded_once() {
    if !Subject::supports_dtype(&Default::default(), DType::BF16) {
        return;
    }
    for case in self_test::cases() {
        let p = case.problem;
        let ([x], angles) = case.primitives::<Subject>();
        let angles = angles_of::<Subject>(angles, &p);
        let short = Subject::float_cast(x, FloatDType::BF16);
        let turned = Subject::rotary(short.clone(), angles.clone(), &p);
        assert_eq!(TensorMetadata::dtype(&turned), DType::BF16);
        let exact = Subject::rotary(Subject::float_cast(short, FloatDType::F32), angles, &p);
        let pairs = download::<Subject>(turned)
            .into_iter()
            .zip(download::<Subject>(exact));
        for (found, expected) in pairs {
            let bound = 2f32.powi(-8) * 1.01 * expected.abs() + 1e-30;
            assert!((found - expected).abs() <= bound, "{found} {expected}");
        }
    }
}

/// A slice of a wider projection.
#[test]
fn rows_may_be_apart() {
    let mut seeded = Seeded::new(5);
    let (batch, seq, channels) = (2, 9, 16);
    let wide = seeded.uniforms(batch * seq * 3 * channels, -2.0, 2.0);
    let wide = wrap::<Subject, 3>(upload::<Subject>(&wide, &[batch, seq, 3 * channels]));
    let angles = seeded.uniforms(seq * 8, -1.0, 1.0);
    let angles = wrap::<Subject, 3>(upload::<Subject>(&angles, &[1, seq, 8]));
    for first in [0, channels, 2 * channels, 3] {
        let slice = wide.clone().narrow(2, first, channels);
        let copy = Tensor::from_data(slice.to_data(), &Default::default());
        let turn = |x| download::<Subject>(unwrap(rotary(x, angles.clone()).expect("they agree")));
        assert_eq!(turn(slice), turn(copy), "from {first}");
    }
}

#[test]
fn wrong_inputs_are_errors() {
    let device = Default::default();
    let run = |x: [usize; 3], angles: [usize; 3]| {
        let x = Tensor::<Subject, 3>::zeros(x, &device);
        rotary(x, Tensor::zeros(angles, &device)).expect_err("inputs are wrong")
    };
    assert_eq!(
        run([2, 3, 12], [2, 4, 4]).to_string(),
        "rotary: `angles` has shape [2, 4, 4], expected [2, 3, 4] = [1 or batch, seq, head_dim]"
    );
    assert_eq!(
        run([2, 3, 12], [1, 3, 8]).to_string(),
        "rotary: `channels` is 12, must be a multiple of `head_dim` = 8"
    );
    let odd = run([2, 3, 9], [1, 3, 3]);
    assert!(
        matches!(
            odd,
            KernelError::NotAMultiple {
                size: "head_dim",
                ..
            }
        ),
        "{odd}"
    );
    let empty = run([2, 0, 12], [1, 0, 4]);
    assert!(
        matches!(empty, KernelError::Empty { size: "seq", .. }),
        "{empty}"
    );
}
