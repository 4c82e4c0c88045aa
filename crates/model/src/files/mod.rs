//! Files and folders that are there as a whole or not at all: written beside their place, synced, renamed.
//!
//! Everything that must outlive a crash or a full disk is written through here, in this crate and in those above it: checkpoints,
//! exports, shards, caches, manifests, logs. Under the feature `faults` any of these operations can be made to fail, or to end the
//! process (`faults`); no binary that is built for use has it.
mod error;
#[cfg(any(test, feature = "faults"))]
pub mod faults;
mod folder;
mod output;
mod sealed;
mod space;
mod whole;

pub use error::FileError;
pub use folder::{recover_folder, remove_folder, sync_folder, write_folder};
pub use output::Output;
pub use sealed::{SealError, seal, split_seal, unseal};
pub use space::check_space;
pub use whole::{write, write_new, write_with};

use std::fs;
use std::path::{Path, PathBuf};

/// What is done to a file or folder, in the words of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Write,
    Sync,
    Rename,
    Remove,
}

impl Operation {
    fn verb(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Sync => "sync",
            Self::Rename => "rename",
            Self::Remove => "remove",
        }
    }
}

/// A fault in place of the operation, where one is asked for.
#[cfg_attr(
    not(any(test, feature = "faults")),
    expect(unused_variables, reason = "nothing is asked for")
)]
fn strike(operation: Operation, path: &Path) -> std::io::Result<()> {
    #[cfg(any(test, feature = "faults"))]
    if let Some(fault) = faults::next(operation, path) {
        return fault.strike(operation, path);
    }
    Ok(())
}

/// Gives `from` the name `to`, in place of a file of that name.
///
/// # Errors
/// [`FileError::Io`] with `from`.
pub fn rename(from: &Path, to: &Path) -> Result<(), FileError> {
    strike(Operation::Rename, to)
        .and_then(|()| fs::rename(from, to))
        .map_err(FileError::of(Operation::Rename, from, None))
}

/// A hidden sibling of `path`.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{suffix}"))
}

/// The folder that a file is in.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests;
