//! The tiny teacher that is part of the binary, made by `experiments/tiny-pretrain.toml`.
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context;
use kernels::SsmBackend;
use model::load::LoadedModel;

use crate::error::DistillError;

/// Name and bytes of each file of the model folder.
type Files = &'static [(&'static str, &'static [u8])];

/// The folder `assets/tiny`; empty in a build without it.
const FILES: Files = &[];

/// How paths call the embedded teacher.
pub const NAME: &str = "builtin:tiny";

/// Loads the model at `path`, or the embedded one if it is [`NAME`].
///
/// # Errors
/// As [`model::load`](fn@model::load), or [`load`].
pub fn load_path<B: SsmBackend>(path: &Path, device: &B::Device) -> anyhow::Result<LoadedModel<B>> {
    if path.as_os_str() == NAME {
        load(device)
    } else {
        Ok(model::load(path, device)?)
    }
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
    let folder = TemporaryFolder::new()?;
    for (name, bytes) in FILES {
        let path = folder.0.join(name);
        std::fs::write(&path, bytes).map_err(|source| DistillError::Io {
            action: "write",
            path,
            source,
        })?;
    }
    model::load(&folder.0, device).context("the embedded teacher")
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
