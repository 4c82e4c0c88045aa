use super::{CausalConv1dInputs, CausalConv1dProblem, causal_conv1d, reference, self_test};
use crate::error::KernelError;
use crate::self_test::HostTensor;
use crate::testing::single_output::Reference;
use crate::testing::subject::Subject;
use crate::testing::{F32_TOLERANCE, Seeded, assert_close, assert_tensors_close, golden};
use burn::backend::Autodiff;
use burn::tensor::{Shape, Tensor, TensorData, backend::Backend, ops::FloatTensor};

impl Reference<4> for CausalConv1dProblem {
    fn reference_forward<B: Backend>(
        &self,
        operands: [FloatTensor<B>; 4],
        reset: Option<FloatTensor<B>>,
    ) -> FloatTensor<B> {
        reference::forward::<B>(operands, reset, self)
    }

    fn reference_backward<B: Backend>(
        &self,
        operands: [FloatTensor<B>; 4],
        reset: Option<FloatTensor<B>>,
        gradient: FloatTensor<B>,
    ) -> [FloatTensor<B>; 4] {
        reference::backward::<B>(operands, reset, gradient, self)
    }
}

#[test]
fn every_path_agrees_with_the_f64_definition() {
    for case in self_test::cases() {
        case.check();
    }
}

fn golden_tensor<const D: usize>(golden: &HostTensor) -> Tensor<Subject, D> {
    let data = TensorData::new(golden.floats(), Shape::from(golden.shape.clone()));
    Tensor::from_data(data, &Default::default())
}

#[test]
fn golden_windows_are_carried_from_call_to_call() {
    let file = golden::load("kernel_verify");
    let time_major = |key: &str| file.permuted(key, &[0, 2, 1]).expect("the fixture");
    let run = |x: Tensor<Subject, 3>, window: Option<Tensor<Subject, 3>>| {
        let inputs = CausalConv1dInputs {
            x,
            weight: golden_tensor(file.get("conv.in.weight").expect("the fixture")),
            bias: Some(golden_tensor(
                file.get("conv.in.bias").expect("the fixture"),
            )),
            initial_window: window,
            reset: None,
        };
        causal_conv1d(inputs, true).expect("shapes agree")
    };
    let check = |name: &str, got: Tensor<Subject, 3>| {
        let got: Vec<f32> = got.into_data().to_vec().expect("f32");
        assert_close(name, &got, &time_major(name).values, F32_TOLERANCE);
    };
    let prefix = run(golden_tensor(&time_major("conv.in.prefix")), None);
    check("conv.prefix.y", prefix.y);
    check("conv.prefix.window", prefix.last_window.clone());
    let drafts: Tensor<Subject, 3> = golden_tensor(&time_major("conv.in.round1"));
    check(
        "conv.round1.y",
        run(drafts.clone(), Some(prefix.last_window.clone())).y,
    );
    for accepted in 0..4 {
        let kept = drafts.clone().narrow(1, 0, accepted + 1);
        let window = run(kept, Some(prefix.last_window.clone())).last_window;
        check(&format!("conv.accept{accepted}.window"), window.clone());
        let second = run(golden_tensor(&time_major("conv.in.round2")), Some(window));
        check(&format!("conv.accept{accepted}.round2.y"), second.y);
    }
}

#[test]
fn last_window_starts_at_the_last_document_and_carries_gradients() {
    type Tape = Autodiff<Subject>;
    let device = Default::default();
    let mut seeded = Seeded::new(3);
    let x = seeded
        .tensor::<Tape, 3>([1, 5, 6], -1.0, 1.0, &device)
        .require_grad();
    let reset = Tensor::<Tape, 2>::from_floats([[1.0, 0.0, 0.0, 1.0, 0.0]], &device);
    let inputs = CausalConv1dInputs {
        x: x.clone(),
        weight: seeded.tensor([6, 4], -1.0, 1.0, &device),
        bias: None,
        initial_window: None,
        reset: Some(reset),
    };
    let window = causal_conv1d(inputs, true)
        .expect("shapes agree")
        .last_window;
    let expected =
        x.clone().narrow(1, 2, 3) * Tensor::from_floats([[[0.0], [1.0], [1.0]]], &device);
    assert_tensors_close("window", window.clone(), expected, 0.0);
    let gradients = window.sum().backward();
    let got = x.grad(&gradients).expect("gradient of x");
    let expected =
        Tensor::<Subject, 3>::from_floats([[[0.0], [0.0], [0.0], [1.0], [1.0]]], &device);
    assert_tensors_close("gradient", got, expected.expand([1, 5, 6]), 0.0);
}

#[test]
fn wrong_shapes_are_errors() {
    let device = Default::default();
    let zeros = |dims: [usize; 3]| Tensor::<Subject, 3>::zeros(dims, &device);
    let inputs = |x: [usize; 3], weight: [usize; 2]| CausalConv1dInputs {
        x: zeros(x),
        weight: Tensor::zeros(weight, &device),
        bias: None,
        initial_window: None,
        reset: None,
    };
    let empty = causal_conv1d(inputs([2, 0, 6], [6, 4]), true).expect_err("no steps");
    assert_eq!(
        empty,
        KernelError::Empty {
            op: "causal_conv1d",
            size: "seq"
        }
    );
    let weight = causal_conv1d(inputs([2, 5, 6], [5, 4]), true).expect_err("channels differ");
    assert_eq!(
        weight.to_string(),
        "causal_conv1d: `weight` has shape [5, 4], expected [6, 4] = [channels, width]"
    );
    let window = CausalConv1dInputs {
        initial_window: Some(zeros([2, 4, 6])),
        ..inputs([2, 5, 6], [6, 4])
    };
    let window = causal_conv1d(window, true).expect_err("window too long");
    assert!(
        matches!(
            window,
            KernelError::Shape {
                input: "initial_window",
                ..
            }
        ),
        "{window}"
    );
}
