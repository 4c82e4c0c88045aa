//! The step in f64, and its cases.

use super::{AdamwStep, adamw};
use crate::backend::SsmBackend;
use crate::primitive::{unwrap, wrap};
use crate::seeded::Seeded;
use crate::self_test::TensorCheck;
use crate::self_test::compare::compare;
use crate::self_test::host::{download, free_nan, upload};
use burn::tensor::Tensor;

const NAMES: [&str; 3] = ["parameter", "moment_1", "moment_2"];

/// A matrix, and when in training it is stepped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) dims: [usize; 2],
    pub(crate) time: usize,
    pub(crate) weight_decay: f32,
    /// Size of the gradients.
    pub(crate) scale: f32,
}

/// Lengths on and off every grid; first and later steps; gradients whose squares leave the range of f32 or vanish.
pub(crate) fn cases() -> Vec<Case> {
    let sizes = [[1, 1], [1, 3], [5, 7], [64, 64], [33, 130], [576, 129]];
    let case = |dims, time, weight_decay, scale| Case {
        dims,
        time,
        weight_decay,
        scale,
    };
    let mut cases: Vec<_> = (sizes.into_iter())
        .flat_map(|dims| [case(dims, 1, 0.0, 1.0), case(dims, 1000, 0.1, 1e-3)])
        .collect();
    cases.push(case([7, 24], 2, 0.1, 0.0));
    cases.push(case([7, 24], 2, 0.1, 1e15));
    cases
}

impl Case {
    fn step(&self) -> AdamwStep {
        AdamwStep {
            lr: 3e-3,
            beta_1: 0.9,
            beta_2: 0.98,
            epsilon: 1e-8,
            weight_decay: self.weight_decay,
            time: self.time,
        }
    }

    /// Parameter, gradient and moments on the host.
    pub(crate) fn inputs(&self) -> [Vec<f32>; 4] {
        let mut seeded = Seeded::new(11);
        let length = self.dims.iter().product();
        let mut draw = |size: f32| seeded.uniforms(length, -size, size);
        let (parameter, gradient) = (draw(1.0), draw(self.scale));
        if self.time == 1 {
            return [parameter, gradient, vec![0.0; length], vec![0.0; length]];
        }
        let first = draw(self.scale);
        let second = draw(self.scale).iter().map(|v| v * v).collect();
        [parameter, gradient, first, second]
    }

    /// Results by the definition, one number at a time in f64.
    pub(crate) fn naive(&self) -> Vec<(String, Vec<f64>)> {
        let step = self.step();
        let [beta_1, beta_2, epsilon, decay] =
            [step.beta_1, step.beta_2, step.epsilon, step.weight_decay].map(f64::from);
        let [first, second] = [beta_1, beta_2].map(|beta| 1.0 - beta.powi(self.time as i32));
        let inputs = self.inputs().map(|values| {
            let wide = values.into_iter().map(f64::from);
            wide.collect::<Vec<_>>()
        });
        let [parameters, gradients, moments_1, moments_2] = &inputs;
        let mut results = NAMES.map(|name| (name.to_owned(), Vec::new()));
        for (index, g) in gradients.iter().enumerate() {
            let m = beta_1 * moments_1[index] + (1.0 - beta_1) * g;
            let v = beta_2 * moments_2[index] + (1.0 - beta_2) * g * g;
            let delta = m / first / ((v / second).sqrt() + epsilon);
            let p = (1.0 - step.lr * decay) * parameters[index] - step.lr * delta;
            for ((_, values), value) in results.iter_mut().zip([p, m, v]) {
                values.push(value);
            }
        }
        results.to_vec()
    }

    /// The operation against the definition.
    pub(crate) fn check<B: SsmBackend>(&self) -> Vec<TensorCheck> {
        let operands = self
            .inputs()
            .map(|values| -> Tensor<B, 2> { wrap(upload::<B>(&values, &self.dims)) });
        let length = self.dims.iter().product();
        free_nan::<B>([length, length, length].into_iter());
        let [parameter, gradient, moment_1, moment_2] = operands;
        let out = adamw(parameter, gradient, [moment_1, moment_2], &self.step());
        let out = out.expect("the shapes agree");
        let results = [out.parameter, out.moment_1, out.moment_2];
        let got = results.map(|result| download::<B>(unwrap(result)));
        let names = NAMES.into_iter().map(str::to_owned);
        compare(&names.zip(got).collect::<Vec<_>>(), &self.naive())
    }

    /// Sizes, short.
    pub(crate) fn label(&self) -> String {
        let Self {
            dims: [rows, columns],
            time,
            weight_decay,
            scale,
        } = self;
        format!("r{rows} c{columns} step {time} decay {weight_decay} gradients to {scale}")
    }
}
