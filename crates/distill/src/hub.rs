//! Models and data of the Hugging Face hub, from its cache on this machine or, where that lacks them, from the network.
//!
//! The cache is the one that all clients of the hub share (`HF_HOME`, else `~/.cache/huggingface`): a download that was stopped goes on,
//! and what is there is used without asking anyone. `HF_TOKEN` opens gated repositories, `HF_ENDPOINT` names a mirror,
//! `HF_HUB_OFFLINE=1` forbids the network.
use std::fs::File;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use hf_hub::api::sync::{Api, ApiBuilder, ApiError};
use hf_hub::{Cache, Repo, RepoType};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::checkpoint::hex;
use crate::error::DistillError;

/// How addresses of models begin: `hf://OWNER/NAME`, with `@REVISION` at its end where it is not `main`.
pub const SCHEME: &str = "hf://";
/// Further tries of a download that failed.
const RETRIES: usize = 5;
/// Names of the weights, in one file or several.
const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// A repository of the hub at a revision.
#[derive(Debug, Clone)]
pub struct HubRepo {
    /// `OWNER/NAME`.
    pub id: String,
    /// Branch, tag or commit.
    pub revision: String,
    repo: Repo,
}

impl HubRepo {
    /// The model that an address names; none where the path is not one.
    ///
    /// # Errors
    /// [`DistillError::HubAddress`] for an address that is not of the form.
    pub fn of_address(path: &Path) -> Result<Option<Self>, DistillError> {
        let Some(address) = path.to_str().and_then(|path| path.strip_prefix(SCHEME)) else {
            return Ok(None);
        };
        let (id, revision) = address.split_once('@').unwrap_or((address, "main"));
        let is_part = |part: &str| {
            let is_known = |char: char| char.is_ascii_alphanumeric() || "-_.".contains(char);
            !part.is_empty() && !part.starts_with('.') && part.chars().all(is_known)
        };
        let parts: Vec<&str> = id.split('/').collect();
        let is_named = parts.len() == 2 && parts.iter().all(|part| is_part(part));
        match is_named && revision.split('/').all(is_part) {
            true => Ok(Some(Self::new(id, revision, RepoType::Model))),
            false => Err(DistillError::HubAddress {
                address: path.display().to_string(),
            }),
        }
    }

    /// A data set.
    pub fn dataset(id: &str, revision: &str) -> Self {
        Self::new(id, revision, RepoType::Dataset)
    }

    fn new(id: &str, revision: &str, kind: RepoType) -> Self {
        Self {
            id: id.into(),
            revision: revision.into(),
            repo: Repo::with_revision(id.into(), kind, revision.into()),
        }
    }

    /// The folder of a model with configuration, tokenizer and weights.
    ///
    /// # Errors
    /// [`DistillError::Hub`] when something is neither in the cache nor to be had, or is not what the hub says.
    pub fn model_folder(&self) -> Result<PathBuf, DistillError> {
        if let Some(folder) = self.cached_model() {
            return Ok(folder);
        }
        let names = self.names()?;
        let is_weights =
            |name: &&String| name.starts_with("model") && name.ends_with(".safetensors");
        if !names.iter().any(|name| is_weights(&name)) {
            return Err(
                self.problem("it has no `model*.safetensors`, expected weights in that format")
            );
        }
        // Whole formats of other programs lie beside a model: weights and small files of the top folder are what is read.
        let is_wanted =
            |name: &&String| !name.contains('/') && (name.ends_with(".json") || is_weights(name));
        for name in names.iter().filter(is_wanted) {
            self.fetch(name)?;
        }
        self.cached_model()
            .ok_or_else(|| self.problem("it lacks `config.json`, or weights that its index names"))
    }

