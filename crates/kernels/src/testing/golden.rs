//! Golden values made outside this project, `tests/fixtures/mamba/README.md`.

use crate::self_test::{HostTensor, Tensors};
use safetensors::{Dtype, SafeTensors};

/// Every tensor of a fixture.
pub(crate) fn load(name: &str) -> Tensors {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/mamba/");
    let path = format!("{folder}{name}.safetensors");
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let file = SafeTensors::deserialize(&bytes).unwrap_or_else(|error| panic!("{path}: {error}"));
    let tensors = file
        .iter()
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
                HostTensor {
                    shape: view.shape().to_vec(),
                    values,
                },
            )
        })
        .collect();
    Tensors(tensors)
}
