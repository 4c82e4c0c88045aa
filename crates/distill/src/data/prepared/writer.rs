//! Writing shards one after another.

use std::path::Path;

use super::manifest::{Kind, ShardEntry};
use super::shard;
use crate::data::Example;
use crate::error::DistillError;

/// A shard is closed when it holds this many tokens: 32 MiB of short ids, 64 MiB of long ones.
const SHARD_TOKENS: usize = 16 * 1024 * 1024;

/// Collects documents until they fill a shard.
pub(super) struct Writer<'a> {
    folder: &'a Path,
    fingerprint: [u8; 32],
    shards: Vec<ShardEntry>,
    open: Vec<Example>,
    open_kind: Kind,
    open_tokens: usize,
}

impl<'a> Writer<'a> {
    /// Shards in `folder` with this fingerprint.
    pub fn new(folder: &'a Path, fingerprint: [u8; 32]) -> Self {
        Self {
            folder,
            fingerprint,
            shards: Vec::new(),
            open: Vec::new(),
            open_kind: Kind::Chat,
            open_tokens: 0,
        }
    }

    /// Adds documents that stay together.
    ///
    /// # Errors
    /// [`DistillError::Io`].
    pub fn push(&mut self, kind: Kind, documents: Vec<Example>) -> Result<(), DistillError> {
        if kind != self.open_kind || self.open_tokens >= SHARD_TOKENS {
            self.close()?;
        }
        self.open_kind = kind;
        self.open_tokens += documents
            .iter()
            .map(|document| document.ids.len())
            .sum::<usize>();
        self.open.extend(documents);
        Ok(())
    }

    /// Writes what is left, and says what was written.
    ///
    /// # Errors
    /// [`DistillError::Io`].
    pub fn finish(mut self) -> Result<Vec<ShardEntry>, DistillError> {
        self.close()?;
        Ok(self.shards)
    }

    fn close(&mut self) -> Result<(), DistillError> {
        let documents = std::mem::take(&mut self.open);
        if documents.is_empty() {
            return Ok(());
        }
        let kind = self.open_kind;
        let file = format!("{:05}-{}.shard", self.shards.len(), kind.name());
        let bytes = shard::encode(kind, &self.fingerprint, &documents);
        model::files::write(&self.folder.join(&file), &bytes)?;
        self.shards.push(ShardEntry {
            file,
            kind,
            documents: documents.len(),
            tokens: self.open_tokens,
        });
        self.open_tokens = 0;
        Ok(())
    }
}
