//! The run folder: `manifest.json`, `state.json`, `events.jsonl`, `checkpoints/`, reports, and a lock.
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::{Manifest, RunState};
use crate::checkpoint::write_atomically;
use crate::error::DistillError;

/// A run folder held by this process; the lock goes with the process, however it ends.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    _lock: File,
}

impl RunFolder {
    /// Makes a folder for a new run: `out`, or the first free `runs/NAME-N`.
    ///
    /// # Errors
    /// [`DistillError::RunExists`] if `out` holds anything, [`DistillError::Io`] if it cannot be made.
    pub fn create(out: Option<&Path>, name: &str) -> Result<Self, DistillError> {
        let path = match out {
            Some(out) => {
                make_dir_all(out)?;
                let mut entries = std::fs::read_dir(out).map_err(|source| DistillError::Io {
                    action: "read",
                    path: out.into(),
                    source,
                })?;
                if entries.next().is_some() {
                    return Err(DistillError::RunExists { path: out.into() });
                }
                out.to_path_buf()
            }
            None => first_free(Path::new("runs"), name)?,
        };
        let lock = lock(&path)?;
        Ok(Self { path, _lock: lock })
    }

    /// Opens the folder of an earlier run.
    ///
    /// # Errors
    /// [`DistillError::NotARun`] without a manifest, [`DistillError::RunLocked`] while another process writes it.
    pub fn open(path: &Path) -> Result<Self, DistillError> {
        if !path.join(Manifest::FILE).is_file() {
            return Err(DistillError::NotARun { path: path.into() });
        }
        let lock = lock(path)?;
        Ok(Self {
            path: path.into(),
            _lock: lock,
        })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the manifest of a run folder; needs no lock.
    ///
    /// # Errors
    /// [`DistillError::NotARun`], [`DistillError::Io`], or [`DistillError::Malformed`].
    pub fn manifest(path: &Path) -> Result<Manifest, DistillError> {
        let file = path.join(Manifest::FILE);
        if !file.is_file() {
            return Err(DistillError::NotARun { path: path.into() });
        }
        read_json(&file)
    }

    /// Writes the manifest.
    ///
    /// # Errors
    /// [`DistillError::Io`].
    pub fn write_manifest(&self, manifest: &Manifest) -> Result<(), DistillError> {
        self.write_json(Manifest::FILE, manifest)
    }

    /// What is finished; empty for a run that finished nothing.
    ///
    /// # Errors
    /// [`DistillError::Io`] or [`DistillError::Malformed`].
    pub fn state(&self) -> Result<RunState, DistillError> {
        let file = self.path.join(RunState::FILE);
        if file.is_file() {
            read_json(&file)
        } else {
            Ok(RunState::default())
        }
    }

    /// Records what is finished.
    ///
    /// # Errors
    /// [`DistillError::Io`].
    pub fn write_state(&self, state: &RunState) -> Result<(), DistillError> {
        self.write_json(RunState::FILE, state)
    }

    /// Writes a value as indented JSON.
    ///
    /// # Errors
    /// [`DistillError::Io`].
    pub fn write_json(
        &self,
        name: &str,
        value: &impl serde::Serialize,
    ) -> Result<(), DistillError> {
        let mut json =
            serde_json::to_vec_pretty(value).expect("our own types have only string keys");
        json.push(b'\n');
        write_atomically(&self.path.join(name), &json)
    }
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, DistillError> {
    let text = std::fs::read_to_string(path).map_err(|source| DistillError::Io {
        action: "read",
        path: path.into(),
        source,
    })?;
    serde_json::from_str(&text).map_err(|error| DistillError::Malformed {
        path: path.into(),
        found: error.to_string(),
        expected: "a file written by this version".into(),
    })
}

fn make_dir_all(path: &Path) -> Result<(), DistillError> {
    std::fs::create_dir_all(path).map_err(|source| DistillError::Io {
        action: "create",
        path: path.into(),
        source,
    })
}

fn first_free(parent: &Path, name: &str) -> Result<PathBuf, DistillError> {
    make_dir_all(parent)?;
    for number in 1.. {
        let path = parent.join(format!("{name}-{number}"));
        match std::fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(source) => {
                return Err(DistillError::Io {
                    action: "create",
                    path,
                    source,
                });
            }
        }
    }
    unreachable!("one of all numbers is free")
}

fn lock(folder: &Path) -> Result<File, DistillError> {
    let path = folder.join("lock");
    let io = |source| DistillError::Io {
        action: "create",
        path: path.clone(),
        source,
    };
    let mut file = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(&path)
        .map_err(io)?;
    if file.try_lock().is_err() {
        let mut pid = String::new();
        file.read_to_string(&mut pid).map_err(io)?;
        return Err(DistillError::RunLocked {
            path: folder.into(),
            pid: pid.trim().into(),
        });
    }
    file.set_len(0)
        .and_then(|()| file.seek(SeekFrom::Start(0)))
        .map_err(io)?;
    writeln!(file, "{}", std::process::id()).map_err(io)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_held_by_one_and_freed_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("run");
        let folder = RunFolder::create(Some(&run), "x").unwrap();
        std::fs::write(run.join(Manifest::FILE), "{}").unwrap();
        let error = RunFolder::open(&run).unwrap_err();
        assert!(
            matches!(&error, DistillError::RunLocked { pid, .. } if *pid == std::process::id().to_string())
        );
        drop(folder);
        RunFolder::open(&run).unwrap();
        assert!(matches!(
            RunFolder::create(Some(&run), "x"),
            Err(DistillError::RunExists { .. })
        ));
        assert!(matches!(
            RunFolder::open(dir.path()),
            Err(DistillError::NotARun { .. })
        ));
        assert!(matches!(
            RunFolder::manifest(&run),
            Err(DistillError::Malformed { .. })
        ));
    }
}
