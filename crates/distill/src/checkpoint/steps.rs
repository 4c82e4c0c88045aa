//! Checkpoints within a stage: `checkpoints/ARM/RATIO-STAGE.steps/step-NNNNNN`, each a folder of `state.safetensors` and
//! `manifest.json`.
//!
//! A folder is written beside, every file synced, the manifest last, and renamed: it is whole or absent. The tensors
//! that train are in it with both moments of the optimiser; the others come from the model that the stage starts from,
//! whose hash is recorded. The learning rate follows from the step and the plan, whose hash is recorded too.
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use model::files::{
    FileError, check_space, recover_folder, remove_folder, write_folder, write_new,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::hex;
use super::tensors::{Tensors, decode, encode};
use crate::data::OrderPosition;
use crate::error::DistillError;
use crate::recipe::CheckpointPlan;
use crate::stage::GuardCounts;

const MANIFEST: &str = "manifest.json";
const STATE: &str = "state.safetensors";
const PREFIX: &str = "step-";

/// What a checkpoint is a part of: it is of no use anywhere else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// Hash of the plan.
    pub plan_sha256: String,
    /// Arm, ratio and stage, as in the folder's name.
    pub stage: String,
    /// Hash of the weights that the stage's student was made from.
    pub parent_sha256: String,
}

/// Where a stage stands, apart from its tensors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageProgress {
    /// Optimiser steps taken, skipped ones included; the schedule follows from it.
    pub step: usize,
    /// Steps that changed the weights.
    pub applied_steps: usize,
    /// Steps left out because loss or gradient were not finite.
    pub skipped_steps: usize,
    /// Real tokens seen.
    pub tokens: u64,
    /// Where the order of examples stands.
    pub order: OrderPosition,
    /// What the guard has counted.
    pub guard: GuardCounts,
}

/// A checkpoint read back.
#[derive(Debug)]
pub struct StepCheckpoint {
    /// Its folder.
    pub path: PathBuf,
    /// Where the stage stood.
    pub progress: StageProgress,
    /// What it consisted of.
    pub tensors: Tensors,
}

/// What a search for a checkpoint found.
#[derive(Debug)]
pub struct Found {
    /// The newest whole one.
    pub checkpoint: Option<StepCheckpoint>,
    /// Newer ones that are torn or damaged, with what is wrong.
    pub broken: Vec<DistillError>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    origin: Origin,
    progress: StageProgress,
    /// Checksum of each tensor.
    tensors: BTreeMap<String, String>,
}

/// A manifest with its own checksum. It holds no fractions, so that reading and writing it again gives the same bytes.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    contents: Contents,
    sha256: String,
}

impl Contents {
    fn sha256(&self) -> String {
        let json = serde_json::to_vec(self).expect("strings and whole numbers");
        hex(&Sha256::digest(json))
    }
}

/// The checkpoints of one stage.
#[derive(Debug, Clone)]
pub struct StepCheckpoints {
    folder: PathBuf,
    origin: Origin,
    plan: CheckpointPlan,
}

impl StepCheckpoints {
    /// Those of the stage whose finished checkpoint is `stage_folder`.
    pub fn of(stage_folder: &Path, origin: Origin, plan: CheckpointPlan) -> Self {
        Self {
            folder: steps_folder(stage_folder),
            origin,
            plan,
        }
    }

    /// Whether the plan wants one after `step`, counted from 1.
    pub fn is_due(&self, step: usize) -> bool {
        self.plan.every_steps > 0 && step.is_multiple_of(self.plan.every_steps)
    }

    /// Writes one, then removes all but the newest `keep`.
    ///
    /// # Errors
    /// [`DistillError::Io`]; the older ones stay.
    pub fn save(&self, progress: &StageProgress, tensors: &Tensors) -> Result<(), DistillError> {
        let (state, checksums) = encode(tensors);
        let contents = Contents {
            origin: self.origin.clone(),
            progress: progress.clone(),
            tensors: checksums,
        };
        let manifest = Manifest {
            sha256: contents.sha256(),
            contents,
        };
        let manifest = serde_json::to_vec_pretty(&manifest).expect("strings and whole numbers");
        let path = self.folder.join(format!("{PREFIX}{:06}", progress.step));
        check_space(&path, (state.len() + manifest.len()) as u64)?;
        write_folder(&path, |part| {
            write_new(&part.join(STATE), &state)?;
            write_new(&part.join(MANIFEST), &manifest)?;
            Ok::<_, FileError>(())
        })?;
        let steps = self.steps()?;
        for (_, path) in steps.iter().rev().skip(self.plan.keep) {
            remove_folder(path)?;
        }
        Ok(())
    }

