//! A model out to a folder of ours, whole or not at all.

use std::path::Path;

use kernels::SsmBackend;

use super::checkpoint::{self, CheckpointMeta};
use super::checksums::Checksums;
use super::stored::{SavePrecision, StoredTensor, pretty, write_safetensors};
use super::{CONFIG_JSON, MAMBA_CONFIG_JSON, TOKENIZER_JSON};
use crate::error::ModelError;
use crate::files::{write_folder, write_new};
use crate::hybrid::HybridModel;
use crate::tokenizer::Tokenizer;

/// Writes `config.json`, `model.safetensors`, and where there are any `mamba_config.json` and `tokenizer.json`; last
/// `serpentine-checksums.json`, the hash of each of them.
///
/// Everything is written to a folder beside `folder`, synced, and renamed: after a crash or on a full disk there is the old
/// folder or none, never a part of one. An existing model folder is replaced, with all that is in it; another folder is not.
///
/// # Errors
/// [`ModelError::File`] with the path that could not be written, [`ModelError::Malformed`] when `folder` exists and holds
/// something else than a model, [`ModelError::Config`] for a number that `precision` cannot hold.
pub fn save<B: SsmBackend>(
    model: &HybridModel<B>,
    tokenizer: Option<&Tokenizer>,
    folder: &Path,
    meta: &CheckpointMeta,
    precision: SavePrecision,
) -> Result<(), ModelError> {
    write_model_folder(folder, |part| {
        let config = model.config();
        write_new(&part.join(CONFIG_JSON), &pretty(&config.llama.to_hf()))?;
        if let Some(ssm) = config.used_ssm() {
            let json = checkpoint::mamba_config(config, ssm, meta);
            write_new(&part.join(MAMBA_CONFIG_JSON), &pretty(&json))?;
        }
        if let Some(tokenizer) = tokenizer {
            let path = part.join(TOKENIZER_JSON);
            write_new(&path, tokenizer.to_json()?.as_bytes())?;
        }
        let tensors = model.named_tensors().into_iter();
        let tensors: Vec<StoredTensor> = tensors
            .map(|(key, data)| StoredTensor::new(key, data, precision))
            .collect::<Result<_, _>>()?;
        write_safetensors(part, &tensors, usize::MAX)?;
        Checksums::write(part)
    })
}

/// As [`write_folder`]: an existing model folder is replaced, with all that is in it; another folder is not.
///
/// # Errors
/// Those of `write`; [`ModelError::File`] with the path that could not be written, [`ModelError::Malformed`] when `folder` exists
/// and holds something else than a model.
pub(crate) fn write_model_folder(
    folder: &Path,
    write: impl FnOnce(&Path) -> Result<(), ModelError>,
) -> Result<(), ModelError> {
    check_replaceable(folder)?;
    write_folder(folder, write).map_err(|error| match error {
        ModelError::File(error) => error.about(folder).into(),
        other => other,
    })
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
    match std::fs::read_dir(folder).map(|mut entries| entries.next().is_some()) {
        Ok(true) if !folder.join(CONFIG_JSON).exists() => {
            refuse("exists and holds no model, so it is not replaced")
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => {
            refuse("is a file, or below one")
        }
        _ => Ok(()),
    }
}
