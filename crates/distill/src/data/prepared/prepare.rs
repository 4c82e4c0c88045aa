//! Writing a folder of prepared data.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::Context;
use model::{ChatTemplate, Tokenizer};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::manifest::{FILE, Input, Kind, Manifest, VERSION, fingerprint};
use super::tokenizer_sha256;
use super::writer::Writer;
use crate::checkpoint::hex;
use crate::data::repeats::{Identity, Repeats, Seen};
use crate::data::{Chat, Example, Preference, records, text};
use crate::error::DistillError;

/// Rows that are tokenised together, on all cores.
const ROWS_AT_ONCE: usize = 1024;
/// Rows left out that are kept by name; the others are counted.
pub const NAMED_ROWS: usize = 10;

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
    /// The first rows left out, as `FILE: row N: reason`.
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

/// Checks every row of `sources`, tokenises them with `template` and writes `folder`, which gets its name last. Files of rows
/// are read a piece at a time, so that they need not fit into memory; a file of plain text must.
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
    let mut part = folder.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    for path in [folder, &part] {
        if path.exists() {
            return Err(DistillError::OutputExists { path: path.into() }.into());
        }
    }
    let tokenizer_sha256 = tokenizer_sha256(tokenizer)?;
    let mut inputs = Vec::with_capacity(sources.len());
    for source in sources {
        inputs.push(unread(source)?);
    }
    let fingerprint = fingerprint(&inputs, &tokenizer_sha256, template_name);
    std::fs::create_dir_all(&part)
        .with_context(|| format!("could not create `{}`", part.display()))?;
    let mut preparation = Preparation {
        tokenizer,
        template,
        writer: Writer::new(&part, fingerprint),
        seen: Seen::default(),
        bad: Vec::new(),
        bad_count: 0,
    };
    let made = preparation.add_all(sources, &mut inputs, skip_bad);
    let whole = made.and_then(|()| {
        let Preparation {
            writer, seen, bad, ..
        } = preparation;
        let manifest = Manifest {
            version: VERSION,
            made_by: concat!("distill data prepare ", env!("CARGO_PKG_VERSION")).into(),
            fingerprint: hex(&fingerprint),
            tokenizer_sha256,
            template: template_name.into(),
            inputs,
            shards: writer.finish()?,
        };
        anyhow::ensure!(!manifest.shards.is_empty(), "no row is left to prepare");
        model::files::write(&part.join(FILE), &model::files::seal(&manifest))?;
        model::files::rename(&part, folder)?;
        model::files::sync_folder(folder.parent().unwrap_or(Path::new(".")));
        let bad_rows = bad.iter();
        let bad_rows =
            bad_rows.map(|bad| format!("{}: row {}: {}", bad.path.display(), bad.row, bad.reason));
        Ok(Prepared {
            manifest,
            bad_rows: bad_rows.collect(),
            repeats: seen.repeats,
        })
    });
    if whole.is_err() {
        // The error being returned says more than a failure to tidy up would.
        let _ = std::fs::remove_dir_all(&part);
    }
    whole
}

/// An input of which only the bytes are known.
fn unread(source: &Source) -> Result<Input, DistillError> {
    let path = &source.path;
    let mut hash = Sha256::new();
    let hashed = File::open(path).and_then(|mut file| std::io::copy(&mut file, &mut hash));
    hashed.map_err(|source| DistillError::Io {
        action: "read",
        path: path.clone(),
        source,
    })?;
    Ok(Input {
        file: path.display().to_string(),
        kind: source.kind,
        sha256: hex(&hash.finalize()),
        rows: 0,
        bad: 0,
        repeated: 0,
    })
}

/// Documents of one row, with what makes the row the same as another.
type Documents = (Option<Identity>, Vec<Example>);

/// Rows on their way into shards.
struct Preparation<'a> {
    tokenizer: &'a Tokenizer,
    template: &'a ChatTemplate,
    writer: Writer<'a>,
    seen: Seen,
    /// The first [`NAMED_ROWS`].
    bad: Vec<BadRow>,
    bad_count: usize,
}

impl Preparation<'_> {
    fn add_all(
        &mut self,
        sources: &[Source],
        inputs: &mut [Input],
        skip_bad: bool,
    ) -> anyhow::Result<()> {
        for (source, input) in sources.iter().zip(inputs) {
            self.add(source, input)?;
        }
        match self.bad.first().filter(|_| !skip_bad) {
            None => Ok(()),
            Some(first) => Err(DistillError::BadRow {
                path: first.path.clone(),
                row: first.row,
                reason: first.reason.clone(),
                more: self.bad_count - 1,
            }
            .into()),
        }
    }

    /// Adds a file and counts its rows in `input`; those that are not valid are noted.
    fn add(&mut self, source: &Source, input: &mut Input) -> anyhow::Result<()> {
        let path = &source.path;
        let (tokenizer, template) = (self.tokenizer, self.template);
        match source.kind {
            Kind::Text => self.add_rows(text::documents(path)?, source, input, |_, text| {
                let ids = tokenizer.encode(&text);
                let targets = vec![true; ids.len()];
                Ok((None, vec![Example { ids, targets }]))
            }),
            Kind::Chat => {
                let rows = records::rows(path, Chat::COLUMNS)?;
                self.add_rows(rows, source, input, |row, record| {
                    let chat = Chat::from_record(row, record)?;
                    let document = chat.encode(tokenizer, template)?;
                    Ok((Some(chat.identity()), vec![document]))
                })
            }
            Kind::Preferences => {
                let rows = records::rows(path, Preference::COLUMNS)?;
                self.add_rows(rows, source, input, |_, record| {
                    let pair = Preference::from_record(record)?;
                    let documents = pair.encode(tokenizer, template, usize::MAX)?;
                    let documents = documents.map(|pair| vec![pair.chosen, pair.rejected]);
                    Ok((Some(pair.identity()), documents.unwrap_or_default()))
                })
            }
        }
    }

    fn add_rows<T: Send>(
        &mut self,
        mut rows: impl Iterator<Item = records::Row<T>>,
        source: &Source,
        input: &mut Input,
        encode: impl Fn(usize, T) -> anyhow::Result<Documents> + Sync,
    ) -> anyhow::Result<()> {
        let repeated_before = self.seen.repeats.rows;
        loop {
            let read: Vec<_> = rows.by_ref().take(ROWS_AT_ONCE).collect::<Result<_, _>>()?;
            if read.is_empty() {
                break;
            }
            input.rows += read.len();
            let encoded: Vec<(usize, anyhow::Result<Documents>)> = read
                .into_par_iter()
                .map(|(row, value)| (row, value.and_then(|value| encode(row, value))))
                .collect();
            for (row, documents) in encoded {
                match documents {
                    Ok((identity, documents)) => {
                        let is_new =
                            identity.is_none_or(|row| self.seen.insert(row.prompt, row.whole));
                        if is_new {
                            self.writer.push(source.kind, documents)?;
                        }
                    }
                    Err(error) => {
                        input.bad += 1;
                        self.note(&source.path, row, format!("{error:#}"));
                    }
                }
            }
        }
        input.repeated = self.seen.repeats.rows - repeated_before;
        Ok(())
    }

    fn note(&mut self, path: &Path, row: usize, reason: String) {
        self.bad_count += 1;
        if self.bad.len() < NAMED_ROWS {
            self.bad.push(BadRow {
                path: path.into(),
                row,
                reason,
            });
        }
    }
}
