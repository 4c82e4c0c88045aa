//! The definition in f64, and its cases.

use super::{NOTHING_LEFT, UNIFORM, WeighDraftsInputs, weigh_drafts};
use crate::backend::SsmBackend;
use crate::primitive::{unwrap, wrap};
use crate::seeded::Seeded;
use crate::self_test::TensorCheck;
use crate::self_test::host::{device, download, free_nan, upload};
use burn::tensor::{DType, Int, Tensor, TensorData, backend::Backend};

/// Sequences, and how many drafts each has; the longest number is that of all drafts.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    counts: Vec<usize>,
    vocab: usize,
    temperature: f32,
    has_drafter: bool,
    dtype: DType,
}

pub(crate) fn cases() -> Vec<Case> {
    let case = |counts: &[usize], vocab, temperature, has_drafter| Case {
        counts: counts.to_vec(),
        vocab,
        temperature,
        has_drafter,
        dtype: DType::F32,
    };
    let half = Case {
        dtype: DType::BF16,
        ..case(&[3], 1024, 1.0, true)
    };
    vec![
        case(&[2], 7, 1.0, true),
        case(&[1], 97, 1.0, false),
        case(&[2, 2, 2], 130, 0.7, true),
        case(&[2, 0, 4, 1], 130, 0.7, true),
        case(&[3, 1], 2049, 1.5, false),
        case(&[8], 49_152, 1.0, true),
        half,
    ]
}

/// Whether the backend has the case's type.
pub(crate) fn is_supported<B: Backend>(case: &Case) -> bool {
    B::supports_dtype(&device::<B>(), case.dtype)
}

impl Case {
    fn most(&self) -> usize {
        self.counts.iter().copied().max().unwrap_or(0)
    }

    /// Logits of the verifier and of the drafter, drafts, and uniform draws.
    fn inputs(&self) -> [Vec<f32>; 4] {
        let (batch, most, vocab) = (self.counts.len(), self.most(), self.vocab);
        let mut seeded = Seeded::new(11);
        // What both types of numbers hold.
        let mut logits = |rows: usize| -> Vec<f32> {
            let values = seeded.uniforms(rows * vocab, -6.0, 6.0);
            values.iter().map(|v| (v * 16.0).round() / 16.0).collect()
        };
        let verified = logits(batch * (most + 1));
        let drafted = logits(batch * most);
        // The likelier of a few tokens, as a drafter would.
        let drafts = (0..batch * most).map(|row| {
            let logits = &drafted[row * vocab..][..vocab];
            let few = (0..5).map(|_| seeded.uniform(0.0, vocab as f32) as usize % vocab);
            few.max_by(|a, b| logits[*a].total_cmp(&logits[*b]))
                .map_or(0.0, |id| id as f32)
        });
        let drafts = drafts.collect();
        let mut uniform = seeded.uniforms(batch * (most + 1) * vocab, 0.0, 1.0);
        // Where a logarithm would be infinite or nothing.
        uniform[0] = 0.0;
        uniform[1] = 1.0;
        [verified, drafted, drafts, uniform]
    }

    pub(crate) fn naive(&self) -> Vec<(String, Vec<f64>)> {
        let [verified, drafted, drafts, uniform] = self.inputs();
        let (most, vocab) = (self.most(), self.vocab);
        let softmax = |logits: &[f32]| -> Vec<f64> {
            let scaled = logits
                .iter()
                .map(|z| f64::from(*z) / f64::from(self.temperature));
            let exps: Vec<f64> = scaled.map(f64::exp).collect();
            let sum: f64 = exps.iter().sum();
            exps.iter().map(|e| e / sum).collect()
        };
        let mut found = [const { Vec::new() }; 4];
        for (sequence, count) in self.counts.iter().enumerate() {
            for position in 0..=most {
                let row = sequence * (most + 1) + position;
                let p = softmax(&verified[row * vocab..][..vocab]);
                let mut left = p.clone();
                let mut numbers = [0.0; 3];
                if position < *count {
                    let row = sequence * most + position;
                    let draft = drafts[row] as usize;
                    let mut q = vec![0.0; vocab];
                    q[draft] = 1.0;
                    if self.has_drafter {
                        q = softmax(&drafted[row * vocab..][..vocab]);
                    }
                    numbers = [draft as f64, p[draft], q[draft]];
                    left.iter_mut()
                        .zip(&q)
                        .for_each(|(p, q)| *p = (*p - q).max(0.0));
                }
                let draws = &uniform[row * vocab..][..vocab];
                let raced = left.iter().zip(&p).zip(draws).map(|((left, p), u)| {
                    let u = f64::from(u.clamp(UNIFORM[0], UNIFORM[1]));
                    (left + p * f64::from(NOTHING_LEFT)) / -u.ln()
                });
                let raced: Vec<f64> = raced.collect();
                let best = (0..vocab).max_by(|a, b| raced[*a].total_cmp(&raced[*b]));
                let best = best.map_or(0.0, |id| id as f64);
                for (found, number) in found.iter_mut().zip([numbers.as_slice(), &[best]].concat())
                {
                    found.push(number);
                }
            }
        }
        let names = ["draft", "verified", "drafted", "next"].map(str::to_owned);
        names.into_iter().zip(found).collect()
    }

    pub(crate) fn check<B: SsmBackend>(&self) -> Vec<TensorCheck> {
        let [verified, drafted, drafts, uniform] = self.inputs();
        let (batch, most, vocab) = (self.counts.len(), self.most(), self.vocab);
        let device = device::<B>();
        let ints = |values: Vec<i32>, dims: &[usize]| TensorData::new(values, dims.to_vec());
        let logits = |values: &[f32], positions: usize| -> Tensor<B, 3> {
            wrap::<B, 3>(upload::<B>(values, &[batch, positions, vocab])).cast(self.dtype)
        };
        let drafts = drafts.iter().map(|id| *id as i32).collect();
        let is_ragged = self.counts.iter().any(|count| *count != most);
        let counts = || self.counts.iter().map(|count| *count as i32).collect();
        let inputs = WeighDraftsInputs {
            verified: logits(&verified, most + 1),
            drafted: self.has_drafter.then(|| logits(&drafted, most)),
            drafts: Tensor::<B, 2, Int>::from_data(ints(drafts, &[batch, most]), &device),
            counts: is_ragged.then(|| Tensor::from_data(ints(counts(), &[batch]), &device)),
            uniform: wrap(upload::<B>(&uniform, &[batch, most + 1, vocab])),
            temperature: self.temperature,
        };
        free_nan::<B>([batch * (most + 1) * 4].into_iter());
        let out = weigh_drafts(inputs).expect("the shapes fit");
        let out = download::<B>(unwrap(out));
        let naive = self.naive();
        let checks = naive.iter().enumerate().map(|(at, (name, expected))| {
            let got: Vec<f32> = out.iter().copied().skip(at).step_by(4).collect();
            let mut check = TensorCheck::new(name, &got, expected);
            if name == "draft" || name == "next" {
                check.tolerance = 0.0;
            }
            check
        });
        checks.collect()
    }

    /// Sizes, short.
    pub(crate) fn label(&self) -> String {
        let Self {
            counts,
            vocab,
            temperature,
            has_drafter,
            dtype,
        } = self;
        let by = if *has_drafter { "drawn" } else { "certain" };
        format!("{counts:?} {by} drafts, vocab {vocab}, T {temperature}, {dtype:?}")
    }
}