    /// Removes those after `step`.
    ///
    /// # Errors
    /// [`DistillError::Io`].
    pub fn forget_after(&self, step: usize) -> Result<(), DistillError> {
        let later = self.steps()?.into_iter().filter(|(at, _)| *at > step);
        later
            .map(|(_, path)| path)
            .try_for_each(|path| Ok(remove_folder(&path)?))
    }

    /// Reads the newest one that is whole and `is_wanted`.
    ///
    /// # Errors
    /// [`DistillError::CheckpointOrigin`] for one of another plan or parent, [`DistillError::Io`] if the folder cannot
    /// be listed.
    pub fn newest(
        &self,
        is_wanted: impl Fn(&StageProgress) -> bool,
    ) -> Result<Found, DistillError> {
        let mut broken = Vec::new();
        for (_, path) in self.steps()?.into_iter().rev() {
            match self.read(&path) {
                Ok(checkpoint) if !is_wanted(&checkpoint.progress) => {}
                Ok(checkpoint) => {
                    return Ok(Found {
                        checkpoint: Some(checkpoint),
                        broken,
                    });
                }
                Err(error @ DistillError::CheckpointOrigin { .. }) => return Err(error),
                Err(error) => broken.push(error),
            }
        }
        Ok(Found {
            checkpoint: None,
            broken,
        })
    }

    fn read(&self, path: &Path) -> Result<StepCheckpoint, DistillError> {
        let bytes = |name: &str| {
            let path = path.join(name);
            fs::read(&path).map_err(io("read", &path))
        };
        let malformed = |found: String| DistillError::Malformed {
            path: path.join(MANIFEST),
            found,
            expected: "a manifest as it was written".into(),
        };
        let Manifest { contents, sha256 } = serde_json::from_slice(&bytes(MANIFEST)?)
            .map_err(|error| malformed(error.to_string()))?;
        if contents.sha256() != sha256 {
            return Err(malformed(format!("sha256 {}", contents.sha256())));
        }
        let (found, expected) = (&contents.origin, &self.origin);
        for (field, found, expected) in [
            ("plan_sha256", &found.plan_sha256, &expected.plan_sha256),
            ("stage", &found.stage, &expected.stage),
            (
                "parent_sha256",
                &found.parent_sha256,
                &expected.parent_sha256,
            ),
        ] {
            if found != expected {
                return Err(DistillError::CheckpointOrigin {
                    path: path.into(),
                    field,
                    found: found.clone(),
                    expected: expected.clone(),
                });
            }
        }
        Ok(StepCheckpoint {
            path: path.into(),
            progress: contents.progress,
            tensors: decode(&path.join(STATE), &bytes(STATE)?, &contents.tensors)?,
        })
    }

    /// Step and folder of each, oldest first.
    fn steps(&self) -> Result<Vec<(usize, PathBuf)>, DistillError> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(io("read", &self.folder)(error)),
        };
        let mut steps = Vec::new();
        for entry in entries {
            let path = entry.map_err(io("read", &self.folder))?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
                continue;
            };
            let replaced = name
                .strip_prefix('.')
                .and_then(|name| name.strip_suffix(".old"));
            let path = path.with_file_name(replaced.unwrap_or(name));
            if replaced.is_some() {
                recover_folder(&path)?;
            }
            let step = replaced.unwrap_or(name).strip_prefix(PREFIX);
            let step: Option<usize> = step.and_then(|step| step.parse().ok());
            steps.extend(step.map(|step| (step, path.clone())));
        }
        steps.sort();
        steps.dedup();
        Ok(steps)
    }
}

/// Removes the checkpoints within a stage that is finished.
///
/// # Errors
/// [`DistillError::Io`].
pub fn remove_steps(stage_folder: &Path) -> Result<(), DistillError> {
    Ok(remove_folder(&steps_folder(stage_folder))?)
}

fn steps_folder(stage_folder: &Path) -> PathBuf {
    let mut name = stage_folder.file_name().unwrap_or_default().to_os_string();
    name.push(".steps");
    stage_folder.with_file_name(name)
}

fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> DistillError {
    let path = path.into();
    move |source| DistillError::Io {
        action,
        path,
        source,
    }
}

#[cfg(test)]
mod tests;
