//! The run folder: `manifest.json`, `state.json`, `events.jsonl`, `checkpoints/`, reports, and a lock.
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use model::files::{seal, unseal};
use serde::de::DeserializeOwned;

use super::{Manifest, RunState, StopFlag};
use crate::error::DistillError;

/// A run folder held by this process, whole or for some arms; the locks go with the process, however it ends.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    _locks: Vec<File>,
}

/// Time between two attempts to get a lock that is waited for.
const POLL: Duration = Duration::from_millis(200);

impl RunFolder {
    /// Makes a folder for a new run: `out`, or the first free `runs/NAME-N`. With names of `arms` it is held for those
    /// alone, so that other processes can hold others.
    ///
    /// # Errors
    /// [`DistillError::RunExists`] if `out` holds a run or anything else, [`DistillError::Io`] if it cannot be made.
    pub fn create(out: Option<&Path>, name: &str, arms: &[String]) -> Result<Self, DistillError> {
        let path = match out {
            Some(out) => {
                make_dir_all(out)?;
                check_unused(out)?;
                out.to_path_buf()
            }
            None => first_free(Path::new("runs"), name)?,
        };
        let locks = lock(&path, arms)?;
        // Another process may have begun a run before this one got the lock.
        check_unused(&path)?;
        Ok(Self {
            path,
            _locks: locks,
        })
    }