    /// The files whose names `is_wanted`, in the order of their names.
    ///
    /// # Errors
    /// As [`HubRepo::model_folder`], and when there is none.
    pub fn files(&self, is_wanted: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>, DistillError> {
        let mut names = self.names()?;
        names.retain(|name| is_wanted(name));
        names.sort();
        if names.is_empty() {
            return Err(self.problem("it has no file of that configuration and split"));
        }
        names.iter().map(|name| self.fetch(name)).collect()
    }

    /// The folder in the cache, if nothing is missing there.
    fn cached_model(&self) -> Option<PathBuf> {
        let cached = Cache::from_env().repo(self.repo.clone());
        let config = cached.get("config.json")?;
        if cached.get(WEIGHTS).is_none() {
            let index: Value =
                serde_json::from_slice(&std::fs::read(cached.get(INDEX)?).ok()?).ok()?;
            let mut shards = index["weight_map"].as_object()?.values();
            shards
                .all(|shard| {
                    shard
                        .as_str()
                        .is_some_and(|shard| cached.get(shard).is_some())
                })
                .then_some(())?;
        }
        Some(config.parent()?.into())
    }

    /// The names of all files.
    fn names(&self) -> Result<Vec<String>, DistillError> {
        let info = self
            .api()?
            .repo(self.repo.clone())
            .info()
            .map_err(|error| self.failed(&error))?;
        Ok(info
            .siblings
            .into_iter()
            .map(|file| file.rfilename)
            .collect())
    }

    /// A file from the cache, or from the network into it.
    fn fetch(&self, name: &str) -> Result<PathBuf, DistillError> {
        if let Some(path) = Cache::from_env().repo(self.repo.clone()).get(name) {
            return Ok(path);
        }
        let path = self
            .api()?
            .repo(self.repo.clone())
            .download(name)
            .map_err(|error| self.failed(&error))?;
        self.check(name, &path)?;
        Ok(path)
    }

    /// Holds a file against the hash that it is stored under; small ones have another kind of hash, which is left.
    fn check(&self, name: &str, path: &Path) -> Result<(), DistillError> {
        let io = |source| DistillError::Io {
            action: "read",
            path: path.into(),
            source,
        };
        let blob = path.canonicalize().map_err(io)?;
        let expected = blob
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if expected.len() != 64 || !expected.chars().all(|char| char.is_ascii_hexdigit()) {
            return Ok(());
        }
        let mut hash = Sha256::new();
        std::io::copy(&mut File::open(&blob).map_err(io)?, &mut hash).map_err(io)?;
        let found = hex(&hash.finalize());
        if found == expected {
            return Ok(());
        }
        // So that the next try does not take it for whole.
        for file in [path, &blob] {
            let _ = std::fs::remove_file(file);
        }
        Err(self.problem(&format!(
            "`{name}` came with sha256 {found}, expected {expected}"
        )))
    }

    fn api(&self) -> Result<Api, DistillError> {
        let of = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        if of("HF_HUB_OFFLINE").is_some_and(|value| value != "0") {
            return Err(
                self.problem("it is not in the cache, and `HF_HUB_OFFLINE` forbids the network")
            );
        }
        let mut builder = ApiBuilder::from_env()
            .with_retries(RETRIES)
            .with_progress(std::io::stderr().is_terminal());
        if let Some(token) = of("HF_TOKEN") {
            builder = builder.with_token(Some(token));
        }
        builder.build().map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &ApiError) -> DistillError {
        self.problem(&error.to_string())
    }

    fn problem(&self, problem: &str) -> DistillError {
        DistillError::Hub {
            repo: format!("{}@{}", self.id, self.revision),
            cache: Cache::from_env().path().clone(),
            problem: problem.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_an_owner_a_name_and_perhaps_a_revision() {
        let of = |address: &str| HubRepo::of_address(Path::new(address));
        let found = of("hf://owner/name-1.7B").unwrap().unwrap();
        assert_eq!(
            (found.id.as_str(), found.revision.as_str()),
            ("owner/name-1.7B", "main")
        );
        let found = of("hf://owner/name@refs/pr/3").unwrap().unwrap();
        assert_eq!(
            (found.id.as_str(), found.revision.as_str()),
            ("owner/name", "refs/pr/3")
        );
        assert!(of("models/owner/name").unwrap().is_none());
        for wrong in [
            "hf://",
            "hf://name",
            "hf://a/b/c",
            "hf://../b",
            "hf://a/b@",
            "hf://a/b@../x",
            "hf://a b/c",
        ] {
            let error = of(wrong).unwrap_err().to_string();
            assert!(error.contains(wrong), "{wrong}: {error}");
        }
    }
}
