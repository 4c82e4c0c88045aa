use super::{GatedRmsNormProblem, gated_rms_norm, reference, self_test};
use crate::error::KernelError;
use crate::testing::golden;
use crate::testing::single_output::Reference;
use crate::testing::subject::Subject;
use burn::tensor::{Tensor, backend::Backend, ops::FloatTensor};

impl Reference<3> for GatedRmsNormProblem {
    fn reference_forward<B: Backend>(
        &self,
        operands: [FloatTensor<B>; 3],
        _reset: Option<FloatTensor<B>>,
    ) -> FloatTensor<B> {
        reference::forward::<B>(operands, self)
    }

    fn reference_backward<B: Backend>(
        &self,
        operands: [FloatTensor<B>; 3],
        _reset: Option<FloatTensor<B>>,
        gradient: FloatTensor<B>,
    ) -> [FloatTensor<B>; 3] {
        reference::backward::<B>(operands, gradient, self)
    }
}

#[test]
fn golden_values_are_reproduced() {
    let file = golden::load("kernel_gated_norm");
    for golden in self_test::golden(&file).expect("the fixture") {
        golden.case.check_against(&golden.expected);
    }
}

#[test]
fn every_path_agrees_with_the_f64_definition() {
    for case in self_test::cases() {
        case.check();
    }
}

#[test]
fn wrong_inputs_are_errors() {
    let device = Default::default();
    let run = |z: [usize; 3], weight: usize, group_size: usize, eps: f64| {
        let y = Tensor::<Subject, 3>::zeros([2, 3, 6], &device);
        let weight = Tensor::zeros([weight], &device);
        gated_rms_norm(y, Tensor::zeros(z, &device), weight, group_size, eps)
            .expect_err("inputs are wrong")
    };
    let z = run([2, 3, 5], 6, 6, 1e-5);
    assert!(matches!(z, KernelError::Shape { input: "z", .. }), "{z}");
    let weight = run([2, 3, 6], 5, 6, 1e-5);
    assert!(
        matches!(
            weight,
            KernelError::Shape {
                input: "weight",
                ..
            }
        ),
        "{weight}"
    );
    assert_eq!(
        run([2, 3, 6], 6, 4, 1e-5).to_string(),
        "gated_rms_norm: `channels` is 6, must be a multiple of `group_size` = 4"
    );
    assert_eq!(
        run([2, 3, 6], 6, 0, 1e-5),
        KernelError::Empty {
            op: "gated_rms_norm",
            size: "group_size"
        }
    );
    let eps = run([2, 3, 6], 6, 6, -1.0);
    assert!(matches!(eps, KernelError::Epsilon { .. }), "{eps}");
}
