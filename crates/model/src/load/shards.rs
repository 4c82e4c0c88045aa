//! Tensors out of safetensors files, one or several.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use burn::tensor::TensorData;
use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors};
use sha2::{Digest, Sha256};

use super::checksums::Checksums;
use super::pickled;
use crate::error::ModelError;
use crate::hash::hex;

pub(super) const MODEL_SAFETENSORS: &str = "model.safetensors";
pub(super) const INDEX_JSON: &str = "model.safetensors.index.json";

/// The weight files of a folder, in order of name.
pub(super) fn weight_files(folder: &Path) -> Result<Vec<PathBuf>, ModelError> {
    let single = folder.join(MODEL_SAFETENSORS);
    if single.exists() {
        return Ok(vec![single]);
    }
    let index = folder.join(INDEX_JSON);
    if index.exists() {
        return shard_files(folder, &index);
    }
    pickled::refuse_folder(folder)?;
    Err(ModelError::Malformed {
        path: folder.into(),
        field: "weights".into(),
        problem: format!("has neither `{MODEL_SAFETENSORS}` nor `{INDEX_JSON}`"),
        cure: "give a model folder, or a GGUF file",
    })
}

/// The files that an index lists, all of them inside the folder.
fn shard_files(folder: &Path, index: &Path) -> Result<Vec<PathBuf>, ModelError> {
    let malformed = |field: &str, problem: String| ModelError::Malformed {
        path: index.into(),
        field: field.into(),
        problem,
        cure: "fetch the file again",
    };
    let json = super::read_json(index)?;
    let map = json
        .get("weight_map")
        .and_then(|map| map.as_object())
        .ok_or_else(|| malformed("weight_map", "is missing or no object".into()))?;
    let mut names = BTreeSet::new();
    for (key, name) in map {
        let name = name
            .as_str()
            .ok_or_else(|| malformed(&format!("weight_map.{key}"), "is no file name".into()))?;
        if name.is_empty() || name.starts_with('.') || name.contains(['/', '\\', ':']) {
            let problem = format!("names `{name}`, which is not a file of this folder");
            return Err(malformed(&format!("weight_map.{key}"), problem));
        }
        names.insert(name.to_owned());
    }
    if names.is_empty() {
        return Err(malformed("weight_map", "is empty".into()));
    }
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

/// All tensors of the files as f32, in order of name within a file, and the SHA-256 of the bytes they came from. A file with another
/// hash than it was written with is refused.
pub(super) fn read(
    files: &[PathBuf],
    checksums: &Checksums,
) -> Result<(Vec<(String, TensorData)>, String), ModelError> {
    let mut hash = Sha256::new();
    let mut tensors = Vec::new();
    for path in files {
        let bytes = std::fs::read(path).map_err(ModelError::io(path))?;
        hash.update(&bytes);
        checksums.check(path, &bytes)?;
        check_length(path, &bytes)?;
        let file = SafeTensors::deserialize(&bytes).map_err(|source| ModelError::Malformed {
            path: path.clone(),
            field: "header".into(),
            problem: source.to_string(),
            cure: "fetch the file again",
        })?;
        let views: BTreeMap<String, _> = file.tensors().into_iter().collect();
        for (key, view) in views {
            let values =
                floats(view.dtype(), view.data()).ok_or_else(|| ModelError::Malformed {
                    path: path.clone(),
                    field: format!("tensor `{key}`"),
                    problem: format!("is of type {:?}", view.dtype()),
                    cure: "use weights in F32, F16 or BF16",
                })?;
            tensors.push((key, TensorData::new(values, view.shape().to_vec())));
        }
    }
    Ok((tensors, hex(&hash.finalize())))
}

/// Says in bytes how a file is cut short, which the header parser does not.
fn check_length(path: &Path, bytes: &[u8]) -> Result<(), ModelError> {
    let truncated = |field: &str, needed: u64| ModelError::Truncated {
        path: path.into(),
        field: field.into(),
        needed,
        found: bytes.len() as u64,
    };
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
        return Err(truncated("the header's length", 8));
    };
    let header = u64::from_le_bytes(*length);
    let Some(json) = usize::try_from(header)
        .ok()
        .and_then(|length| rest.get(..length))
    else {
        return Err(truncated("the header", header.saturating_add(8)));
    };
    let Ok(serde_json::Value::Object(entries)) = serde_json::from_slice(json) else {
        // The parser of the format says what is wrong with it.
        return Ok(());
    };
    let last = entries
        .iter()
        .filter_map(|(key, entry)| Some((entry.get("data_offsets")?.get(1)?.as_u64()?, key)))
        .max();
    match last {
        Some((end, key)) if end > (rest.len() - json.len()) as u64 => {
            let needed = end.saturating_add(8).saturating_add(header);
            Err(truncated(&format!("tensor `{key}`"), needed))
        }
        _ => Ok(()),
    }
}

fn floats(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
    let values = match dtype {
        Dtype::F32 => numbers(bytes, f32::from_le_bytes),
        Dtype::F16 => numbers(bytes, |raw| f16::from_le_bytes(raw).to_f32()),
        Dtype::BF16 => numbers(bytes, |raw| bf16::from_le_bytes(raw).to_f32()),
        Dtype::F64 => numbers(bytes, |raw| f64::from_le_bytes(raw) as f32),
        _ => return None,
    };
    Some(values)
}

fn numbers<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    let (raw, _) = bytes.as_chunks::<N>();
    raw.iter().map(|raw| number(*raw)).collect()
}
