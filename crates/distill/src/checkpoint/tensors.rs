//! Named tensors as one safetensors file, each with a checksum of its own.
use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::{DType, TensorData};
use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use sha2::{Digest, Sha256};

use super::hex;
use crate::error::DistillError;

/// Tensors by name.
pub type Tensors = BTreeMap<String, TensorData>;

/// The file, and the checksum of every tensor by name.
///
/// # Panics
/// On a type that neither models nor optimisers hold.
pub(super) fn encode(tensors: &Tensors) -> (Vec<u8>, BTreeMap<String, String>) {
    let view = |(name, data): (&String, _)| (name.clone(), view(data));
    let views: Vec<(String, TensorView)> = tensors.iter().map(view).collect();
    let checksums = views
        .iter()
        .map(|(name, view)| (name.clone(), checksum(view)))
        .collect();
    let file = safetensors::serialize(views, None).expect("names and views are whole");
    (file, checksums)
}

fn view(data: &TensorData) -> TensorView<'_> {
    let dtype = match data.dtype {
        DType::F64 => Dtype::F64,
        DType::F32 => Dtype::F32,
        DType::F16 => Dtype::F16,
        DType::BF16 => Dtype::BF16,
        DType::I64 => Dtype::I64,
        other => unreachable!("weights, moments and counts are not of type {other:?}"),
    };
    TensorView::new(dtype, data.shape.to_vec(), data.as_bytes())
        .expect("as many bytes as the shape says")
}

/// Hash of type, shape and values: the file's header is covered too.
fn checksum(view: &TensorView) -> String {
    let mut hash = Sha256::new();
    hash.update(format!("{:?} {:?} ", view.dtype(), view.shape()));
    hash.update(view.data());
    hex(&hash.finalize())
}

/// Reads what [`encode`] wrote.
///
/// # Errors
/// [`DistillError::Malformed`] for a file that is cut short, lacks a tensor or holds other values than were written.
pub(super) fn decode(
    path: &Path,
    file: &[u8],
    checksums: &BTreeMap<String, String>,
) -> Result<Tensors, DistillError> {
    let malformed = |found: String, expected: &str| DistillError::Malformed {
        path: path.into(),
        found,
        expected: expected.into(),
    };
    let whole = "the tensors that its `manifest.json` lists";
    let file =
        SafeTensors::deserialize(file).map_err(|error| malformed(error.to_string(), whole))?;
    let mut tensors = Tensors::new();
    for (name, expected) in checksums {
        let view = file
            .tensor(name)
            .map_err(|_| malformed(format!("no tensor `{name}`"), whole))?;
        let found = checksum(&view);
        if found != *expected {
            let found = format!("tensor `{name}` has sha256 {found}");
            return Err(malformed(found, expected));
        }
        let data = data(&view).ok_or_else(|| {
            malformed(format!("tensor `{name}` of type {:?}", view.dtype()), whole)
        })?;
        tensors.insert(name.clone(), data);
    }
    Ok(tensors)
}

fn data(view: &TensorView) -> Option<TensorData> {
    let (bytes, shape) = (view.data(), view.shape().to_vec());
    Some(match view.dtype() {
        Dtype::F64 => TensorData::new(numbers(bytes, f64::from_le_bytes), shape),
        Dtype::F32 => TensorData::new(numbers(bytes, f32::from_le_bytes), shape),
        Dtype::F16 => TensorData::new(numbers(bytes, f16::from_le_bytes), shape),
        Dtype::BF16 => TensorData::new(numbers(bytes, bf16::from_le_bytes), shape),
        Dtype::I64 => TensorData::new(numbers(bytes, i64::from_le_bytes), shape),
        _ => return None,
    })
}

fn numbers<const N: usize, T>(bytes: &[u8], number: impl Fn([u8; N]) -> T) -> Vec<T> {
    let (raw, _) = bytes.as_chunks::<N>();
    raw.iter().map(|raw| number(*raw)).collect()
}
