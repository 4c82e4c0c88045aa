//! A model out to a folder, whole or not at all.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use half::bf16;
use kernels::SsmBackend;
use safetensors::{Dtype, tensor::TensorView};
use serde_json::Value;

use super::checkpoint::{self, CheckpointMeta};
use super::shards::MODEL_SAFETENSORS;
use super::{CONFIG_JSON, MAMBA_CONFIG_JSON, TOKENIZER_JSON};
use crate::error::ModelError;
use crate::hybrid::HybridModel;
use crate::tokenizer::Tokenizer;

/// Number format of saved weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SavePrecision {
    /// Exact
    F32,
    /// Half the size; SSM decay rates and skips (`A_log`, `D`) stay f32
    Bf16,
}

/// Writes `config.json`, `model.safetensors`, and where there are any `mamba_config.json` and `tokenizer.json`.
///
/// Everything is written to a folder beside `folder`, synced, and renamed: after a crash or on a full disk there is the old
/// folder or none, never a part of one. An existing model folder is replaced, with all that is in it; another folder is not.
///
/// # Errors
/// [`ModelError::Io`] with the path that could not be written, [`ModelError::Malformed`] when `folder` exists and holds
/// something else than a model.
pub fn save<B: SsmBackend>(
    model: &HybridModel<B>,
    tokenizer: Option<&Tokenizer>,
    folder: &Path,
    meta: &CheckpointMeta,
    precision: SavePrecision,
) -> Result<(), ModelError> {
    check_replaceable(folder)?;
    let part = beside(folder, "part");
    remove(&part)?;
    let written =
        write_all(model, tokenizer, &part, meta, precision).and_then(|()| replace(&part, folder));
    if written.is_err() {
        // The error being returned says more than a failure to tidy up would.
        let _ = fs::remove_dir_all(&part);
    }
    written
}

/// Replacing deletes: only a model folder, or an empty one, is fair game.
fn check_replaceable(folder: &Path) -> Result<(), ModelError> {
    let refuse = |problem: &str| {
        Err(ModelError::Malformed {
            path: folder.into(),
            field: "folder to write".into(),
            problem: problem.into(),
            cure: "name a folder that does not exist yet",
        })
    };
    if folder.file_name().is_none() {
        return refuse("has no name of its own");
    }
    match fs::read_dir(folder).map(|mut entries| entries.next().is_some()) {
        Ok(true) if !folder.join(CONFIG_JSON).exists() => {
            refuse("exists and holds no model, so it is not replaced")
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => {
            refuse("is a file, or below one")
        }
        _ => Ok(()),
    }
}

/// A hidden sibling of `folder`.
fn beside(folder: &Path, suffix: &str) -> PathBuf {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    folder.with_file_name(format!(".{name}.{suffix}"))
}

fn remove(folder: &Path) -> Result<(), ModelError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(ModelError::io(folder)(error))
        }
        _ => Ok(()),
    }
}

/// Puts `part` where `folder` is.
fn replace(part: &Path, folder: &Path) -> Result<(), ModelError> {
    let old = beside(folder, "old");
    let has_old = folder.exists();
    if has_old {
        remove(&old)?;
        fs::rename(folder, &old).map_err(ModelError::io(folder))?;
    }
    if let Err(error) = fs::rename(part, folder) {
        if has_old {
            let _ = fs::rename(&old, folder);
        }
        return Err(ModelError::io(folder)(error));
    }
    sync_folder(folder.parent());
    if has_old { remove(&old) } else { Ok(()) }
}

/// Makes names durable, where the system lets a folder be opened.
fn sync_folder(folder: Option<&Path>) {
    let folder = folder.filter(|folder| !folder.as_os_str().is_empty());
    if let Ok(folder) = File::open(folder.unwrap_or(Path::new("."))) {
        let _ = folder.sync_all();
    }
}

fn write_all<B: SsmBackend>(
    model: &HybridModel<B>,
    tokenizer: Option<&Tokenizer>,
    folder: &Path,
    meta: &CheckpointMeta,
    precision: SavePrecision,
) -> Result<(), ModelError> {
    fs::create_dir_all(folder).map_err(ModelError::io(folder))?;
    let config = model.config();
    write(&folder.join(CONFIG_JSON), &pretty(&config.llama.to_hf()))?;
    if let Some(ssm) = config
        .ssm
        .as_ref()
        .filter(|_| config.attention_ratio() < 1.0)
    {
        let json = checkpoint::mamba_config(config, ssm, meta);
        write(&folder.join(MAMBA_CONFIG_JSON), &pretty(&json))?;
    }
    if let Some(tokenizer) = tokenizer {
        let path = folder.join(TOKENIZER_JSON);
        write(&path, tokenizer.to_json()?.as_bytes())?;
    }
    write(&folder.join(MODEL_SAFETENSORS), &weights(model, precision))?;
    sync_folder(Some(folder));
    Ok(())
}

fn pretty(json: &Value) -> Vec<u8> {
    let mut text = format!("{json:#}").into_bytes();
    text.push(b'\n');
    text
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), ModelError> {
    File::create(path)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        .map_err(ModelError::io(path))
}

/// All tensors as one safetensors file.
fn weights<B: SsmBackend>(model: &HybridModel<B>, precision: SavePrecision) -> Vec<u8> {
    let tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = model
        .named_tensors()
        .into_iter()
        .map(|(key, data)| {
            let shape = data.shape.to_vec();
            let values = data.into_vec::<f32>().expect("named tensors are f32");
            let is_exact = key.ends_with(".A_log") || key.ends_with(".D");
            let (dtype, bytes) = match precision {
                SavePrecision::Bf16 if !is_exact => (
                    Dtype::BF16,
                    values
                        .iter()
                        .flat_map(|value| bf16::from_f32(*value).to_le_bytes())
                        .collect(),
                ),
                _ => (
                    Dtype::F32,
                    values
                        .iter()
                        .flat_map(|value| value.to_le_bytes())
                        .collect(),
                ),
            };
            (key, dtype, shape, bytes)
        })
        .collect();
    let views = tensors.iter().map(|(key, dtype, shape, bytes)| {
        let view =
            TensorView::new(*dtype, shape.clone(), bytes).expect("as many bytes as the shape says");
        (key.as_str(), view)
    });
    // Readers of the hub want to see this entry.
    let format = [("format".to_owned(), "pt".to_owned())]
        .into_iter()
        .collect();
    safetensors::serialize(views, Some(format)).expect("names and views are whole")
}
