//! JSON lines that are added one by one and outlive the process that added them.
use std::path::Path;

use anyhow::Context;
use model::files::Output;
use serde_json::Value;

use crate::data::jsonl;

/// A file of JSON lines to add to.
pub struct KeptLines {
    output: Output,
}

impl KeptLines {
    /// Opens or makes the file, with the lines that it has. Half a line at its end, of a process that was killed, is cut off.
    ///
    /// # Errors
    /// When the file cannot be read or written, or an earlier line is not JSON.
    pub fn open(path: &Path) -> anyhow::Result<(Self, Vec<Value>)> {
        let context = || format!("could not open `{}`", path.display());
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).with_context(context)?;
        }
        let mut output = Output::append(path)?;
        let bytes = std::fs::read(path).with_context(context)?;
        let whole = bytes
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        if whole < bytes.len() {
            output.file().set_len(whole as u64).with_context(context)?;
        }
        let lines = jsonl::parse(&bytes[..whole])
            .with_context(|| format!("`{}`: delete the line, or the file", path.display()))?;
        Ok((Self { output }, lines))
    }

    /// Adds a line, which is on disk when this returns.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn add(&mut self, value: &Value) -> anyhow::Result<()> {
        let line = format!("{value}\n");
        self.output.add(line.as_bytes())?;
        Ok(self.output.sync()?)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn half_a_line_is_cut_off_and_a_broken_one_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/lines.jsonl");
        let (mut kept, lines) = KeptLines::open(&path).unwrap();
        assert!(lines.is_empty());
        kept.add(&json!({"a": 1})).unwrap();
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, [&whole[..], b"{\"a\": 2"].concat()).unwrap();
        let (mut kept, lines) = KeptLines::open(&path).unwrap();
        assert_eq!(lines, [json!({"a": 1})]);
        kept.add(&json!({"a": 3})).unwrap();
        assert_eq!(
            KeptLines::open(&path).unwrap().1,
            [json!({"a": 1}), json!({"a": 3})]
        );
        std::fs::write(&path, "{\n{}\n").unwrap();
        let error = KeptLines::open(&path).err().unwrap();
        assert!(format!("{error:#}").contains("line 1"), "{error:#}");
    }
}
