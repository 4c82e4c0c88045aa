//! The tiny teacher that is part of the binary, made by `experiments/tiny-pretrain.toml`.
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context;
use kernels::SsmBackend;
use model::Tokenizer;
use model::load::LoadedModel;

use crate::error::DistillError;
use crate::hub::HubRepo;
use crate::recipe::Precision;

/// Name and bytes of each file of the model folder.
type Files = &'static [(&'static str, &'static [u8])];

/// The folder `assets/tiny`, whose README says where each file comes from.
const FILES: Files = &[
    ("config.json", include_bytes!("../assets/tiny/config.json")),
    (
        "model.safetensors",
        include_bytes!("../assets/tiny/model.safetensors"),
    ),
    (
        "tokenizer.json",
        include_bytes!("../assets/tiny/tokenizer.json"),
    ),
];

/// How paths call the embedded teacher.
pub const NAME: &str = "builtin:tiny";

/// Loads the model at `path`, the embedded one if it is [`NAME`], or one of the hub if it is an address of it.
///
/// # Errors
/// As [`model::load`](fn@model::load), [`load`] or [`HubRepo::model_folder`].
pub fn load_path<B: SsmBackend>(path: &Path, device: &B::Device) -> anyhow::Result<LoadedModel<B>> {
    if path.as_os_str() == NAME {
        return load(device);
    }
    Ok(model::load(local_path(path)?, device)?)
}

/// What the weights of a model's projections are held in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// With embedding and head, in a type of floats.
    In(Precision),
    /// As whole numbers of 8 bits, embedding and head in f32.
    Int8,
}

/// As [`load_path`], with projections `held` in another type; the memory that they took in f32 goes back to the system.
///
/// # Errors
/// As [`load_path`].
pub fn load_held_in<B: SsmBackend>(
    path: &Path,
    held: Held,
    device: &B::Device,
) -> anyhow::Result<LoadedModel<B>> {
    let mut loaded = load_path::<B>(path, device)?;
    loaded.model = match held {
        Held::Int8 => loaded.model.with_projections_in_int8(),
        Held::In(precision) => match precision.compute() {
            Some(dtype) => loaded.model.with_projections_in(dtype),
            None => loaded.model,
        }
        .with_weights_apart(),
    };
    kernels::return_freed_memory();
    Ok(loaded)
}

/// Where the model at `path` is on this machine: of an address of the hub, its folder in the cache.
///
/// # Errors
/// As [`HubRepo::model_folder`].
pub(crate) fn local_path(path: &Path) -> Result<PathBuf, DistillError> {
    match HubRepo::of_address(path)? {
        Some(repo) => repo.model_folder(),
        None => Ok(path.to_path_buf()),
    }
}

/// The tokenizer that the model at `path` was loaded with, where text is needed.
///
/// # Errors
/// [`DistillError::NoTokenizer`] without one.
pub fn required_tokenizer<'a>(
    tokenizer: Option<&'a Tokenizer>,
    path: &Path,
) -> Result<&'a Tokenizer, DistillError> {
    tokenizer.ok_or_else(|| DistillError::NoTokenizer {
        path: path.to_path_buf(),
        cure: "put the `tokenizer.json` of its teacher into the folder",
    })
}

/// Loads the embedded teacher.
///
/// # Errors
/// [`DistillError::Missing`] if it is not part of this build; else if the temporary folder cannot be written.
pub fn load<B: SsmBackend>(device: &B::Device) -> anyhow::Result<LoadedModel<B>> {
    if FILES.is_empty() {
        return Err(DistillError::Missing {
            thing: "the teacher `builtin:tiny`",
            cure: "give a GGUF file, a Hugging Face directory or a checkpoint as `--set teacher.path=PATH`",
        }
        .into());
    }
    load_files(FILES, device).context("the embedded teacher")
}

fn load_files<B: SsmBackend>(
    files: &[(&str, &[u8])],
    device: &B::Device,
) -> anyhow::Result<LoadedModel<B>> {
    let folder = TemporaryFolder::new()?;
    for (name, bytes) in files {
        let path = folder.0.join(name);
        std::fs::write(&path, bytes).map_err(|source| DistillError::Io {
            action: "write",
            path,
            source,
        })?;
    }
    Ok(model::load(&folder.0, device)?)
}

/// A folder of this process alone, removed with the value: the loaders read folders.
struct TemporaryFolder(PathBuf);

impl TemporaryFolder {
    fn new() -> Result<Self, DistillError> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("distill-builtin-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        make_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        // Left-overs in the system's temporary folder harm nobody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn make_dir(path: &Path) -> Result<(), DistillError> {
    std::fs::create_dir(path).map_err(|source| DistillError::Io {
        action: "create",
        path: path.into(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use burn::backend::Flex;
    use model::load::{CheckpointMeta, SavePrecision};
    use model::{HybridConfig, HybridModel, LlamaConfig};

    use super::*;

    #[test]
    fn embedded_files_load_as_a_folder_does() {
        let llama = LlamaConfig {
            d_model: 8,
            n_layers: 1,
            n_heads: 2,
            n_kv_heads: 1,
            head_dim: 4,
            intermediate_size: 8,
            vocab_size: 10,
            rope_theta: 1e4,
            rope_scaling: None,
            rms_norm_eps: 1e-5,
            tie_word_embeddings: true,
            max_position_embeddings: 16,
            sliding_window: None,
            qkv_bias: false,
            bos_token_id: None,
            eos_token_ids: vec![],
        };
        let device = Default::default();
        let model = HybridModel::<Flex>::init(&HybridConfig::teacher(llama), &device);
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("model");
        let meta = CheckpointMeta::default();
        model::load::save(&model, None, &folder, &meta, SavePrecision::F32).unwrap();
        let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
        let (config, weights) = (read("config.json"), read("model.safetensors"));
        let files = [
            ("config.json", config.as_slice()),
            ("model.safetensors", weights.as_slice()),
        ];
        let loaded = load_files::<Flex>(&files, &device).unwrap();
        assert_eq!(loaded.model.config(), model.config());

        let error = load_files::<Flex>(&files[..1], &device).unwrap_err();
        assert!(error.to_string().contains("safetensors"), "{error}");
    }
}
