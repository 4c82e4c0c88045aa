//! What was measured before, so that an evaluation goes on where it was stopped.
use std::cell::RefCell;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context;
use model::files::{seal, unseal};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::checkpoint::hex;

/// Raised when a measure changes what it measures: nothing kept before counts any more.
const FORMAT: u32 = 1;

/// Folder of the evaluation in a run folder, and in it of what was measured.
pub const FOLDER: &str = "eval";
const KEPT: &str = "kept";

/// A folder of measurements, one file each, found by everything that they depend on.
pub struct Kept {
    /// None: nothing is kept.
    folder: Option<PathBuf>,
    /// Files that were not as they were written.
    damaged: RefCell<Vec<PathBuf>>,
}

/// A file of the folder; it ends with its own hash.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    key: Value,
    value: Value,
}

impl Kept {
    /// Those in `folder`, which need not exist yet.
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: Some(folder.into()),
            damaged: RefCell::default(),
        }
    }

    /// Those of a run, which `eval all` and the gate of a sweep share.
    pub fn of_run(run_dir: &Path) -> Self {
        Self::new(&run_dir.join(FOLDER).join(KEPT))
    }

    /// Where nothing is kept.
    pub fn nowhere() -> Self {
        Self {
            folder: None,
            damaged: RefCell::default(),
        }
    }

    /// A line about each file that was damaged, which was measured again.
    pub fn notes(&self) -> Vec<String> {
        let damaged = self.damaged.borrow();
        let note = |path: &PathBuf| {
            format!(
                "`{}` is not as it was written: measured again",
                path.display()
            )
        };
        damaged.iter().map(note).collect()
    }

    /// The measurement `name` of what `key` says, from its file or else from `measure`, whose result is kept.
    ///
    /// A file that is damaged is measured again, and among [`Kept::notes`].
    ///
    /// # Errors
    /// As `measure`; when the file cannot be written.
    pub fn of<T: Serialize + DeserializeOwned>(
        &self,
        name: &str,
        key: &Value,
        measure: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let Some(folder) = &self.folder else {
            return measure();
        };
        let key = json!({ "format": FORMAT, "measure": name, "of": key });
        let hash = hex(&Sha256::digest(key.to_string()));
        let path = folder.join(format!("{name}-{}.json", &hash[..16]));
        match read(&path, &key) {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => {}
            Err(_) => self.damaged.borrow_mut().push(path.clone()),
        }
        let value = measure()?;
        std::fs::create_dir_all(folder)
            .with_context(|| format!("could not create `{}`", folder.display()))?;
        let file = File {
            key,
            value: serde_json::to_value(&value)?,
        };
        model::files::write(&path, &seal(&file))?;
        // What is shown is what was kept, to the last digit, whether it was measured now or before.
        let written = read(&path, &file.key).ok().flatten();
        written.with_context(|| format!("`{}` is not what was written", path.display()))
    }
}

/// The measurement of `key` in a file; `None` where there is none.
///
/// # Errors
/// When the file is not as it was written.
fn read<T: DeserializeOwned>(path: &Path, key: &Value) -> anyhow::Result<Option<T>> {
    let text = match std::fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        text => text?,
    };
    let file: File = unseal(&text)?;
    match file.key == *key {
        true => Ok(serde_json::from_value(file.value)?),
        false => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measurement_is_made_once_for_each_key_and_again_when_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let kept = Kept::new(&dir.path().join("kept"));
        let mut count = 0;
        let mut of = |key: Value| {
            let measure = || {
                count += 1;
                Ok(f64::from(count) / 3.0)
            };
            kept.of("probe", &key, measure).unwrap()
        };
        let first = of(json!({"model": "a"}));
        assert_eq!(of(json!({"model": "a"})), first);
        assert_ne!(of(json!({"model": "b"})), first);
        for entry in std::fs::read_dir(dir.path().join("kept")).unwrap() {
            std::fs::write(entry.unwrap().path(), "{").unwrap();
        }
        assert_eq!(of(json!({"model": "a"})), 1.0);
        let failed = kept.of(
            "probe",
            &json!({"model": "c"}),
            || -> anyhow::Result<f64> { anyhow::bail!("no") },
        );
        assert_eq!(failed.unwrap_err().to_string(), "no");
    }

    #[test]
    fn no_flip_of_any_single_bit_is_taken_for_a_measurement() {
        let dir = tempfile::tempdir().unwrap();
        let key = json!({"model": "a", "tokens": 64});
        let read = |value: f64| -> (f64, Vec<String>) {
            let kept = Kept::new(dir.path());
            let value = kept.of("probe", &key, || Ok(value)).unwrap();
            (value, kept.notes())
        };
        assert_eq!(read(0.1), (0.1, vec![]));
        assert_eq!(read(0.2), (0.1, vec![]), "kept");
        let mut files = std::fs::read_dir(dir.path()).unwrap();
        let path = files.next().unwrap().unwrap().path();
        let whole = std::fs::read(&path).unwrap();
        assert!(8 * whole.len() > 1_500, "{} bits", 8 * whole.len());
        for bit in 0..8 * whole.len() {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, flipped).unwrap();
            let (value, notes) = read(0.2);
            assert_eq!(value, 0.2, "bit {bit}");
            let is_named = notes.iter().all(|note| note.contains("probe-"));
            assert!(is_named && notes.len() == 1, "bit {bit}: {notes:?}");
        }
    }

    #[test]
    fn a_measurement_of_an_older_version_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let kept = Kept::new(dir.path());
        let key = json!({"model": "a"});
        kept.of("probe", &key, || Ok(0.5)).unwrap();
        let mut files = std::fs::read_dir(dir.path()).unwrap();
        let path = files.next().unwrap().unwrap().path();
        let file: File = unseal(&std::fs::read(&path).unwrap()).unwrap();
        std::fs::write(&path, serde_json::to_vec(&file).unwrap()).unwrap();
        let again = kept.of("probe", &key, || Ok(0.7)).unwrap();
        assert_eq!((again, kept.notes()), (0.5, vec![]));
    }
}
