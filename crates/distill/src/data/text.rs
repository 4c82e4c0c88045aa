//! Plain text as windows of tokens.

use std::ops::Range;
use std::path::Path;

use anyhow::{Context, ensure};
use model::Tokenizer;
use serde::Deserialize;

use super::{Example, jsonl, parquet, records};

/// Endings of files that hold one document a row and not one in all.
const ENDINGS: &[&str] = &[".json", ".jsonl", ".json.gz", ".jsonl.gz"];

/// A row of text.
#[derive(Deserialize)]
struct Record {
    text: String,
}

/// The documents of a file with their numbers from 1, or why one is none: the rows of Parquet, `.json` and `.jsonl`, which have
/// a `text` each, or the whole of any other file.
///
/// # Errors
/// When the file cannot be read; of an item, when it cannot be read from there on.
pub fn documents(path: &Path) -> anyhow::Result<Box<dyn Iterator<Item = records::Row<String>>>> {
    let name = path.to_string_lossy().to_ascii_lowercase();
    if !parquet::is_parquet(path) && !ENDINGS.iter().any(|ending| name.ends_with(ending)) {
        let whole = written(jsonl::read_text(path)?);
        return Ok(Box::new(std::iter::once(Ok((1, whole)))));
    }
    let rows = records::rows(path, &["text"])?;
    Ok(Box::new(rows.map(|row| {
        let (row, value) = row?;
        let text = value.and_then(|value| {
            let record: Option<Record> = serde_json::from_value(value).ok();
            written(record.context("expected `text`")?.text)
        });
        Ok((row, text))
    })))
}

fn written(text: String) -> anyhow::Result<String> {
    ensure!(!text.trim().is_empty(), "there is no text");
    Ok(text)
}

/// Cuts the documents of a file into disjoint windows of `seq_len` tokens, as [`cut`] does.
///
/// # Errors
/// When the file cannot be read, or for the first row without text, with its number.
pub fn windows(path: &Path, tokenizer: &Tokenizer, seq_len: usize) -> anyhow::Result<Vec<Example>> {
    let mut windows = Vec::new();
    for document in documents(path)? {
        let (row, text) = document?;
        let text = text.with_context(|| format!("`{}`: row {row}", path.display()))?;
        let ids = tokenizer.encode(&text);
        windows.extend(cut(ids.len(), seq_len).map(|tokens| Example {
            targets: vec![true; tokens.len()],
            ids: ids[tokens].to_vec(),
        }));
    }
    Ok(windows)
}

/// Disjoint windows of `seq_len` of so many tokens; a rest shorter than half a window is dropped where it is not all that
/// there is.
pub fn cut(tokens: usize, seq_len: usize) -> impl Iterator<Item = Range<usize>> {
    let length = seq_len.max(2);
    let windows = (0..tokens).step_by(length);
    let windows = windows.map(move |start| start..tokens.min(start + length));
    windows
        .filter(|window| window.len() >= 2)
        .filter(move |window| window.len() == tokens || window.len() * 2 >= length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_disjoint_and_a_short_rest_is_dropped() {
        let windows = |tokens| cut(tokens, 10).collect::<Vec<_>>();
        assert_eq!(windows(23), [0..10, 10..20]);
        assert_eq!(windows(15), [0..10, 10..15]);
        assert_eq!(windows(3), [0..3; 1], "a short document is kept");
        assert!(windows(1).is_empty());
    }

    #[test]
    fn rows_of_text_are_documents_and_other_files_are_one() {
        let dir = tempfile::tempdir().unwrap();
        let rows = "{\"text\": \"one two\", \"url\": 3}\n\n{\"text\": \" \"}\n{\"body\": \"x\"}\n";
        let read = |name: &str| -> Vec<(usize, Result<String, String>)> {
            let path = dir.path().join(name);
            std::fs::write(&path, rows).unwrap();
            let documents = documents(&path).unwrap().map(|document| {
                let (row, text) = document.unwrap();
                (row, text.map_err(|error| error.to_string()))
            });
            documents.collect()
        };
        let expected = [
            (1, Ok("one two".into())),
            (3, Err("there is no text".into())),
            (4, Err("expected `text`".into())),
        ];
        assert_eq!(read("a.jsonl"), expected);
        assert_eq!(read("a.txt"), [(1, Ok(rows.into()))]);
    }
}
