//! Weights as PyTorch pickles them (`pytorch_model.bin`, `.pt`, `.pth`): refused, with the command that converts them.

use std::path::{Path, PathBuf};

use super::shards::MODEL_SAFETENSORS;
use crate::error::ModelError;

const EXTENSIONS: [&str; 4] = ["bin", "pt", "pth", "ckpt"];

/// Refuses a file that is pickled by its name.
pub(super) fn refuse_file(path: &Path) -> Result<(), ModelError> {
    if !is_pickled(path) {
        return Ok(());
    }
    Err(ModelError::Pickled {
        path: path.into(),
        target: path.with_file_name(MODEL_SAFETENSORS),
        sources: vec![path.into()],
    })
}

/// Refuses a folder that holds no safetensors but pickled weights.
pub(super) fn refuse_folder(folder: &Path) -> Result<(), ModelError> {
    let entries = std::fs::read_dir(folder).map_err(ModelError::io(folder))?;
    let paths = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let mut sources: Vec<PathBuf> = paths.filter(|path| is_weights(path)).collect();
    sources.sort();
    match sources.first() {
        None => Ok(()),
        Some(path) => Err(ModelError::Pickled {
            path: path.clone(),
            target: folder.join(MODEL_SAFETENSORS),
            sources,
        }),
    }
}

fn is_pickled(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| EXTENSIONS.contains(&extension))
}

/// Training leaves other pickles beside the weights: `training_args.bin`, `optimizer.pt`, `rng_state.pth`.
fn is_weights(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let starts = ["pytorch_model", "consolidated", "model"];
    is_pickled(path) && starts.iter().any(|start| name.starts_with(start))
}
