//! Reading a folder of prepared data.

use std::path::Path;

use model::Tokenizer;

use super::manifest::{Kind, Manifest};
use super::{shard, tokenizer_sha256};
use crate::data::Example;
use crate::error::DistillError;

/// All documents of a folder with their kinds, in the order in which they were prepared; every shard is checked.
///
/// # Errors
/// [`DistillError::Malformed`] when the folder was prepared with another tokenizer, or a shard is damaged or not the
/// manifest's; else as [`Manifest::read`].
pub fn read(folder: &Path, tokenizer: &Tokenizer) -> anyhow::Result<Vec<(Kind, Vec<Example>)>> {
    let manifest = Manifest::read(folder)?;
    let ours = tokenizer_sha256(tokenizer)?;
    if manifest.tokenizer_sha256 != ours {
        return Err(DistillError::Malformed {
            path: folder.into(),
            found: format!(
                "data prepared with the tokenizer {}",
                manifest.tokenizer_sha256
            ),
            expected: format!(
                "{ours}, the teacher's (prepare it again with `--model` the teacher)"
            ),
        }
        .into());
    }
    let mut shards = Vec::with_capacity(manifest.shards.len());
    for entry in &manifest.shards {
        let path = folder.join(&entry.file);
        let bytes = std::fs::read(&path).map_err(|source| DistillError::Io {
            action: "read",
            path: path.clone(),
            source,
        })?;
        let documents = shard::decode(&path, &bytes, entry.kind, &manifest.fingerprint)?;
        if documents.len() != entry.documents {
            return Err(DistillError::Malformed {
                path,
                found: format!("{} documents", documents.len()),
                expected: format!("{}, as the manifest says", entry.documents),
            }
            .into());
        }
        shards.push((entry.kind, documents));
    }
    Ok(shards)
}
