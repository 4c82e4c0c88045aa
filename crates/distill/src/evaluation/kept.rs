//! What was measured before, so that an evaluation goes on where it was stopped.
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Serialize;
use serde::de::DeserializeOwned;
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
}

impl Kept {
    /// Those in `folder`, which need not exist yet.
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: Some(folder.into()),
        }
    }

    /// Those of a run, which `eval all` and the gate of a sweep share.
    pub fn of_run(run_dir: &Path) -> Self {
        Self::new(&run_dir.join(FOLDER).join(KEPT))
    }

    /// Where nothing is kept.
    pub fn nowhere() -> Self {
        Self { folder: None }
    }

    /// The measurement `name` of what `key` says, from its file or else from `measure`, whose result is kept.
    ///
    /// A file that is damaged is measured again.
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
        if let Some(value) = read(&path, &key) {
            return Ok(value);
        }
        let value = measure()?;
        std::fs::create_dir_all(folder)
            .with_context(|| format!("could not create `{}`", folder.display()))?;
        let file = json!({ "key": key, "value": serde_json::to_value(&value)? });
        model::files::write(&path, file.to_string().as_bytes())?;
        // What is shown is what was kept, to the last digit, whether it was measured now or before.
        read(&path, &key).with_context(|| format!("`{}` is not what was written", path.display()))
    }
}

fn read<T: DeserializeOwned>(path: &Path, key: &Value) -> Option<T> {
    let mut file: Value = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    (file.get("key") == Some(key)).then_some(())?;
    serde_json::from_value(file.get_mut("value")?.take()).ok()
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
}
