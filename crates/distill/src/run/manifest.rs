//! `manifest.json`: what a run is, written once at its start.
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Environment;
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
    /// Where it was begun; runs of older versions do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<Environment>,
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
            environment: Some(Environment::current()),
        }
    }
}

/// Hash of a plan's JSON, hexadecimal.
pub(crate) fn plan_sha256(plan: &Plan) -> String {
    let json = serde_json::to_vec(plan).expect("a plan holds only numbers, strings and lists");
    crate::checkpoint::hex(&Sha256::digest(&json))
}

/// Commit checked out where this binary was built, read from `.git` without running anything; `None` elsewhere.
fn git_commit() -> Option<String> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dot_git = sources
        .ancestors()
        .map(|dir| dir.join(".git"))
        .find(|path| path.exists())?;
    commit_of(&dot_git)
}

/// `dot_git` is the folder, or the file that a worktree has in its place.
fn commit_of(dot_git: &Path) -> Option<String> {
    let git = match dot_git.is_dir() {
        true => dot_git.to_path_buf(),
        false => read(dot_git)?.strip_prefix("gitdir: ").map(PathBuf::from)?,
    };
    let head = read(&git.join("HEAD"))?;
    let Some(reference) = head.strip_prefix("ref: ") else {
        return Some(head);
    };
    // A worktree keeps its HEAD to itself and its branches with the others.
    let common = read(&git.join("commondir")).map_or_else(|| git.clone(), |path| git.join(path));
    read(&common.join(reference)).or_else(|| {
        let packed = read(&common.join("packed-refs"))?;
        let mut pairs = packed.lines().filter_map(|line| line.split_once(' '));
        pairs
            .find(|(_, name)| *name == reference)
            .map(|(commit, _)| commit.to_string())
    })
}

fn read(path: &Path) -> Option<String> {
    std::fs::read_to_string(path)
        .ok()
        .map(|text| text.trim().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commit_is_found_loose_packed_and_detached() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        assert_eq!(commit_of(&dir.path().join("git")), None);
        write("git/HEAD", "ref: refs/heads/main\n");
        write("git/packed-refs", "# pack-refs\nabc refs/heads/main\n");
        assert_eq!(commit_of(&dir.path().join("git")).as_deref(), Some("abc"));
        write("git/refs/heads/main", "def\n");
        assert_eq!(commit_of(&dir.path().join("git")).as_deref(), Some("def"));
        write("git/worktrees/x/HEAD", "ref: refs/heads/main\n");
        write("git/worktrees/x/commondir", "../..\n");
        write(
            "x/.git",
            &format!("gitdir: {}\n", dir.path().join("git/worktrees/x").display()),
        );
        assert_eq!(
            commit_of(&dir.path().join("x/.git")).as_deref(),
            Some("def")
        );
        write("git/HEAD", "0123\n");
        assert_eq!(commit_of(&dir.path().join("git")).as_deref(), Some("0123"));
    }
}
