//! Tensors out of safetensors files, one or several.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use burn::tensor::TensorData;
use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
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
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let text = super::checksums::read_small_file(index, MOST_HEADER_BYTES)?;
    let index: Index = serde_json::from_slice(&text)
        .map_err(|error| malformed("weight_map", format!("is no list of files: {error}")))?;
    let mut names = BTreeSet::new();
    for (key, name) in index.weight_map {
        if name.is_empty() || name.starts_with('.') || name.contains(['/', '\\', ':']) {
            let problem = format!("names `{name}`, which is not a file of this folder");
            return Err(malformed(&format!("weight_map.{key}"), problem));
        }
        names.insert(name);
    }
    if names.is_empty() {
        return Err(malformed("weight_map", "is empty".into()));
    }
    let paths: Vec<PathBuf> = names.into_iter().map(|name| folder.join(name)).collect();
    paths
        .iter()
        .try_for_each(|path| check_inside(folder, path))?;
    Ok(paths)
}

/// Refuses a link that leads out of the folder. The hub's cache is one that does: a snapshot's files are in `blobs` beside
/// `snapshots`.
fn check_inside(folder: &Path, path: &Path) -> Result<(), ModelError> {
    let real = |path: &Path| path.canonicalize().map_err(ModelError::io(path));
    let (target, folder) = (real(path)?, real(folder)?);
    let snapshots = folder
        .parent()
        .filter(|parent| parent.ends_with("snapshots"));
    let blobs = snapshots.map(|snapshots| snapshots.with_file_name("blobs"));
    if target.starts_with(&folder) || blobs.is_some_and(|blobs| target.starts_with(blobs)) {
        return Ok(());
    }
    Err(ModelError::Malformed {
        path: path.into(),
        field: "file".into(),
        problem: format!("is a link to `{}`, out of its folder", target.display()),
        cure: "put the file itself there",
    })
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

/// Longest header of a file: a hundred thousand tensors have less. Its parser holds several times as much.
const MOST_HEADER_BYTES: u64 = 16 << 20;

/// Where the last tensor of a header ends, and its name; no more of the header is held.
struct LastEnd(Option<(u64, String)>);

impl<'de> Deserialize<'de> for LastEnd {
    fn deserialize<D: Deserializer<'de>>(header: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Entry {
            data_offsets: Option<[u64; 2]>,
        }
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = LastEnd;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("a header")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<LastEnd, A::Error> {
                let mut last = None;
                while let Some((key, entry)) = entries.next_entry::<String, Entry>()? {
                    let end = entry.data_offsets.map(|[_, end]| (end, key));
                    last = last.max(end);
                }
                Ok(LastEnd(last))
            }
        }
        header.deserialize_map(Entries)
    }
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
    if header > MOST_HEADER_BYTES {
        return Err(ModelError::Malformed {
            path: path.into(),
            field: "the header".into(),
            problem: format!("has {header} bytes, more than {MOST_HEADER_BYTES}"),
            cure: "fetch the file again",
        });
    }
    let Ok(LastEnd(last)) = serde_json::from_slice(json) else {
        // The parser of the format says what is wrong with it.
        return Ok(());
    };
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
