//! What the teacher says of the training data, computed once and read by every arm (method, section 9): at each label the
//! likeliest tokens with their log-probabilities, and the logarithm of the mass of all others.
//!
//! A cache is a folder of shards in the run folder, and a manifest that names each shard with its sha256 as soon as it is
//! whole. Log-probabilities are f16: their error is below 2^-11 of their size.

mod manifest;
mod record;
mod store;
mod write;

use std::path::Path;

use kernels::SsmBackend;

pub use manifest::Truncation;
pub use record::Records;
pub use store::TeacherCache;

use self::write::Source;
use crate::data::Datasets;
use crate::recipe::{Plan, StageKind, TeacherCachePlan};
use crate::run::{EventSink, StopFlag};
use crate::stage::allocation;
use crate::sweep::Teacher;

/// Folder of all caches in the run folder.
const FOLDER: &str = "teacher-cache";

/// The caches of a run.
#[derive(Debug, Default)]
pub struct TeacherCaches {
    distillation: Option<TeacherCache>,
    sft: Option<TeacherCache>,
}

/// Labels at which a shard ends: tens of megabytes.
const SHARD_LABELS: usize = 1 << 16;
/// Stages that a cache serves.
const SERVED: [StageKind; 2] = [StageKind::Distillation, StageKind::Sft];

impl TeacherCaches {
    /// Those that stages of `plan` read, whole: what is missing or damaged is written. `None` if it was stopped.
    ///
    /// # Errors
    /// [`DistillError::Io`](crate::DistillError::Io); a teacher that is not finite, or has no memory.
    pub fn of<B: SsmBackend>(
        plan: &Plan,
        teacher: &Teacher<B>,
        data: &Datasets,
        run_dir: &Path,
        events: &mut dyn EventSink,
        stop: &StopFlag,
    ) -> anyhow::Result<Option<Self>> {
        let mut caches = Self::default();
        let Some(TeacherCachePlan { k }) = plan.teacher_cache else {
            return Ok(Some(caches));
        };
        for kind in SERVED {
            let mut stages = plan.stages().filter(|stage| stage.kind == kind);
            if !stages.any(|stage| stage.steps > 0 && stage.loss.kl_weight > 0.0) {
                continue;
            }
            let (examples, into) = match kind {
                StageKind::Sft => (&data.sft, &mut caches.sft),
                _ => (&data.distillation, &mut caches.distillation),
            };
            let source = Source {
                teacher,
                examples,
                k,
                length: plan.data.row_length(),
                shard_labels: SHARD_LABELS,
            };
            let folder = run_dir.join(FOLDER).join(kind.name());
            let attempt = allocation::attempt(|| write::whole(&source, &folder, events, stop));
            let cache = attempt.map_err(|bytes| {
                anyhow::anyhow!(
                    "the device has no room for {bytes} bytes more while the teacher reads {} sequences at once: \
                     lower `data.seq_len`, which is {}",
                    write::ROWS,
                    plan.data.seq_len
                )
            })?;
            match cache? {
                Some(cache) => *into = Some(cache),
                None => return Ok(None),
            }
        }
        Ok(Some(caches))
    }

    /// The one that a stage reads.
    pub fn of_stage(&self, kind: StageKind) -> Option<&TeacherCache> {
        match kind {
            StageKind::Distillation => self.distillation.as_ref(),
            StageKind::Sft => self.sft.as_ref(),
            StageKind::Alignment | StageKind::Dpo => None,
        }
    }
}

/// A line about each cache of a run: what leaving the unlikely tokens out costs. None where there is no cache.
///
/// # Errors
/// [`DistillError::Malformed`](crate::DistillError::Malformed) or [`DistillError::Io`](crate::DistillError::Io).
pub fn truncation_lines(run_dir: &Path) -> Result<Vec<String>, crate::DistillError> {
    let mut lines = Vec::new();
    for kind in SERVED {
        let folder = run_dir.join(FOLDER).join(kind.name());
        let Some(manifest) = manifest::Manifest::read(&folder)? else {
            continue;
        };
        let truncation = manifest.truncation();
        lines.push(format!(
            "teacher cache of {}: the {} likeliest tokens; the others have {:.3} % of the mass, and spreading it evenly among \
             them is {:.5} nats away from the teacher (KL, mean over {} labels)",
            kind.name(),
            manifest.k,
            100.0 * truncation.residual / truncation.labels.max(1) as f64,
            truncation.kl / truncation.labels.max(1) as f64,
            truncation.labels
        ));
    }
    Ok(lines)
}

#[cfg(test)]
mod tests;
