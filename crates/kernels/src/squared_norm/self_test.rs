//! The sum in f64, and its cases.

use super::squared_norm;
use crate::backend::SsmBackend;
use crate::primitive::unwrap;
use crate::seeded::Seeded;
use crate::self_test::TensorCheck;
use crate::self_test::compare::compare;
use crate::self_test::host::{device, download, free_nan, upload};
use burn::tensor::TensorPrimitive;

/// Shapes of the tensors.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) shapes: Vec<Vec<usize>>,
}

/// One tensor and several, small ones and some that many cubes share.
pub(crate) fn cases() -> Vec<Case> {
    let shapes: [&[&[usize]]; 4] = [
        &[&[1]],
        &[&[7], &[3, 5, 2], &[64, 64]],
        &[&[576, 129], &[1023], &[1, 1], &[2, 2049]],
        &[&[600, 1000], &[40]],
    ];
    let case = |shapes: &[&[usize]]| Case {
        shapes: shapes.iter().map(|shape| shape.to_vec()).collect(),
    };
    shapes.into_iter().map(case).collect()
}

impl Case {
    fn inputs(&self) -> Vec<Vec<f32>> {
        let mut seeded = Seeded::new(5);
        let lengths = self.shapes.iter().map(|shape| shape.iter().product());
        lengths
            .map(|length| seeded.uniforms(length, -2.0, 1.0))
            .collect()
    }

    /// The sum by its definition in f64.
    pub(crate) fn naive(&self) -> Vec<(String, Vec<f64>)> {
        let inputs = self.inputs();
        let values = inputs.iter().flatten().map(|&value| f64::from(value));
        vec![("sum".to_owned(), vec![values.map(|v| v * v).sum()])]
    }

    /// The operation against the definition.
    pub(crate) fn check<B: SsmBackend>(&self) -> Vec<TensorCheck> {
        let inputs = self.inputs();
        let tensors = (inputs.iter().zip(&self.shapes))
            .map(|(values, shape)| TensorPrimitive::Float(upload::<B>(values, shape)))
            .collect();
        free_nan::<B>([1, 2, 4, 64, 256].into_iter());
        let sum = squared_norm::<B>(tensors, &device::<B>());
        let got = vec![("sum".to_owned(), download::<B>(unwrap(sum)))];
        compare(&got, &self.naive())
    }

    /// Shapes, short.
    pub(crate) fn label(&self) -> String {
        let shapes = self.shapes.iter().map(|shape| {
            let sizes: Vec<_> = shape.iter().map(usize::to_string).collect();
            sizes.join("x")
        });
        shapes.collect::<Vec<_>>().join(" ")
    }
}
