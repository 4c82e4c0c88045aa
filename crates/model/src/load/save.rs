//! A model out to a folder of ours, whole or not at all.

use std::path::Path;

use kernels::SsmBackend;

use super::atomic::{write_folder, write_new};
use super::checkpoint::{self, CheckpointMeta};
use super::stored::{SavePrecision, StoredTensor, pretty, write_safetensors};
use super::{CONFIG_JSON, MAMBA_CONFIG_JSON, TOKENIZER_JSON};
use crate::error::ModelError;
use crate::hybrid::HybridModel;
use crate::tokenizer::Tokenizer;

/// Writes `config.json`, `model.safetensors`, and where there are any `mamba_config.json` and `tokenizer.json`.
///
/// Everything is written to a folder beside `folder`, synced, and renamed: after a crash or on a full disk there is the old
/// folder or none, never a part of one. An existing model folder is replaced, with all that is in it; another folder is not.
///
/// # Errors
/// [`ModelError::Io`] with the path that could not be written, [`ModelError::Malformed`] when `folder` exists and holds
/// something else than a model, [`ModelError::Config`] for a number that `precision` cannot hold.
pub fn save<B: SsmBackend>(
    model: &HybridModel<B>,
    tokenizer: Option<&Tokenizer>,
    folder: &Path,
    meta: &CheckpointMeta,
    precision: SavePrecision,
) -> Result<(), ModelError> {
    write_folder(folder, |part| {
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
        write_safetensors(part, &tensors, usize::MAX)
    })
}
