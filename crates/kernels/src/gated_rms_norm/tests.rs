use super::{GatedRmsNormProblem, gated_rms_norm, reference};
use crate::backend::SsmBackend;
use crate::error::KernelError;
use crate::testing::single_output::{Case, Operation};
use crate::testing::state_space::PATHS;
use crate::testing::subject::Subject;
use crate::testing::{F32_GRADIENT_TOLERANCE, F32_TOLERANCE, assert_close, golden};
use burn::tensor::{Tensor, backend::Backend, ops::FloatTensor};

impl Operation<3> for GatedRmsNormProblem {
    fn shapes(&self) -> [Option<Vec<usize>>; 3] {
        let full = vec![self.batch, self.seq, self.channels];
        [Some(full.clone()), Some(full), Some(vec![self.channels])]
    }

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

    fn public_forward<B: SsmBackend>(
        &self,
        operands: [FloatTensor<B>; 3],
        _reset: Option<FloatTensor<B>>,
    ) -> FloatTensor<B> {
        B::gated_rms_norm_forward(operands, self)
    }

    fn naive(&self, operands: &[Vec<f64>; 3], _reset: Option<&[f64]>) -> Vec<f64> {
        let [y, z, weight] = operands;
        let gated: Vec<f64> = y
            .iter()
            .zip(z)
            .map(|(y, z)| y * z / (1.0 + (-z).exp()))
            .collect();
        let mut out = Vec::with_capacity(y.len());
        for (group, values) in gated.chunks(self.group_size).enumerate() {
            let square: f64 = values.iter().map(|g| g * g).sum();
            let scale = 1.0 / (square / self.group_size as f64 + self.eps).sqrt();
            let first = group * self.group_size % self.channels;
            for (offset, g) in values.iter().enumerate() {
                out.push(weight[first + offset] * g * scale);
            }
        }
        out
    }
}

#[test]
fn golden_values_are_reproduced() {
    let file = golden::load("kernel_gated_norm");
    let [batch, seq, channels] = file["in.x"].shape[..] else {
        panic!("rank of x")
    };
    for (name, group_size) in [("group0", channels), ("group16", 16), ("group8", 8)] {
        let case = Case {
            problem: GatedRmsNormProblem {
                batch,
                seq,
                channels,
                group_size,
                eps: 1e-5,
            },
            operands: ["in.x", "in.z", "in.weight"].map(|key| file[key].floats()),
            reset: None,
            dy: file["in.dy"].floats(),
        };
        for path in PATHS {
            let got = case.run(path);
            let check = |key: &str, got: &[f32], tolerance| {
                let key = format!("before_gate0.{name}.{key}");
                assert_close(
                    &format!("{path:?} {key}"),
                    got,
                    &file[&key].values,
                    tolerance,
                );
            };
            check("y", &got.y, F32_TOLERANCE);
            for (key, gradient) in ["grad.x", "grad.z", "grad.weight"]
                .iter()
                .zip(&got.gradients)
            {
                check(key, gradient, F32_GRADIENT_TOLERANCE);
            }
        }
    }
}

#[test]
fn every_path_agrees_with_the_f64_definition() {
    for (batch, seq, channels, group_size) in [
        (1, 1, 1, 1),
        (3, 2, 10, 5),
        (1, 7, 144, 16),
        (2, 5, 66, 33),
        (2, 33, 64, 64),
    ] {
        let problem = GatedRmsNormProblem {
            batch,
            seq,
            channels,
            group_size,
            eps: 1e-3,
        };
        Case::seeded(problem, 1).check();
    }
    for seq in [63, 65, 130] {
        let problem = GatedRmsNormProblem {
            batch: 3,
            seq,
            channels: 72,
            group_size: 8,
            eps: 1e-5,
        };
        Case::seeded(problem, 2).check_public();
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
