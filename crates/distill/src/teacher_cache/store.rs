//! A cache that is whole: where the labels of each example stand.
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::record::{Records, record_bytes};
use crate::error::DistillError;

/// The likeliest tokens at the labels of some examples, on disk.
#[derive(Debug)]
pub struct TeacherCache {
    k: usize,
    shards: Vec<(PathBuf, File)>,
    /// Shard, first label within it and number of labels of each example.
    places: Vec<Place>,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    shard: usize,
    first: usize,
    labels: usize,
}

/// The examples of each shard, which ends with the example in which it reaches `most` labels; `all_labels` are those of each
/// example.
pub(super) fn shards(all_labels: &[usize], most: usize) -> Vec<Range<usize>> {
    let mut shards = Vec::new();
    let (mut start, mut labels) = (0, 0);
    for (index, own) in all_labels.iter().enumerate() {
        labels += own;
        if labels >= most || index + 1 == all_labels.len() {
            shards.push(start..index + 1);
            (start, labels) = (index + 1, 0);
        }
    }
    shards
}

/// File of a shard.
pub(super) fn shard_path(folder: &Path, index: usize) -> PathBuf {
    folder.join(format!("shard-{index:05}.bin"))
}

impl TeacherCache {
    /// That of examples with so many labels each in a folder whose shards are whole.
    ///
    /// # Errors
    /// [`DistillError::Io`].
    pub(super) fn open(
        folder: &Path,
        labels: &[usize],
        shards: &[Range<usize>],
        k: usize,
    ) -> Result<Self, DistillError> {
        let mut cache = Self {
            k,
            shards: Vec::new(),
            places: Vec::with_capacity(labels.len()),
        };
        for (shard, range) in shards.iter().enumerate() {
            let path = shard_path(folder, shard);
            let file = File::open(&path).map_err(read_error(&path))?;
            cache.shards.push((path, file));
            let mut first = 0;
            for labels in labels[range.clone()].iter().copied() {
                cache.places.push(Place {
                    shard,
                    first,
                    labels,
                });
                first += labels;
            }
        }
        Ok(cache)
    }

    /// Tokens that are kept of a label.
    pub fn k(&self) -> usize {
        self.k
    }

    /// The `k` likeliest tokens, or all that are kept, at the labels of an example, in their order.
    ///
    /// # Errors
    /// [`DistillError::Io`].
    pub fn read(&self, example: usize, k: usize) -> Result<Records, DistillError> {
        let Place {
            shard,
            first,
            labels,
        } = self.places[example];
        let (path, file) = &self.shards[shard];
        let size = record_bytes(self.k);
        let mut bytes = vec![0; labels * size];
        let mut file = file;
        file.seek(SeekFrom::Start((first * size) as u64))
            .and_then(|_| file.read_exact(&mut bytes))
            .map_err(read_error(path))?;
        let mut records = Records::default();
        records.decode(&bytes, self.k, k);
        Ok(records)
    }
}

fn read_error(path: &Path) -> impl FnOnce(std::io::Error) -> DistillError {
    let path = path.into();
    move |source| DistillError::Io {
        action: "read",
        path,
        source,
    }
}
