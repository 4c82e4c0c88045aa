//! Golden values made outside this project, `tests/fixtures/mamba/README.md`.

use safetensors::{Dtype, SafeTensors};
use std::collections::HashMap;

/// A tensor on the host.
#[derive(Clone, Debug)]
pub(crate) struct Golden {
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Vec<f64>,
}

impl Golden {
    pub(crate) fn floats(&self) -> Vec<f32> {
        self.values.iter().map(|&value| value as f32).collect()
    }

    /// Permutes the axes; axis `i` of the result is axis `axes[i]` of this tensor.
    pub(crate) fn permute(&self, axes: &[usize]) -> Self {
        let mut strides = vec![1; self.shape.len()];
        for axis in (0..self.shape.len() - 1).rev() {
            strides[axis] = strides[axis + 1] * self.shape[axis + 1];
        }
        let shape: Vec<usize> = axes.iter().map(|&axis| self.shape[axis]).collect();
        let values = (0..self.values.len())
            .map(|mut index| {
                let mut offset = 0;
                for (position, &axis) in axes.iter().enumerate().rev() {
                    offset += index % shape[position] * strides[axis];
                    index /= shape[position];
                }
                self.values[offset]
            })
            .collect();
        Self { shape, values }
    }
}

/// Every tensor of a fixture.
pub(crate) fn load(name: &str) -> HashMap<String, Golden> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/mamba/");
    let path = format!("{folder}{name}.safetensors");
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let file = SafeTensors::deserialize(&bytes).unwrap_or_else(|error| panic!("{path}: {error}"));
    file.iter()
        .map(|(key, view)| {
            let values = match view.dtype() {
                Dtype::F32 => (view.data().chunks_exact(4))
                    .map(|b| f64::from(f32::from_le_bytes(b.try_into().expect("four bytes"))))
                    .collect(),
                Dtype::F64 => (view.data().chunks_exact(8))
                    .map(|b| f64::from_le_bytes(b.try_into().expect("eight bytes")))
                    .collect(),
                other => panic!("{path}: `{key}` is {other:?}, expected F32 or F64"),
            };
            (
                key.to_string(),
                Golden {
                    shape: view.shape().to_vec(),
                    values,
                },
            )
        })
        .collect()
}
