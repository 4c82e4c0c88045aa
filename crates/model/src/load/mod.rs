//! Files in, models out.

mod checkpoint;
mod checksums;
pub mod gguf;
mod pickled;
mod published;
mod save;
mod shards;
mod stored;

pub use checkpoint::CheckpointMeta;
pub use save::save;
pub(crate) use save::write_model_folder;
pub use stored::SavePrecision;

pub(crate) use checkpoint::{OWN_KEY, published_config};
pub(crate) use checksums::{read_file, read_small_file};
pub(crate) use stored::{StoredTensor, encode, pretty, write_safetensors};

use std::path::{Path, PathBuf};

use kernels::SsmBackend;
use serde_json::Value;
use sha2::{Digest, Sha256};

use self::checksums::Checksums;
use crate::config::{HybridConfig, LlamaConfig};
use crate::error::ModelError;
use crate::hash::hex;
use crate::hybrid::HybridModel;
use crate::tokenizer::Tokenizer;

/// Transformer configuration of a model folder.
pub(crate) const CONFIG_JSON: &str = "config.json";
/// What is hybrid about a model folder; absent for a plain Transformer.
pub(crate) const MAMBA_CONFIG_JSON: &str = "mamba_config.json";
/// Tokenizer of a model folder.
pub(crate) const TOKENIZER_JSON: &str = "tokenizer.json";

/// Most bytes of a configuration: it holds sizes and flags.
const MOST_CONFIG_BYTES: u64 = 1 << 20;

/// What a model was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceFormat {
    /// A GGUF file
    Gguf,
    /// A folder with `config.json` and safetensors
    HuggingFace,
    /// The same with `mamba_config.json`: a hybrid, published or ours
    Checkpoint,
}

impl SourceFormat {
    /// The name in output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gguf => "GGUF",
            Self::HuggingFace => "Hugging Face folder",
            Self::Checkpoint => "hybrid checkpoint",
        }
    }
}

/// A model and what came with it.
#[derive(Debug)]
pub struct LoadedModel<B: SsmBackend> {
    /// The model, in f32
    pub model: HybridModel<B>,
    /// The tokenizer, where the source has one
    pub tokenizer: Option<Tokenizer>,
    /// What it was read from
    pub format: SourceFormat,
    /// SHA-256 of the file, or of the weight files of a folder in order of name
    pub sha256: String,
    /// Where a checkpoint of ours comes from
    pub meta: Option<CheckpointMeta>,
}

/// Reads a model from a GGUF file, a Hugging Face folder or a checkpoint folder.
///
/// # Errors
/// [`ModelError`] naming file and field; nothing is half loaded.
pub fn load<B: SsmBackend>(
    path: impl AsRef<Path>,
    device: &B::Device,
) -> Result<LoadedModel<B>, ModelError> {
    let path = path.as_ref();
    let kind = std::fs::metadata(path).map_err(ModelError::io(path))?;
    if kind.is_dir() {
        return load_folder(path, device);
    }
    if path
        .extension()
        .is_some_and(|extension| extension == "safetensors")
    {
        return Err(ModelError::Malformed {
            path: path.into(),
            field: "path".into(),
            problem: "weights alone do not say what the model is".into(),
            cure: "give the folder that holds them beside `config.json`",
        });
    }
    pickled::refuse_file(path)?;
    let file = gguf::GgufFile::open(path)?;
    Ok(LoadedModel {
        model: gguf::load_llama(&file, device)?,
        tokenizer: Some(Tokenizer::from_gguf(&file)?),
        format: SourceFormat::Gguf,
        sha256: hash_files(&[path.to_path_buf()])?,
        meta: None,
    })
}

/// What a folder says its model is, without reading weights.
///
/// # Errors
/// [`ModelError`] naming file and field.
pub fn folder_config(folder: &Path) -> Result<(HybridConfig, Option<CheckpointMeta>), ModelError> {
    // One that has lost its `mamba_config.json` is no Transformer.
    Checksums::of(folder)?;
    let path = folder.join(CONFIG_JSON);
    let origin = path.display().to_string();
    let json = read_json(&path)?;
    let llama = LlamaConfig::from_hf(&json, &origin)?;
    let path = folder.join(MAMBA_CONFIG_JSON);
    let (config, meta) = if path.exists() {
        checkpoint::hybrid_config(llama, &read_json(&path)?, &path.display().to_string())?
    } else {
        (HybridConfig::teacher(llama), None)
    };
    match meta {
        Some(meta) => Ok((config, Some(meta))),
        None => Ok((config, checkpoint::exported_meta(&json, &origin)?)),
    }
}

fn load_folder<B: SsmBackend>(
    folder: &Path,
    device: &B::Device,
) -> Result<LoadedModel<B>, ModelError> {
    let checksums = Checksums::of(folder)?;
    let (config, meta) = folder_config(folder)?;
    let files = shards::weight_files(folder)?;
    let (mut tensors, sha256) = shards::read(&files, &checksums)?;
    if config.llama.tie_word_embeddings {
        // Some exporters write the tied head as well.
        tensors.retain(|(key, _)| key != "lm_head.weight");
    }
    // Buffers that old exporters wrote beside the weights.
    tensors.retain(|(key, _)| !key.ends_with("rotary_emb.inv_freq"));
    if config.used_ssm().is_some_and(|ssm| ssm.in_proj_bias) {
        published::without_output_biases(&mut tensors, folder)?;
    }
    checkpoint::check_layers(&config, tensors.iter().map(|(key, _)| key.as_str()), folder)?;
    let model = HybridModel::load_named(&config, tensors, device)?;
    let tokenizer = match folder.join(TOKENIZER_JSON) {
        path if path.exists() => Some(Tokenizer::load(path)?),
        _ => None,
    };
    let format = match folder.join(MAMBA_CONFIG_JSON).exists() {
        true => SourceFormat::Checkpoint,
        false => SourceFormat::HuggingFace,
    };
    Ok(LoadedModel {
        model,
        tokenizer,
        format,
        sha256,
        meta,
    })
}

fn read_json(path: &Path) -> Result<Value, ModelError> {
    let text = read_small_file(path, MOST_CONFIG_BYTES)?;
    serde_json::from_slice(&text).map_err(|source| ModelError::Malformed {
        path: path.into(),
        field: format!("line {}, column {}", source.line(), source.column()),
        problem: "is not JSON".into(),
        cure: "fetch or write the file again",
    })
}

/// SHA-256 of a folder's weights, as [`LoadedModel::sha256`] gives it, without loading them.
///
/// # Errors
/// [`ModelError`] when there are none or they cannot be read.
pub fn folder_sha256(folder: &Path) -> Result<String, ModelError> {
    hash_files(&shards::weight_files(folder)?)
}

/// As [`folder_sha256`], after holding every other file of a folder of ours against the checksum it was written with.
///
/// # Errors
/// As [`folder_sha256`]; [`ModelError::Checksum`] for a file that is not as it was written, [`ModelError::Malformed`] for one that is
/// missing.
pub fn checked_folder_sha256(folder: &Path) -> Result<String, ModelError> {
    let weights = shards::weight_files(folder)?;
    checksums::check_small_files(folder, &weights)?;
    hash_files(&weights)
}

fn hash_files(paths: &[PathBuf]) -> Result<String, ModelError> {
    let mut hash = Sha256::new();
    for path in paths {
        let mut file = std::fs::File::open(path).map_err(ModelError::io(path))?;
        std::io::copy(&mut file, &mut hash).map_err(ModelError::io(path))?;
    }
    Ok(hex(&hash.finalize()))
}

#[cfg(test)]
pub(crate) mod tests;
