//! Writing a folder of prepared data.

use std::path::{Path, PathBuf};

use anyhow::Context;
use model::{ChatTemplate, Message, Tokenizer};
use sha2::{Digest, Sha256};

use super::manifest::{FILE, Input, Kind, Manifest, ShardEntry, VERSION, fingerprint};
use super::{shard, tokenizer_sha256};
use crate::checkpoint::{hex, write_atomically};
use crate::data::repeats::{Identity, Repeats, Seen};
use crate::data::{Chat, Example, Preference, records, text};
use crate::error::DistillError;

/// A shard is closed when it holds this many tokens: 64 MiB of ids.
const SHARD_TOKENS: usize = 16 * 1024 * 1024;

/// A file to prepare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// What it holds.
    pub kind: Kind,
    /// Where it is.
    pub path: PathBuf,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// The manifest as written.
    pub manifest: Manifest,
    /// Rows left out, as `FILE: row N: reason`.
    pub bad_rows: Vec<String>,
    /// Rows that were there before.
    pub repeats: Repeats,
}

/// A row that is not valid.
struct BadRow {
    path: PathBuf,
    row: usize,
    reason: String,
}

/// Rows of all files before tokenising.
#[derive(Default)]
struct Rows {
    chats: Vec<Chat>,
    texts: Vec<String>,
    pairs: Vec<Preference>,
    seen: Seen,
    inputs: Vec<Input>,
    bad: Vec<BadRow>,
}

/// Checks every row of `sources`, tokenises them with `template` and writes `folder`, its manifest last.
///
/// # Errors
/// [`DistillError::OutputExists`] when `folder` is there; [`DistillError::BadRow`] for the first row that is not valid,
/// unless `skip_bad` leaves such rows out; when a file cannot be read or written, or nothing is left.
pub fn prepare(
    sources: &[Source],
    tokenizer: &Tokenizer,
    (template, template_name): (&ChatTemplate, &str),
    folder: &Path,
    skip_bad: bool,
) -> anyhow::Result<Prepared> {
    if folder.exists() {
        return Err(DistillError::OutputExists {
            path: folder.into(),
        }
        .into());
    }
    let mut rows = Rows::default();
    for source in sources {
        rows.read(source, tokenizer, template)?;
    }
    if let Some(first) = rows.bad.first().filter(|_| !skip_bad) {
        return Err(DistillError::BadRow {
            path: first.path.clone(),
            row: first.row,
            reason: first.reason.clone(),
            more: rows.bad.len() - 1,
        }
        .into());
    }
    let tokenizer_sha256 = tokenizer_sha256(tokenizer)?;
    let fingerprint = fingerprint(&rows.inputs, &tokenizer_sha256, template_name);
    let mut documents = Vec::new();
    for chat in &rows.chats {
        documents.push((Kind::Chat, vec![chat.encode(tokenizer, template)?]));
    }
    for text in &rows.texts {
        let ids = tokenizer.encode(text);
        let targets = vec![true; ids.len()];
        documents.push((Kind::Text, vec![Example { ids, targets }]));
    }
    for pair in &rows.pairs {
        let pair = pair.encode(tokenizer, template, usize::MAX)?;
        documents.extend(pair.map(|pair| (Kind::Preferences, vec![pair.chosen, pair.rejected])));
    }
    anyhow::ensure!(!documents.is_empty(), "no row is left to prepare");
    std::fs::create_dir_all(folder)
        .with_context(|| format!("could not create `{}`", folder.display()))?;
    let mut writer = Writer {
        folder,
        fingerprint,
        shards: Vec::new(),
    };
    let mut open: Vec<Example> = Vec::new();
    let (mut open_kind, mut open_tokens) = (Kind::Chat, 0);
    for (kind, pieces) in documents {
        if kind != open_kind || open_tokens >= SHARD_TOKENS {
            writer.write(open_kind, &std::mem::take(&mut open))?;
            open_tokens = 0;
        }
        open_kind = kind;
        open_tokens += pieces.iter().map(|piece| piece.ids.len()).sum::<usize>();
        open.extend(pieces);
    }
    writer.write(open_kind, &open)?;
    let manifest = Manifest {
        version: VERSION,
        made_by: concat!("distill data prepare ", env!("CARGO_PKG_VERSION")).into(),
        fingerprint: hex(&fingerprint),
        tokenizer_sha256,
        template: template_name.into(),
        inputs: rows.inputs,
        shards: writer.shards,
    };
    let json = serde_json::to_string_pretty(&manifest)? + "\n";
    write_atomically(&folder.join(FILE), json.as_bytes())?;
    let bad_rows = rows
        .bad
        .iter()
        .map(|bad| format!("{}: row {}: {}", bad.path.display(), bad.row, bad.reason))
        .collect();
    Ok(Prepared {
        manifest,
        bad_rows,
        repeats: rows.seen.repeats,
    })
}

