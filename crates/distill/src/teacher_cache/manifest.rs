//! `manifest.json` of a cache: what it is of, and which shards are whole.
use std::path::Path;

use model::files::{seal, unseal};
use serde::{Deserialize, Serialize};

use crate::error::DistillError;

const FILE: &str = "manifest.json";

/// What leaving the unlikely tokens out costs, summed over some labels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Truncation {
    /// Labels that were measured.
    pub labels: u64,
    /// Mass outside the likeliest tokens.
    pub residual: f64,
    /// KL from the teacher to what is kept with the rest of the mass spread evenly, nats.
    pub kl: f64,
}

impl Truncation {
    /// Of the labels of both.
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            labels: self.labels + other.labels,
            residual: self.residual + other.residual,
            kl: self.kl + other.kl,
        }
    }
}

/// A shard that is whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Shard {
    /// Its number.
    pub index: usize,
    /// Hash of its bytes.
    pub sha256: String,
    /// Measured on some of its labels.
    pub truncation: Truncation,
}

/// What a cache is of, and which of its shards are whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    /// Hash of the teacher's weights, and what it computed in.
    pub teacher: String,
    /// Hash of the examples.
    pub data_sha256: String,
    /// Likeliest tokens of a label.
    pub k: usize,
    /// In order of their numbers.
    pub shards: Vec<Shard>,
}

impl Manifest {
    /// Reads that of a folder; `None` if there is none.
    pub fn read(folder: &Path) -> Result<Option<Self>, DistillError> {
        let path = folder.join(FILE);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                return Err(DistillError::Io {
                    action: "read",
                    path,
                    source,
                });
            }
        };
        let manifest = unseal(&text).map_err(|error| DistillError::Malformed {
            path,
            found: error.to_string(),
            expected: "the file as it was written (delete it, and the cache is written again)"
                .into(),
        })?;
        Ok(Some(manifest))
    }

    /// Whether `other` is of the same teacher and data.
    pub fn is_like(&self, other: &Self) -> bool {
        (&self.teacher, &self.data_sha256, self.k) == (&other.teacher, &other.data_sha256, other.k)
    }

    /// Puts a shard in place of an earlier one of its number, and writes the manifest.
    pub fn add(&mut self, shard: Shard, folder: &Path) -> Result<(), DistillError> {
        self.shards.retain(|known| known.index != shard.index);
        self.shards.push(shard);
        self.shards.sort_by_key(|shard| shard.index);
        Ok(model::files::write(&folder.join(FILE), &seal(self))?)
    }

    /// Measured on all shards.
    pub fn truncation(&self) -> Truncation {
        let measured = self.shards.iter().map(|shard| shard.truncation);
        measured.fold(Truncation::default(), Truncation::plus)
    }
}
