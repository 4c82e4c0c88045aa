//! What a folder of prepared data holds and what it was made from.

use std::path::Path;

use model::files::unseal;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::DistillError;

/// File name of the manifest; it is written last, so a folder without one is not whole.
pub(super) const FILE: &str = "manifest.json";
/// Version of folder and shards.
pub(super) const VERSION: u32 = 2;

/// What a document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A conversation; every assistant turn is a target.
    Chat,
    /// A file of plain text, all of it targets.
    Text,
    /// Two documents one after the other, chosen and rejected; the last reply is the target.
    Preferences,
}

impl Kind {
    /// Name in files, and in their names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Text => "text",
            Self::Preferences => "preferences",
        }
    }
}

/// A file that was prepared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Path as it was given.
    pub file: String,
    /// What it holds.
    pub kind: Kind,
    /// Hash of its bytes.
    pub sha256: String,
    /// Rows in it.
    pub rows: usize,
    /// Rows left out because they are not valid.
    pub bad: usize,
    /// Rows left out because they were there before.
    pub repeated: usize,
}

/// A file of documents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardEntry {
    /// Name in the folder.
    pub file: String,
    /// What the documents are.
    pub kind: Kind,
    /// Documents in it.
    pub documents: usize,
    /// Tokens in it.
    pub tokens: usize,
}

/// The manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of folder and shards.
    pub version: u32,
    /// Program that made it.
    pub made_by: String,
    /// Hash of inputs, tokenizer and template; every shard carries it.
    pub fingerprint: String,
    /// Hash of the tokenizer's JSON.
    pub tokenizer_sha256: String,
    /// Chat template.
    pub template: String,
    /// Files it was made from.
    pub inputs: Vec<Input>,
    /// Its shards, in order.
    pub shards: Vec<ShardEntry>,
}

/// Hash of what determines the documents.
pub(super) fn fingerprint(inputs: &[Input], tokenizer_sha256: &str, template: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(format!("{VERSION}\n{tokenizer_sha256}\n{template}\n"));
    for input in inputs {
        hash.update(format!("{} {}\n", input.kind.name(), input.sha256));
    }
    hash.finalize().into()
}

impl Manifest {
    /// Reads the manifest of a folder.
    ///
    /// # Errors
    /// [`DistillError::Io`] when there is none, [`DistillError::Malformed`] when it is none of ours or of another version.
    pub fn read(folder: &Path) -> Result<Self, DistillError> {
        let path = folder.join(FILE);
        let bytes = std::fs::read(&path).map_err(|source| DistillError::Io {
            action: "read",
            path: path.clone(),
            source,
        })?;
        let malformed = |found: String| DistillError::Malformed {
            path: path.clone(),
            found,
            expected: format!(
                "a manifest of `distill data prepare`, version {VERSION} (prepare the data again)"
            ),
        };
        let manifest: Self = unseal(&bytes).map_err(|error| malformed(error.to_string()))?;
        if manifest.version != VERSION {
            return Err(malformed(format!("version {}", manifest.version)));
        }
        Ok(manifest)
    }
}
