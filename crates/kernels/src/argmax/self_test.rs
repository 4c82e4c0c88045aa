//! The most likely token's cases: ties, and vocabularies off every grid.

use super::argmax;
use crate::backend::SsmBackend;
use crate::primitive::wrap;
use crate::seeded::Seeded;
use crate::self_test::TensorCheck;
use crate::self_test::host::{free_nan, upload};

/// Rows of logits from -3 to 3 in sixteenths, so that the largest comes more than once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    rows: usize,
    vocab: usize,
}

pub(crate) fn cases() -> Vec<Case> {
    let sizes = [
        (1, 2),
        (3, 7),
        (2, 130),
        (5, 1024),
        (4, 2049),
        (1, 49_152),
        (33, 97),
    ];
    let case = |(rows, vocab)| Case { rows, vocab };
    sizes.into_iter().map(case).collect()
}

impl Case {
    pub(crate) fn logits(&self) -> Vec<f32> {
        let values = Seeded::new(7).uniforms(self.rows * self.vocab, -3.0, 3.0);
        let values = values
            .into_iter()
            .map(|value| (value * 16.0).round() / 16.0);
        // Not every first token is the first of the row.
        values
            .enumerate()
            .map(|(at, value)| if at % self.vocab == 0 { -4.0 } else { value })
            .collect()
    }

    pub(crate) fn naive(&self, logits: &[f32]) -> Vec<f64> {
        let first_largest = |row: &[f32]| {
            let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            row.iter().position(|value| *value == largest)
        };
        let rows = logits.chunks_exact(self.vocab);
        rows.map(|row| first_largest(row).expect("it is in the row") as f64)
            .collect()
    }

    pub(crate) fn check<B: SsmBackend>(&self) -> Vec<TensorCheck> {
        let logits = self.logits();
        free_nan::<B>([self.rows].into_iter());
        let found = argmax(wrap::<B, 2>(upload::<B>(&logits, &[self.rows, self.vocab])));
        let found = found.expect("no size is zero").into_data();
        let found: Vec<f32> = found.iter::<i64>().map(|id| id as f32).collect();
        let mut check = TensorCheck::new("ids", &found, &self.naive(&logits));
        check.tolerance = 0.0;
        vec![check]
    }

    /// Sizes, short.
    pub(crate) fn label(&self) -> String {
        format!("{} rows of {}", self.rows, self.vocab)
    }
}