    /// Opens the folder of an earlier run, whole or for some arms.
    ///
    /// # Errors
    /// [`DistillError::NotARun`] without a manifest, [`DistillError::RunLocked`] while another process writes it.
    pub fn open(path: &Path, arms: &[String]) -> Result<Self, DistillError> {
        if !path.join(Manifest::FILE).is_file() {
            return Err(DistillError::NotARun { path: path.into() });
        }
        let locks = lock(path, arms)?;
        Ok(Self {
            path: path.into(),
            _locks: locks,
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
        read_sealed(&file)
    }

    /// Writes the manifest.
    ///
    /// # Errors
    /// [`DistillError::Io`].
    pub fn write_manifest(&self, manifest: &Manifest) -> Result<(), DistillError> {
        self.write_sealed(Manifest::FILE, manifest)
    }

    /// What is finished, by any process.
    ///
    /// # Errors
    /// [`DistillError::Io`] or [`DistillError::Malformed`].
    pub fn state(&self) -> Result<RunState, DistillError> {
        Self::state_of(&self.path)
    }

    /// What is finished in a run folder, nothing if none is there; needs no lock.
    ///
    /// # Errors
    /// [`DistillError::Io`] or [`DistillError::Malformed`].
    pub fn state_of(path: &Path) -> Result<RunState, DistillError> {
        Ok(Self::read_sealed_of(path, RunState::FILE)?.unwrap_or_default())
    }

    /// What [`write_sealed`](Self::write_sealed) wrote to a file of a run folder, if it is there; needs no lock.
    ///
    /// # Errors
    /// [`DistillError::Io`] or [`DistillError::Malformed`].
    pub fn read_sealed_of<T: DeserializeOwned>(
        path: &Path,
        name: &str,
    ) -> Result<Option<T>, DistillError> {
        let file = path.join(name);
        file.is_file().then(|| read_sealed(&file)).transpose()
    }

    /// Changes what is recorded as finished, and returns it with what other processes have recorded meanwhile; none of
    /// them reads or writes it until `change` returns.
    ///
    /// # Errors
    /// [`DistillError::Io`] or [`DistillError::Malformed`], or what `change` says.
    pub fn update_state(
        &self,
        change: impl FnOnce(&mut RunState) -> Result<(), DistillError>,
    ) -> Result<RunState, DistillError> {
        let path = self.path.join("locks/state");
        let file = lock_file(&path)?;
        file.lock().map_err(|source| DistillError::Io {
            action: "lock",
            path,
            source,
        })?;
        let before = self.state()?;
        let mut state = before.clone();
        change(&mut state)?;
        if state != before {
            self.write_sealed(RunState::FILE, &state)?;
        }
        Ok(state)
    }

    /// Waits until no other process prepares the data of this run; `None` if `stop` was set meanwhile. `is_waiting` is
    /// called if it has to wait.
    ///
    /// # Errors
    /// [`DistillError::Io`].
    pub fn lock_data(
        &self,
        stop: &StopFlag,
        is_waiting: impl FnOnce(),
    ) -> Result<Option<File>, DistillError> {
        let file = lock_file(&self.path.join("locks/data"))?;
        if file.try_lock().is_ok() {
            return Ok(Some(file));
        }
        is_waiting();
        while !stop.is_set() {
            if file.try_lock().is_ok() {
                return Ok(Some(file));
            }
            std::thread::sleep(POLL);
        }
        Ok(None)
    }

    /// Writes a value with a checksum of its own (`model::files::seal`).
    ///
    /// # Errors
    /// [`DistillError::Io`].
    pub fn write_sealed(
        &self,
        name: &str,
        value: &impl serde::Serialize,
    ) -> Result<(), DistillError> {
        Ok(model::files::write(&self.path.join(name), &seal(value))?)
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
        Ok(model::files::write(&self.path.join(name), &json)?)
    }
}

fn read_sealed<T: DeserializeOwned>(path: &Path) -> Result<T, DistillError> {
    let text = std::fs::read(path).map_err(|source| DistillError::Io {
        action: "read",
        path: path.into(),
        source,
    })?;
    let cure = match path.file_name().and_then(|name| name.to_str()) {
        Some(RunState::FILE) => ", or delete it and resume: every stage is run again",
        Some(Manifest::FILE) => ", or start a new run with its recipe",
        _ => ", or delete it",
    };
    unseal(&text).map_err(|error| DistillError::Malformed {
        path: path.into(),
        found: error.to_string(),
        expected: format!("the file as it was written (bring it back from a copy{cure})"),
    })
}

fn make_dir_all(path: &Path) -> Result<(), DistillError> {
    std::fs::create_dir_all(path).map_err(|source| DistillError::Io {
        action: "create",
        path: path.into(),
        source,
    })
}

/// Refuses a folder that holds anything but what a process that was killed before its first manifest leaves.
fn check_unused(folder: &Path) -> Result<(), DistillError> {
    const LEFT: [&str; 3] = ["lock", "locks", ".manifest.json.part"];
    let io = |source| DistillError::Io {
        action: "read",
        path: folder.into(),
        source,
    };
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let name = entry.map_err(io)?.file_name();
        if !LEFT.iter().any(|left| name == *left) {
            return Err(DistillError::RunExists {
                path: folder.into(),
            });
        }
    }
    Ok(())
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

/// Holds a folder for this process alone, or some arms of it.
fn lock(folder: &Path, arms: &[String]) -> Result<Vec<File>, DistillError> {
    let hold = |path: PathBuf, is_shared: bool| {
        let mut file = lock_file(&path)?;
        let io = |source| DistillError::Io {
            action: "write",
            path: path.clone(),
            source,
        };
        let held = match is_shared {
            true => file.try_lock_shared(),
            false => file.try_lock(),
        };
        if held.is_err() {
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
    };
    let mut locks = vec![hold(folder.join("lock"), !arms.is_empty())?];
    for arm in arms {
        locks.push(hold(folder.join("locks").join(arm), false)?);
    }
    Ok(locks)
}

fn lock_file(path: &Path) -> Result<File, DistillError> {
    if let Some(parent) = path.parent() {
        make_dir_all(parent)?;
    }
    File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path)
        .map_err(|source| DistillError::Io {
            action: "create",
            path: path.into(),
            source,
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::{Plan, Recipe};
    use crate::testing::no_flip;

    #[test]
    fn a_folder_is_held_by_one_and_freed_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("run");
        let folder = RunFolder::create(Some(&run), "x", &[]).unwrap();
        std::fs::write(run.join(Manifest::FILE), "{}").unwrap();
        let error = RunFolder::open(&run, &[]).unwrap_err();
        assert!(
            matches!(&error, DistillError::RunLocked { pid, .. } if *pid == std::process::id().to_string())
        );
        drop(folder);
        RunFolder::open(&run, &[]).unwrap();
        assert!(matches!(
            RunFolder::create(Some(&run), "x", &[]),
            Err(DistillError::RunExists { .. })
        ));
        assert!(matches!(
            RunFolder::open(dir.path(), &[]),
            Err(DistillError::NotARun { .. })
        ));
        assert!(matches!(
            RunFolder::manifest(&run),
            Err(DistillError::Malformed { .. })
        ));
    }

    #[test]
    fn a_folder_whose_process_was_killed_before_it_had_a_run_is_used_again() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("run");
        drop(RunFolder::create(Some(&run), "x", &["50".into()]).unwrap());
        std::fs::write(run.join(".manifest.json.part"), "{").unwrap();
        drop(RunFolder::create(Some(&run), "x", &[]).unwrap());
        let held = RunFolder::create(Some(&run), "x", &[]).unwrap();
        assert!(matches!(
            RunFolder::create(Some(&run), "x", &[]),
            Err(DistillError::RunLocked { .. })
        ));
        std::fs::write(run.join(Manifest::FILE), "{}").unwrap();
        drop(held);
        assert!(matches!(
            RunFolder::create(Some(&run), "x", &[]),
            Err(DistillError::RunExists { .. })
        ));
    }

    #[test]
    fn arms_are_held_one_by_one_and_record_into_one_state() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("run");
        let arms = |names: &[&str]| names.iter().map(|name| (*name).into()).collect::<Vec<_>>();
        let first = RunFolder::create(Some(&run), "x", &arms(&["chain-50"])).unwrap();
        std::fs::write(run.join(Manifest::FILE), "{}").unwrap();
        let second = RunFolder::open(&run, &arms(&["chain-25"])).unwrap();
        for taken in [arms(&["chain-50"]), arms(&["chain-0", "chain-25"]), vec![]] {
            let error = RunFolder::open(&run, &taken).unwrap_err();
            assert!(
                matches!(error, DistillError::RunLocked { .. }),
                "{taken:?}: {error}"
            );
        }
        // Threads in place of processes: each has its own handle on the lock.
        let finish = |folder: &RunFolder, arm: &str| {
            for index in 0..20 {
                let done = super::super::FinishedStage {
                    arm: arm.into(),
                    attention_ratio: f64::from(index),
                    stage: crate::recipe::StageKind::Sft,
                    checkpoint: String::new(),
                    sha256: String::new(),
                    scores: super::super::Scores {
                        perplexity: 2.0,
                        tasks: Vec::new(),
                        tokens_per_s: None,
                        state_bytes: 1,
                        attn_layers: 1,
                    },
                };
                let push = |state: &mut RunState| {
                    state.finished.push(done);
                    Ok(())
                };
                folder.update_state(push).unwrap();
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(|| finish(&first, "a"));
            scope.spawn(|| finish(&second, "b"));
        });
        let finished = first.state().unwrap().finished;
        let count = |arm| finished.iter().filter(|done| done.arm == arm).count();
        assert_eq!((count("a"), count("b")), (20, 20));
        drop((first, second));
        RunFolder::open(&run, &[]).unwrap();
    }

    #[test]
    fn no_flip_of_any_single_bit_of_state_or_manifest_is_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("run");
        let folder = RunFolder::create(Some(&run), "x", &[]).unwrap();
        let short = [
            "sweep.attention_ratios=[0.5]",
            "sweep.stages=[\"sft\"]",
            "sweep.controls=[]",
        ];
        let short = short.map(String::from);
        let recipe = Recipe::parse(crate::recipe::default_recipe(None), "x", &short).unwrap();
        let plan = Plan::resolve(&recipe, "x").unwrap();
        let written = Manifest::new(plan, "teacher".into());
        folder.write_manifest(&written).unwrap();
        let record = |state: &mut RunState| {
            state.teacher = Some(super::super::Scores {
                perplexity: 12.5,
                tasks: vec![("copy".into(), 0.25)],
                tokens_per_s: None,
                state_bytes: 1,
                attn_layers: 1,
            });
            Ok(())
        };
        let state = folder.update_state(record).unwrap();
        assert_eq!(folder.state().unwrap(), state);
        assert_eq!(RunFolder::manifest(&run).unwrap(), written);
        let text = |error: DistillError| error.to_string();
        let manifest = |run: &Path| RunFolder::manifest(run).map(drop).map_err(text);
        no_flip(&run, Manifest::FILE, 16_000, manifest);
        let state = |run: &Path| RunFolder::state_of(run).map(drop).map_err(text);
        no_flip(&run, RunState::FILE, 2_000, state);
    }
}
