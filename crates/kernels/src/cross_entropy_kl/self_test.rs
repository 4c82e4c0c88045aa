//! The loss in f64, and its cases.

use super::{CrossEntropyKlInputs, cross_entropy_kl};
use crate::backend::SsmBackend;
use crate::primitive::unwrap;
use crate::seeded::Seeded;
use crate::self_test::TensorCheck;
use crate::self_test::compare::compare;
use crate::self_test::host::{device, download, free_nan};
use burn::tensor::{DType, Tensor, TensorData, backend::Backend};

/// Rows of logits, drawn from `-scale..scale` in sixteenths, so that bf16 holds those below 8.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) rows: usize,
    pub(crate) vocab: usize,
    pub(crate) scale: f32,
    pub(crate) has_teacher: bool,
}

/// Vocabularies off every grid and on it, few logits and many, small and extreme ones.
pub(crate) fn cases() -> Vec<Case> {
    let sizes = [
        (5, 7, 3.0),
        (3, 130, 3.0),
        (4, 2048, 5.0),
        (2, 2049, 10.0),
        (3, 130, 1e4),
        (1, 49_152, 5.0),
    ];
    let case = |(rows, vocab, scale), has_teacher| Case {
        rows,
        vocab,
        scale,
        has_teacher,
    };
    let both = |size| [false, true].map(|has_teacher| case(size, has_teacher));
    sizes.into_iter().flat_map(both).collect()
}

/// Inputs on the host.
pub(crate) struct Inputs {
    pub(crate) student: Vec<f32>,
    pub(crate) teacher: Option<Vec<f32>>,
    pub(crate) labels: Vec<i32>,
    /// For cross-entropy and divergence.
    pub(crate) weights: [Vec<f32>; 2],
}

impl Case {
    /// Labels are at both ends of the vocabulary and between; some weights are zero.
    pub(crate) fn inputs(&self, seed: u64) -> Inputs {
        let mut seeded = Seeded::new(seed);
        let mut logits = || -> Vec<f32> {
            let values = seeded.uniforms(self.rows * self.vocab, -self.scale, self.scale);
            values.iter().map(|v| (v * 16.0).round() / 16.0).collect()
        };
        let (student, teacher) = (logits(), logits());
        let mut weights = [0.25, 0.75].map(|low| seeded.uniforms(self.rows, low, low + 0.5));
        if self.rows > 2 {
            weights[0][1] = 0.0;
            weights[1][2] = 0.0;
        }
        let label = |row: usize| match row {
            0 => self.vocab - 1,
            row => (row - 1) * 37 % self.vocab,
        };
        Inputs {
            student,
            teacher: self.has_teacher.then_some(teacher),
            labels: (0..self.rows).map(|row| label(row) as i32).collect(),
            weights,
        }
    }

    /// The inputs on the default device, logits in `dtype`.
    pub(crate) fn tensors<B: Backend>(
        &self,
        inputs: &Inputs,
        dtype: DType,
    ) -> CrossEntropyKlInputs<B> {
        let device = device::<B>();
        let logits = |values: &Vec<f32>| {
            let data = TensorData::new(values.clone(), [self.rows, self.vocab]);
            Tensor::<B, 2>::from_data(data, &device).cast(dtype)
        };
        let vector = |values: &Vec<f32>| {
            Tensor::from_data(TensorData::new(values.clone(), [self.rows]), &device)
        };
        let [ce_weight, kl_weight] = inputs.weights.each_ref().map(vector);
        let labels = TensorData::new(inputs.labels.clone(), [self.rows]);
        CrossEntropyKlInputs {
            student: logits(&inputs.student),
            teacher: inputs.teacher.as_ref().map(logits),
            labels: Tensor::from_data(labels, &device),
            ce_weight,
            kl_weight,
        }
    }

    /// Values and gradient by the operation.
    pub(crate) fn run<B: SsmBackend>(&self, inputs: &Inputs, dtype: DType) -> Vec<Vec<f32>> {
        let inputs = self.tensors::<B>(inputs, dtype);
        free_nan::<B>([2 * self.rows, self.rows * self.vocab].into_iter());
        let out = cross_entropy_kl(inputs, true).expect("the shapes agree");
        let gradient = out.gradient.expect("it was asked for");
        vec![
            download::<B>(unwrap(out.values)),
            download::<B>(unwrap(gradient)),
        ]
    }

    /// Values and gradient by the definition, one number at a time in f64.
    pub(crate) fn naive(&self, inputs: &Inputs) -> [(String, Vec<f64>); 2] {
        let (mut values, mut gradient) = (Vec::new(), Vec::new());
        for row in 0..self.rows {
            let logs = |logits: &Vec<f32>| log_softmax(&logits[row * self.vocab..][..self.vocab]);
            let student = logs(&inputs.student);
            let label = inputs.labels[row] as usize;
            let [ce_weight, kl_weight] = inputs.weights.each_ref().map(|w| f64::from(w[row]));
            let mut slopes: Vec<f64> = student.iter().map(|q| ce_weight * q.exp()).collect();
            slopes[label] -= ce_weight;
            let mut kl = 0.0;
            if let Some(teacher) = inputs.teacher.as_ref().map(logs) {
                for ((slope, q), p) in slopes.iter_mut().zip(&student).zip(&teacher) {
                    kl += p.exp() * (p - q);
                    *slope += kl_weight * (q.exp() - p.exp());
                }
            }
            values.extend([-student[label], kl]);
            gradient.extend(slopes);
        }
        [
            ("values".to_owned(), values),
            ("grad.student".to_owned(), gradient),
        ]
    }

    /// Results in f32 against the definition.
    pub(crate) fn compared(&self, inputs: &Inputs, results: Vec<Vec<f32>>) -> Vec<TensorCheck> {
        let expected = self.naive(inputs);
        let names = expected.iter().map(|(name, _)| name.clone());
        compare(&names.zip(results).collect::<Vec<_>>(), &expected)
    }

    /// The operation in f32 against the definition.
    pub(crate) fn check<B: SsmBackend>(&self) -> Vec<TensorCheck> {
        let inputs = self.inputs(7);
        self.compared(&inputs, self.run::<B>(&inputs, DType::F32))
    }

    /// Sizes and inputs, short.
    pub(crate) fn label(&self) -> String {
        let teacher = if self.has_teacher { " teacher" } else { "" };
        let Self {
            rows, vocab, scale, ..
        } = self;
        format!("r{rows} v{vocab} logits to {scale}{teacher}")
    }
}

fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let logits = logits.iter().map(|&logit| f64::from(logit));
    let max = logits.clone().fold(f64::NEG_INFINITY, f64::max);
    let normalizer = max + logits.clone().map(|v| (v - max).exp()).sum::<f64>().ln();
    logits.map(|logit| logit - normalizer).collect()
}
