//! JSON lines on disk, plain or gzip by the file's name.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use flate2::{Compression, read::MultiGzDecoder, write::GzEncoder};
use model::files::Output;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// One prompt with the reply that a model gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplyRecord {
    /// What was asked, one user turn.
    pub prompt: String,
    /// The reply, without the end token.
    pub reply: String,
    /// Seed of the sampler that drew the reply.
    #[serde(default)]
    pub seed: u64,
}

/// A file to read; `.gz` is unpacked.
///
/// # Errors
/// When there is none.
pub fn open(path: &Path) -> anyhow::Result<Box<dyn BufRead>> {
    let file = File::open(path).with_context(|| format!("could not read `{}`", path.display()))?;
    Ok(match is_gzip(path) {
        true => Box::new(BufReader::new(MultiGzDecoder::new(file))),
        false => Box::new(BufReader::new(file)),
    })
}

/// Whole text of a file; `.gz` is unpacked.
///
/// # Errors
/// When the file cannot be read, is not gzip or not UTF-8.
pub fn read_text(path: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let read = open(path)?.read_to_string(&mut text);
    read.with_context(|| format!("could not read `{}` as UTF-8 text", path.display()))?;
    Ok(text)
}

/// Reads one value a line; empty lines are skipped.
///
/// # Errors
/// As [`read_text`], and when a line is not the expected JSON, with its number.
pub fn read<T: DeserializeOwned>(path: &Path) -> anyhow::Result<Vec<T>> {
    parse(read_text(path)?.as_bytes()).with_context(|| format!("`{}`", path.display()))
}

/// Parses JSON lines held in memory.
///
/// # Errors
/// When a line is not the expected JSON, with its number.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> anyhow::Result<Vec<T>> {
    let mut values = Vec::new();
    for (number, line) in bytes.lines().enumerate() {
        let line = line.with_context(|| format!("line {} is not UTF-8", number + 1))?;
        if !line.trim().is_empty() {
            values
                .push(serde_json::from_str(&line).with_context(|| format!("line {}", number + 1))?);
        }
    }
    Ok(values)
}

fn is_gzip(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "gz")
}

/// Writes JSON lines to a file beside the target, which takes the target's name only in [`Writer::finish`].
pub struct Writer {
    sink: Sink,
    partial: PathBuf,
    path: PathBuf,
}

enum Sink {
    Plain(BufWriter<Output>),
    Gzip(GzEncoder<BufWriter<Output>>),
}

impl Writer {
    /// Opens `PATH.partial`.
    ///
    /// # Errors
    /// When the folder or file cannot be made.
    pub fn create(path: &Path) -> anyhow::Result<Self> {
        if let Some(parent) = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
        {
            std::fs::create_dir_all(parent)
                .with_context(|| format!("could not create `{}`", parent.display()))?;
        }
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        let file = Output::create(&partial)?;
        let sink = if is_gzip(path) {
            Sink::Gzip(GzEncoder::new(BufWriter::new(file), Compression::best()))
        } else {
            Sink::Plain(BufWriter::new(file))
        };
        Ok(Self {
            sink,
            partial,
            path: path.to_owned(),
        })
    }

    /// Appends one line.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write<T: Serialize>(&mut self, value: &T) -> anyhow::Result<()> {
        let mut line = serde_json::to_vec(value)?;
        line.push(b'\n');
        let written = match &mut self.sink {
            Sink::Plain(sink) => sink.write_all(&line),
            Sink::Gzip(sink) => sink.write_all(&line),
        };
        written.with_context(|| format!("could not write `{}`", self.partial.display()))
    }

    /// Flushes to disk and gives the file its name.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn finish(self) -> anyhow::Result<()> {
        let context = || format!("could not write `{}`", self.path.display());
        let buffer = match self.sink {
            Sink::Plain(sink) => sink,
            Sink::Gzip(sink) => sink.finish().with_context(context)?,
        };
        let (mut file, rest) = buffer.into_parts();
        file.add(&rest.expect("no writer panics"))?;
        file.sync()?;
        Ok(model::files::rename(&self.partial, &self.path)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive_plain_and_gzip_files() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let records: Vec<_> = (0..50)
            .map(|i| ReplyRecord {
                prompt: format!("p{i}\n\"x\""),
                reply: "r".repeat(i),
                seed: i as u64,
            })
            .collect();
        for name in ["a.jsonl", "a.jsonl.gz"] {
            let path = dir.path().join(name);
            let mut writer = Writer::create(&path).expect("creates");
            for record in &records {
                writer.write(record).expect("writes");
            }
            assert!(
                !path.exists(),
                "the name appears only when the file is whole"
            );
            writer.finish().expect("finishes");
            assert_eq!(read::<ReplyRecord>(&path).expect("reads"), records);
        }
    }

    #[test]
    fn a_broken_line_is_named() {
        let error = parse::<ReplyRecord>(b"{\"prompt\":\"a\",\"reply\":\"b\"}\n\nnope\n")
            .expect_err("line 3 is broken");
        assert!(format!("{error:#}").contains("line 3"), "{error:#}");
    }
}
