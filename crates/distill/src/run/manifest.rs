//! `manifest.json`: what a run is, written once at its start.
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::recipe::Plan;

/// Versions of what made a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Versions {
    /// This crate.
    pub distill: String,
    /// Backend name.
    pub backend: String,
    /// Commit of the source tree, if it was built in one.
    pub git_commit: Option<String>,
}

impl Versions {
    /// Those of this binary.
    pub fn current() -> Self {
        Self {
            distill: env!("CARGO_PKG_VERSION").into(),
            backend: crate::backend::NAME.into(),
            git_commit: git_commit(),
        }
    }
}

/// What a run is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The recipe resolved; rerunning it gives the same run.
    pub plan: Plan,
    /// Hash of the plan.
    pub plan_sha256: String,
    /// What made the run.
    pub versions: Versions,
    /// Hash of the teacher's weights.
    pub teacher_sha256: String,
}

impl Manifest {
    /// File name in the run folder.
    pub const FILE: &'static str = "manifest.json";

    /// A manifest for a plan, made by this binary.
    pub fn new(plan: Plan, teacher_sha256: String) -> Self {
        Self {
            plan_sha256: plan_sha256(&plan),
            plan,
            versions: Versions::current(),
            teacher_sha256,
        }
    }
}

/// Hash of a plan's JSON, hexadecimal.
fn plan_sha256(plan: &Plan) -> String {
    let json = serde_json::to_vec(plan).expect("a plan holds only numbers, strings and lists");
    crate::checkpoint::hex(&Sha256::digest(&json))
}

/// Commit of the working directory's repository, read from `.git` without running anything.
fn git_commit() -> Option<String> {
    let start = std::env::current_dir().ok()?;
    let git = start
        .ancestors()
        .map(|dir| dir.join(".git"))
        .find(|path| path.is_dir())?;
    let head = std::fs::read_to_string(git.join("HEAD")).ok()?;
    let commit = match head.trim().strip_prefix("ref: ") {
        Some(reference) => std::fs::read_to_string(git.join(reference)).ok()?,
        None => head,
    };
    Some(commit.trim().to_string())
}
