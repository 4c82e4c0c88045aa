//! JSON lines of ours whose last line is the hash of all before it.

use std::path::Path;

use anyhow::Context;
use model::files::split_seal;
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

use super::jsonl;
use crate::checkpoint::hex;

/// Before the digits of the last line.
const BEGIN: &str = "{\"sha256\":\"";
/// After them.
const END: &str = "\"}\n";

/// Writes one value a line, whole or not at all.
///
/// # Errors
/// When the disk refuses.
pub fn write<T: Serialize>(path: &Path, values: &[T]) -> anyhow::Result<()> {
    let mut text = Vec::new();
    for value in values {
        serde_json::to_writer(&mut text, value)?;
        text.push(b'\n');
    }
    let sha256 = hex(&Sha256::digest(&text));
    for part in [BEGIN, &sha256, END] {
        text.extend_from_slice(part.as_bytes());
    }
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)
            .with_context(|| format!("could not create `{}`", parent.display()))?;
    }
    Ok(model::files::write(path, &text)?)
}

/// Reads what [`write`] wrote, or a file of an older version, which has no last line. `T` must not be readable from such a line.
///
/// # Errors
/// When the file cannot be read or is not as it was written, with its name and the cure.
pub fn read<T: DeserializeOwned>(path: &Path) -> anyhow::Result<Vec<T>> {
    let text =
        std::fs::read(path).with_context(|| format!("could not read `{}`", path.display()))?;
    let damaged = || {
        format!(
            "`{}` is not as it was written: delete it to make it again",
            path.display()
        )
    };
    let values = match split_seal(&text, BEGIN, END) {
        Some((lines, digits)) => {
            let found = hex(&Sha256::digest(lines));
            anyhow::ensure!(found.as_bytes() == digits, damaged());
            lines
        }
        None => &text,
    };
    jsonl::parse(values).with_context(damaged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::ReplyRecord;

    fn records() -> Vec<ReplyRecord> {
        let record = |seed| ReplyRecord {
            prompt: format!("question {seed}"),
            reply: "a \"reply\"\n".into(),
            seed,
        };
        (0..3).map(record).collect()
    }

    #[test]
    fn no_flip_of_any_single_bit_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("labels.jsonl");
        write(&path, &records()).unwrap();
        assert_eq!(read::<ReplyRecord>(&path).unwrap(), records());
        let whole = std::fs::read(&path).unwrap();
        for bit in 0..8 * whole.len() {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, flipped).unwrap();
            let error = read::<ReplyRecord>(&path).expect_err("every byte is covered");
            assert!(
                error.to_string().contains("labels.jsonl"),
                "bit {bit}: {error}"
            );
        }
    }

    #[test]
    fn a_file_of_an_older_version_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("labels.jsonl");
        let line = |record| serde_json::to_string(&record).unwrap() + "\n";
        let text: String = records().into_iter().map(line).collect();
        std::fs::write(&path, text).unwrap();
        assert_eq!(read::<ReplyRecord>(&path).unwrap(), records());
    }
}
