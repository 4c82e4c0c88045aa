//! Tensors as bytes: number format, and safetensors files of bounded size.

use std::path::Path;

use burn::tensor::TensorData;
use half::{bf16, f16};
use safetensors::{Dtype, tensor::TensorView};
use serde_json::{Map, Value, json};

use super::shards::{INDEX_JSON, MODEL_SAFETENSORS};
use crate::error::ModelError;
use crate::files::{check_space, write_new};

/// Number format of saved weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SavePrecision {
    /// Exact
    F32,
    /// Half the size; SSM decay rates and skips (`A_log`, `D`) stay f32
    Bf16,
    /// Half the size, more digits over a smaller range; `A_log` and `D` stay f32
    F16,
}

/// One tensor in the format it is stored in.
pub(crate) struct StoredTensor {
    pub(crate) key: String,
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: Vec<u8>,
}

impl StoredTensor {
    /// The f32 values of `data` under `key` in `precision`.
    ///
    /// # Errors
    /// [`ModelError::Config`] for a number that f16 cannot hold.
    pub(crate) fn new(
        key: String,
        data: TensorData,
        precision: SavePrecision,
    ) -> Result<Self, ModelError> {
        let shape = data.shape.to_vec();
        let values = data.into_vec::<f32>().expect("named tensors are f32");
        let is_exact = key.ends_with(".A_log") || key.ends_with(".D");
        let precision = match is_exact {
            true => SavePrecision::F32,
            false => precision,
        };
        Ok(Self {
            dtype: match precision {
                SavePrecision::F32 => Dtype::F32,
                SavePrecision::Bf16 => Dtype::BF16,
                SavePrecision::F16 => Dtype::F16,
            },
            bytes: encode(&key, &values, precision)?,
            key,
            shape,
        })
    }
}

/// `values` of the tensor `key` as little-endian bytes.
///
/// # Errors
/// [`ModelError::Config`] for a number that f16 cannot hold.
pub(crate) fn encode(
    key: &str,
    values: &[f32],
    precision: SavePrecision,
) -> Result<Vec<u8>, ModelError> {
    let values = values.iter();
    Ok(match precision {
        SavePrecision::F32 => values.flat_map(|value| value.to_le_bytes()).collect(),
        SavePrecision::Bf16 => values
            .flat_map(|value| bf16::from_f32(*value).to_le_bytes())
            .collect(),
        SavePrecision::F16 => {
            let is_lost = |value: &&f32| value.is_finite() && f16::from_f32(**value).is_infinite();
            if let Some(value) = values.clone().find(is_lost) {
                let expected = "at most 65504, as f16 holds (choose bf16 or f32)";
                return Err(ModelError::config("weights", key, value, expected));
            }
            values
                .flat_map(|value| f16::from_f32(*value).to_le_bytes())
                .collect()
        }
    })
}

/// Writes `model.safetensors` into `folder`, or files of at most `shard_bytes` (one tensor at least) and their index.
///
/// # Errors
/// [`ModelError::File`] with the path that could not be written; nothing is where the disk has no room for all of it.
pub(crate) fn write_safetensors(
    folder: &Path,
    tensors: &[StoredTensor],
    shard_bytes: usize,
) -> Result<(), ModelError> {
    let total: usize = tensors.iter().map(|tensor| tensor.bytes.len()).sum();
    check_space(folder, total as u64)?;
    let mut shards: Vec<&[StoredTensor]> = Vec::new();
    let (mut start, mut size) = (0, 0);
    for (at, tensor) in tensors.iter().enumerate() {
        if at > start && size + tensor.bytes.len() > shard_bytes {
            shards.push(&tensors[start..at]);
            (start, size) = (at, 0);
        }
        size += tensor.bytes.len();
    }
    shards.push(&tensors[start..]);
    if let [all] = shards.as_slice() {
        return Ok(write_new(
            &folder.join(MODEL_SAFETENSORS),
            &serialised(all),
        )?);
    }
    let mut weight_map = Map::new();
    for (index, shard) in shards.iter().enumerate() {
        let name = format!("model-{:05}-of-{:05}.safetensors", index + 1, shards.len());
        for tensor in *shard {
            weight_map.insert(tensor.key.clone(), name.clone().into());
        }
        write_new(&folder.join(name), &serialised(shard))?;
    }
    let index = json!({"metadata": {"total_size": total}, "weight_map": weight_map});
    Ok(write_new(&folder.join(INDEX_JSON), &pretty(&index))?)
}

fn serialised(tensors: &[StoredTensor]) -> Vec<u8> {
    let views = tensors.iter().map(|tensor| {
        let view = TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.bytes)
            .expect("as many bytes as the shape says");
        (tensor.key.as_str(), view)
    });
    // Readers of the hub want to see this entry.
    let format = [("format".to_owned(), "pt".to_owned())];
    safetensors::serialize(views, Some(format.into_iter().collect()))
        .expect("names and views are whole")
}

/// JSON as a text file.
pub(crate) fn pretty(json: &Value) -> Vec<u8> {
    let mut text = format!("{json:#}").into_bytes();
    text.push(b'\n');
    text
}