impl Rows {
    /// Adds a file; rows that are not valid are noted.
    fn read(
        &mut self,
        source: &Source,
        tokenizer: &Tokenizer,
        template: &ChatTemplate,
    ) -> anyhow::Result<()> {
        let path = &source.path;
        let bytes = std::fs::read(path).map_err(|source| DistillError::Io {
            action: "read",
            path: path.clone(),
            source,
        })?;
        let bad_before = self.bad.len();
        // A program may refuse single rows; the built-in templates take all or none.
        let is_written = |messages: &[Message]| match template {
            ChatTemplate::Jinja(_) => template.encode_chat(tokenizer, messages, false).map(drop),
            _ => Ok(()),
        };
        let repeated_before = self.seen.repeats.rows;
        let rows = match source.kind {
            Kind::Text => {
                let mut rows = 0;
                for document in text::documents(path)? {
                    let (row, text) = document?;
                    rows += 1;
                    match text {
                        Ok(text) => self.texts.push(text),
                        Err(error) => self.note(path, row, format!("{error:#}")),
                    }
                }
                rows
            }
            Kind::Chat => {
                let (rows, valid) = self.valid(path, Chat::COLUMNS, |row, record| {
                    let chat = Chat::from_record(row, record)?;
                    is_written(&chat.messages)?;
                    Ok(chat)
                })?;
                let new = self.new_ones(valid, Chat::identity);
                self.chats.extend(new);
                rows
            }
            Kind::Preferences => {
                let (rows, valid) = self.valid(path, Preference::COLUMNS, |_, record| {
                    let pair = Preference::from_record(record)?;
                    for reply in [&pair.chosen, &pair.rejected] {
                        is_written(&[&pair.prompt[..], std::slice::from_ref(reply)].concat())?;
                    }
                    Ok(pair)
                })?;
                let new = self.new_ones(valid, Preference::identity);
                self.pairs.extend(new);
                rows
            }
        };
        self.inputs.push(Input {
            file: path.display().to_string(),
            kind: source.kind,
            sha256: hex(&Sha256::digest(&bytes)),
            rows,
            bad: self.bad.len() - bad_before,
            repeated: self.seen.repeats.rows - repeated_before,
        });
        Ok(())
    }

    /// Rows of a file, and those that `parse` takes.
    fn valid<T>(
        &mut self,
        path: &Path,
        columns: &[&str],
        parse: impl Fn(usize, serde_json::Value) -> anyhow::Result<T>,
    ) -> anyhow::Result<(usize, Vec<T>)> {
        let mut count = 0;
        let mut valid = Vec::new();
        for row in records::rows(path, columns)? {
            let (row, value) = row?;
            count += 1;
            match value.and_then(|value| parse(row, value)) {
                Ok(record) => valid.push(record),
                Err(error) => self.note(path, row, format!("{error:#}")),
            }
        }
        Ok((count, valid))
    }

    /// Rows that were not there before.
    fn new_ones<T>(&mut self, mut rows: Vec<T>, identity: impl Fn(&T) -> Identity) -> Vec<T> {
        rows.retain(|row| {
            let Identity { prompt, whole, .. } = identity(row);
            self.seen.insert(prompt, whole)
        });
        rows
    }

    fn note(&mut self, path: &Path, row: usize, reason: String) {
        self.bad.push(BadRow {
            path: path.into(),
            row,
            reason,
        });
    }
}

/// Writes shards one after another.
struct Writer<'a> {
    folder: &'a Path,
    fingerprint: [u8; 32],
    shards: Vec<ShardEntry>,
}

impl Writer<'_> {
    fn write(&mut self, kind: Kind, documents: &[Example]) -> Result<(), DistillError> {
        if documents.is_empty() {
            return Ok(());
        }
        let file = format!("{:05}-{}.shard", self.shards.len(), kind.name());
        let bytes = shard::encode(kind, &self.fingerprint, documents);
        write_atomically(&self.folder.join(&file), &bytes)?;
        self.shards.push(ShardEntry {
            file,
            kind,
            documents: documents.len(),
            tokens: documents.iter().map(|document| document.ids.len()).sum(),
        });
        Ok(())
    }
}
