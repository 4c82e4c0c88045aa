//! A cache made whole: shards that are missing, damaged or of other data are written, one after another.
use std::ops::Range;
use std::path::Path;

use burn::tensor::activation::log_softmax;
use kernels::SsmBackend;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::TeacherCache;
use super::manifest::{Manifest, Shard, Truncation};
use super::record::encode;
use super::store::{shard_path, shards};
use crate::checkpoint::hex;
use crate::data::{Batch, ExampleSet, RowLength};
use crate::error::DistillError;
use crate::loss::head::blocks;
use crate::loss::{Targets, teacher_rows};
use crate::run::{Event, EventSink, StopFlag};
use crate::stage::allocation;
use crate::sweep::Teacher;

/// Sequences that the teacher reads at once.
pub(super) const ROWS: usize = 16;
/// One label in so many is measured.
const MEASURED: usize = 16;

/// What a cache is made from.
pub(super) struct Source<'a, B: SsmBackend> {
    pub teacher: &'a Teacher<B>,
    pub examples: &'a ExampleSet,
    pub k: usize,
    pub length: RowLength,
    /// Labels at which a shard ends.
    pub shard_labels: usize,
}

impl<B: SsmBackend> Source<'_, B> {
    /// Likeliest tokens of a label: no more than there are.
    fn k(&self) -> usize {
        self.k.min(self.teacher.model.config().llama.vocab_size)
    }

    /// The manifest before anything is written, and the labels of each example.
    fn manifest(&self) -> anyhow::Result<(Manifest, Vec<usize>)> {
        let mut data = Sha256::new();
        let mut labels = Vec::with_capacity(self.examples.len());
        for index in 0..self.examples.len() {
            let example = self.examples.get(index)?;
            labels.push(example.target_count());
            data.update((example.ids.len() as u64).to_le_bytes());
            for (id, target) in example.ids.iter().zip(&example.targets) {
                data.update(id.to_le_bytes());
                data.update([u8::from(*target)]);
            }
        }
        let Teacher { model, sha256, .. } = self.teacher;
        let manifest = Manifest {
            teacher: match model.compute() {
                Some(compute) => format!("{sha256} in {compute:?}"),
                None => sha256.clone(),
            },
            data_sha256: hex(&data.finalize()),
            k: self.k(),
            shards: Vec::new(),
        };
        Ok((manifest, labels))
    }

    /// The bytes of a shard; `None` if it was stopped.
    fn shard(
        &self,
        examples: Range<usize>,
        stop: &StopFlag,
    ) -> anyhow::Result<Option<(Vec<u8>, Truncation)>> {
        let (mut bytes, mut truncation) = (Vec::new(), Truncation::default());
        for examples in examples.collect::<Vec<_>>().chunks(ROWS) {
            if stop.is_set() {
                return Ok(None);
            }
            let examples = self.examples.get_all(examples)?;
            let batch = Batch::new(&examples, self.length);
            let targets = Targets::unweighted(&batch);
            let teacher = &self.teacher.model;
            let device = teacher.device();
            let rows = teacher_rows(teacher, &batch, &targets, &device);
            // Rows that fill the grid come after the labels.
            let labels = batch.target_count();
            for block in blocks(labels, rows.rows_at_a_time()) {
                let log_probs = log_softmax(rows.logits(&block), 1);
                let [_, vocab] = log_probs.dims();
                let log_probs: Vec<f32> = log_probs.into_data().iter::<f32>().collect();
                let records: Vec<(Vec<u8>, Truncation)> = log_probs
                    .par_chunks(vocab)
                    .enumerate()
                    .map(|(row, log_probs)| {
                        let mut record = Vec::new();
                        let is_measured = (block.start + row).is_multiple_of(MEASURED);
                        let found = encode(log_probs, self.k(), is_measured, &mut record);
                        (record, found)
                    })
                    .collect();
                for (record, found) in records {
                    bytes.extend(record);
                    truncation = truncation.plus(found);
                }
            }
        }
        Ok(Some((bytes, truncation)))
    }
}

/// The cache of `source` in `folder`, every shard of it whole; `None` if it was stopped.
pub(super) fn whole<B: SsmBackend>(
    source: &Source<B>,
    folder: &Path,
    events: &mut dyn EventSink,
    stop: &StopFlag,
) -> anyhow::Result<Option<TeacherCache>> {
    let io = |source| DistillError::Io {
        action: "create",
        path: folder.into(),
        source,
    };
    std::fs::create_dir_all(folder).map_err(io)?;
    let mut note = |text: String| events.emit(Event::Note { text });
    let (fresh, labels) = source.manifest()?;
    let mut manifest = match Manifest::read(folder)? {
        Some(found) if found.is_like(&fresh) => found,
        Some(_) => {
            note(
                "the teacher cache is of another teacher or other data: it is written again".into(),
            );
            fresh
        }
        None => fresh,
    };
    let shards = shards(&labels, source.shard_labels);
    for (index, range) in shards.iter().enumerate() {
        let path = shard_path(folder, index);
        if let Some(known) = manifest.shards.iter().find(|shard| shard.index == index) {
            match std::fs::read(&path) {
                Ok(bytes) if hex(&Sha256::digest(&bytes)) == known.sha256 => continue,
                _ => note(format!(
                    "`{}` is not as it was written: it is written again",
                    path.display()
                )),
            }
        }
        note(format!(
            "the teacher reads examples {} to {} of {} for its cache",
            range.start + 1,
            range.end,
            source.examples.len()
        ));
        let Some((bytes, truncation)) = source.shard(range.clone(), stop)? else {
            return Ok(None);
        };
        // A device that has no memory may go on with nonsense.
        allocation::check()?;
        anyhow::ensure!(
            truncation.kl.is_finite(),
            "the teacher's log-probabilities for examples {} to {} are not finite",
            range.start + 1,
            range.end
        );
        model::files::write(&path, &bytes)?;
        let shard = Shard {
            index,
            sha256: hex(&Sha256::digest(&bytes)),
            truncation,
        };
        manifest.add(shard, folder)?;
    }
    let cache = TeacherCache::open(folder, &labels, &shards, source.k())?;
    Ok(Some(cache))
}
