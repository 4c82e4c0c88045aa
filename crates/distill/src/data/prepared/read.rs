//! Reading a folder of prepared data.

use std::path::Path;
use std::sync::Arc;

use model::Tokenizer;
use rayon::prelude::*;

use super::manifest::{Kind, Manifest};
use super::mapped::Shard;
use super::tokenizer_sha256;
use crate::error::DistillError;

/// The shards of a folder with their kinds, in the order in which they were prepared; every byte of them is checked.
///
/// # Errors
/// [`DistillError::Malformed`] when the folder was prepared with another tokenizer, or a shard is damaged or not the
/// manifest's; else as [`Manifest::read`].
pub fn open(folder: &Path, tokenizer: &Tokenizer) -> anyhow::Result<Vec<(Kind, Arc<Shard>)>> {
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
    // Hashing takes longer than reading: one shard a core.
    let shards = manifest.shards.par_iter().map(|entry| {
        let path = folder.join(&entry.file);
        let shard = Shard::open(&path, entry.kind, &manifest.fingerprint)?;
        if shard.documents() != entry.documents {
            return Err(DistillError::Malformed {
                path,
                found: format!("{} documents", shard.documents()),
                expected: format!("{}, as the manifest says", entry.documents),
            });
        }
        Ok((entry.kind, Arc::new(shard)))
    });
    Ok(shards.collect::<Result<_, _>>()?)
}
