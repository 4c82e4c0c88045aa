use super::{CausalConv1dInputs, CausalConv1dProblem, causal_conv1d, reference};
use crate::backend::SsmBackend;
use crate::error::KernelError;
use crate::testing::single_output::{Case, Operation};
use crate::testing::subject::Subject;
use crate::testing::{F32_TOLERANCE, Seeded, assert_close, assert_tensors_close, golden};
use burn::backend::Autodiff;
use burn::tensor::{Shape, Tensor, TensorData, backend::Backend, ops::FloatTensor};

impl Operation<4> for CausalConv1dProblem {
    fn shapes(&self) -> [Option<Vec<usize>>; 4] {
        [
            Some(vec![self.batch, self.seq, self.channels]),
            Some(vec![self.channels, self.width]),
            self.has_bias.then(|| vec![self.channels]),
            self.has_initial_window
                .then(|| vec![self.batch, self.width - 1, self.channels]),
        ]
    }

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

    fn public_forward<B: SsmBackend>(
        &self,
        operands: [FloatTensor<B>; 4],
        reset: Option<FloatTensor<B>>,
    ) -> FloatTensor<B> {
        B::causal_conv1d_forward(operands, reset, self)
    }

    fn naive(&self, operands: &[Vec<f64>; 4], reset: Option<&[f64]>) -> Vec<f64> {
        let [x, weight, bias, window] = operands;
        let mut y = vec![0.0; x.len()];
        for row in 0..self.batch {
            for t in 0..self.seq {
                for ch in 0..self.channels {
                    let mut v = if self.has_bias { bias[ch] } else { 0.0 };
                    for back in 0..self.width {
                        // Stop at the first step of a document.
                        let input = if back <= t {
                            x[(row * self.seq + t - back) * self.channels + ch]
                        } else if self.has_initial_window {
                            let entry = self.width - 1 + t - back;
                            window[(row * (self.width - 1) + entry) * self.channels + ch]
                        } else {
                            0.0
                        };
                        v += weight[ch * self.width + self.width - 1 - back] * input;
                        let starts = |step: usize| {
                            reset.is_some_and(|reset| reset[row * self.seq + step] != 0.0)
                        };
                        if back <= t && starts(t - back) {
                            break;
                        }
                    }
                    y[(row * self.seq + t) * self.channels + ch] =
                        if self.silu { v / (1.0 + (-v).exp()) } else { v };
                }
            }
        }
        y
    }
}

fn problem(batch: usize, seq: usize, channels: usize, width: usize) -> CausalConv1dProblem {
    CausalConv1dProblem {
        batch,
        seq,
        channels,
        width,
        has_bias: true,
        has_initial_window: width > 1,
        silu: true,
    }
}

fn plain(problem: CausalConv1dProblem) -> CausalConv1dProblem {
    CausalConv1dProblem {
        has_bias: false,
        has_initial_window: false,
        silu: false,
        ..problem
    }
}

/// Document starts at every step where `starts` says so, shifted from row to row.
fn documents(batch: usize, seq: usize) -> Vec<f32> {
    let starts = |row: usize, t: usize| matches!((t + row) % 7, 3 | 5 | 6);
    (0..batch)
        .flat_map(|row| (0..seq).map(move |t| f32::from(u8::from(starts(row, t)))))
        .collect()
}

#[test]
fn every_path_agrees_with_the_f64_definition() {
    for (batch, seq, channels, width) in [
        (1, 1, 3, 4),
        (3, 2, 5, 4),
        (2, 23, 40, 4),
        (1, 9, 4, 1),
        (2, 9, 17, 2),
        (1, 11, 6, 5),
    ] {
        for problem in [
            problem(batch, seq, channels, width),
            plain(problem(batch, seq, channels, width)),
        ] {
            let mut case = Case::seeded(problem, 1);
            case.check();
            case.reset = Some(documents(batch, seq));
            case.check();
        }
    }
}

#[test]
fn public_path_agrees_with_the_reference_off_the_grid() {
    for seq in [1, 3, 63, 65, 130] {
        for (batch, channels) in [(1, 130), (3, 64), (2, 9)] {
            for problem in [
                problem(batch, seq, channels, 4),
                plain(problem(batch, seq, channels, 4)),
            ] {
                let mut case = Case::seeded(problem, 2);
                case.check_public();
                case.reset = Some(documents(batch, seq));
                case.check_public();
            }
        }
    }
}

fn golden_tensor<const D: usize>(golden: &golden::Golden) -> Tensor<Subject, D> {
    let data = TensorData::new(golden.floats(), Shape::from(golden.shape.clone()));
    Tensor::from_data(data, &Default::default())
}

#[test]
fn golden_windows_are_carried_from_call_to_call() {
    let file = golden::load("kernel_verify");
    let time_major = |key: &str| file[key].permute(&[0, 2, 1]);
    let run = |x: Tensor<Subject, 3>, window: Option<Tensor<Subject, 3>>| {
        let inputs = CausalConv1dInputs {
            x,
            weight: golden_tensor(&file["conv.in.weight"]),
            bias: Some(golden_tensor(&file["conv.in.bias"])),
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
