//! Shards that are mapped into memory: the system reads pages as they are used, and takes them back when it needs room.

use std::fs::{File, Metadata};
use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use super::manifest::Kind;
use super::shard::Layout;
use crate::data::Example;
use crate::error::DistillError;

/// A shard whose bytes were found right when it was opened.
#[derive(Debug)]
pub struct Shard {
    path: PathBuf,
    file: File,
    /// Of the file as it was checked.
    checked: Metadata,
    map: Mmap,
    layout: Layout,
}

impl Shard {
    /// Maps the shard at `path` and looks at all of it once.
    ///
    /// # Errors
    /// [`DistillError::Io`] when it cannot be read; [`DistillError::Malformed`] when it is no shard of this kind and fingerprint, is
    /// cut short, or was changed.
    pub(super) fn open(path: &Path, kind: Kind, fingerprint: &str) -> Result<Self, DistillError> {
        let io = |source| DistillError::Io {
            action: "read",
            path: path.into(),
            source,
        };
        let file = File::open(path).map_err(io)?;
        let checked = file.metadata().map_err(io)?;
        let map = map(&file).map_err(io)?;
        let layout = Layout::check(path, &map, kind, fingerprint)?;
        Ok(Self {
            path: path.into(),
            file,
            checked,
            map,
            layout,
        })
    }

    /// Documents.
    pub fn documents(&self) -> usize {
        self.layout.documents()
    }

    /// The tokens of a document, as places in the shard.
    pub fn document(&self, document: usize) -> Range<usize> {
        self.layout.document(&self.map, document)
    }

    /// Some of the tokens.
    ///
    /// # Errors
    /// [`DistillError::Malformed`] when the file is no longer the one that was checked.
    pub fn example(&self, tokens: Range<usize>) -> Result<Example, DistillError> {
        let now = self.file.metadata().map_err(|source| DistillError::Io {
            action: "read",
            path: self.path.clone(),
            source,
        })?;
        let is_changed =
            now.len() != self.checked.len() || now.modified().ok() != self.checked.modified().ok();
        if is_changed {
            return Err(DistillError::Malformed {
                path: self.path.clone(),
                found: "a file that was changed while it was in use".into(),
                expected: "the one that was checked at the start (prepare the data again)".into(),
            });
        }
        Ok(self.layout.example(&self.map, tokens))
    }
}

#[expect(unsafe_code, reason = "memory can be mapped in no other way")]
fn map(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: nobody writes a shard once it has its name (`model::files::write` renames it into place, in a folder that is renamed
    // itself), and `Shard::example` looks whether somebody did all the same before it touches a page.
    unsafe { Mmap::map(file) }
}
