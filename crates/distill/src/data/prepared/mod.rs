//! Data tokenised ahead: a folder of shards with a manifest, made once by `distill data prepare` and read by every run.

mod manifest;
mod mapped;
mod prepare;
mod read;
mod shard;
mod writer;

pub use manifest::{Input, Kind, Manifest, ShardEntry};
pub use mapped::Shard;
pub use prepare::{NAMED_ROWS, Prepared, Source, prepare};
pub use read::open;

use model::{ModelError, Tokenizer};
use sha2::{Digest, Sha256};

use crate::checkpoint::hex;

/// Hash of everything that a tokenizer does to text.
///
/// # Errors
/// When it cannot be written as JSON.
pub fn tokenizer_sha256(tokenizer: &Tokenizer) -> Result<String, ModelError> {
    Ok(hex(&Sha256::digest(tokenizer.to_json()?)))
}

#[cfg(test)]
mod tests;
