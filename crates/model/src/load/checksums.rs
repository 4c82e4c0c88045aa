//! `serpentine-checksums.json`: the hash of each other file of a model folder of ours, written last, under a checksum of its own.
//!
//! Folders without it, as published or of older versions, are read as they are, and so are files beside it that it does not list.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::hash_files;
use crate::error::ModelError;
use crate::files::{seal, unseal, write_new};
use crate::hash::hex;

/// File name in a model folder.
pub(crate) const CHECKSUMS_JSON: &str = "serpentine-checksums.json";

/// SHA-256 by file name.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Checksums {
    files: BTreeMap<String, String>,
}

impl Checksums {
    /// Writes those of the files that are in `folder`.
    pub fn write(folder: &Path) -> Result<(), ModelError> {
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(folder).map_err(ModelError::io(folder))? {
            let path = entry.map_err(ModelError::io(folder))?.path();
            files.insert(name(&path), hash_files(&[path])?);
        }
        Ok(write_new(
            &folder.join(CHECKSUMS_JSON),
            &seal(&Self { files }),
        )?)
    }

    /// Those of a folder; none where it has no such file.
    fn read(folder: &Path) -> Result<Self, ModelError> {
        let path = folder.join(CHECKSUMS_JSON);
        match fs::read(&path) {
            Ok(text) => unseal(&text).map_err(|error| ModelError::Malformed {
                path,
                field: "file".into(),
                problem: error.to_string(),
                cure: "bring it back from a copy, or delete it where the other files are known to be good",
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(ModelError::io(&path)(error)),
        }
    }

    /// Those of a folder that has all the files they list.
    pub fn of(folder: &Path) -> Result<Self, ModelError> {
        let checksums = Self::read(folder)?;
        let missing = |name: &&String| !folder.join(name).exists();
        match checksums.files.keys().find(missing) {
            Some(missing) => Err(ModelError::Malformed {
                path: folder.into(),
                field: missing.clone(),
                problem: format!("is missing, though `{CHECKSUMS_JSON}` lists it"),
                cure: "bring it back from a copy",
            }),
            None => Ok(checksums),
        }
    }

    /// Refuses the `bytes` of a file that is listed with another hash.
    pub fn check(&self, path: &Path, bytes: &[u8]) -> Result<(), ModelError> {
        let Some(expected) = self.files.get(&name(path)) else {
            return Ok(());
        };
        let found = hex(&Sha256::digest(bytes));
        if found == *expected {
            return Ok(());
        }
        Err(ModelError::Checksum {
            path: path.into(),
            found,
            expected: expected.clone(),
        })
    }
}

/// As [`read_file`], of a file of at most `most` bytes: a tree of JSON takes many times as much as its text.
pub(crate) fn read_small_file(path: &Path, most: u64) -> Result<Vec<u8>, ModelError> {
    let found = fs::metadata(path).map_err(ModelError::io(path))?.len();
    if found > most {
        return Err(ModelError::Malformed {
            path: path.into(),
            field: "file".into(),
            problem: format!("has {found} bytes, more than {most}"),
            cure: "fetch or write the file again",
        });
    }
    read_file(path)
}

/// The bytes of a file of a model folder, as they were written.
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>, ModelError> {
    let bytes = fs::read(path).map_err(ModelError::io(path))?;
    let checksums = Checksums::read(path.parent().unwrap_or(Path::new("")))?;
    checksums.check(path, &bytes)?;
    Ok(bytes)
}

/// Holds the files of a folder of ours, except `weights`, against their checksums, without loading anything.
pub(super) fn check_small_files(folder: &Path, weights: &[PathBuf]) -> Result<(), ModelError> {
    let checksums = Checksums::of(folder)?;
    let mut paths = checksums.files.keys().map(|name| folder.join(name));
    paths.try_for_each(|path| match weights.contains(&path) {
        true => Ok(()),
        false => checksums.check(&path, &fs::read(&path).map_err(ModelError::io(&path))?),
    })
}

fn name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}
