//! Everything that a run folder says, read once.
use std::path::Path;

use crate::ablation::{self, Comparison};
use crate::curves::{RunHistory, history};
use crate::error::DistillError;
use crate::evaluation::Gate;
use crate::run::{Manifest, RunFolder, RunState};
use crate::sweep::{self, SweepRow};

/// A run as its folder has it.
#[derive(Debug, Clone)]
pub struct RunFacts {
    /// Name of the folder.
    pub folder: String,
    /// What it is.
    pub manifest: Manifest,
    /// What is finished of it.
    pub state: RunState,
    /// What its logs say.
    pub history: RunHistory,
    /// Its table.
    pub rows: Vec<SweepRow>,
    /// What its arms are compared for, if it is an ablation.
    pub comparison: Option<Comparison>,
    /// What its recipe's bar found, if it has one and was held against it.
    pub gate: Option<Gate>,
}

impl RunFacts {
    /// Reads a run folder; no other process is waited for.
    ///
    /// # Errors
    /// [`DistillError::NotARun`], [`DistillError::Io`] or [`DistillError::Malformed`].
    pub fn read(run_dir: &Path) -> Result<Self, DistillError> {
        let manifest = RunFolder::manifest(run_dir)?;
        let state = RunFolder::state_of(run_dir)?;
        let named = run_dir.canonicalize().unwrap_or_else(|_| run_dir.into());
        let folder = named.file_name().unwrap_or(named.as_os_str());
        Ok(Self {
            folder: folder.to_string_lossy().into_owned(),
            history: history(&manifest.plan, run_dir)?,
            rows: sweep::rows(&manifest.plan, &state),
            comparison: ablation::compare(&manifest.plan, run_dir)?,
            gate: Gate::read(run_dir, &state)?,
            manifest,
            state,
        })
    }

    /// `finished`, `interrupted`, `failed: ...`, or `running, or stopped without a word`.
    pub fn status(&self) -> &str {
        let ending = self.history.ending.as_deref();
        ending.unwrap_or("running, or killed")
    }
}
