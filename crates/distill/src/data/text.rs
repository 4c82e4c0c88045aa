//! Plain text as windows of tokens.

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
pub fn documents(
    path: &Path,
) -> anyhow::Result<Box<dyn Iterator<Item = anyhow::Result<(usize, anyhow::Result<String>)>>>> {
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
        windows.extend(cut(&tokenizer.encode(&text), seq_len));
    }
    Ok(windows)
}

/// Disjoint windows of `seq_len` tokens, all of them targets; a rest shorter than half a window is dropped where it is not all
/// that there is.
pub fn cut(ids: &[u32], seq_len: usize) -> Vec<Example> {
    let length = seq_len.max(2);
    ids.chunks(length)
        .filter(|window| window.len() >= 2)
        .filter(|window| window.len() == ids.len() || window.len() * 2 >= length)
        .map(|window| Example {
            ids: window.to_vec(),
            targets: vec![true; window.len()],
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_disjoint_and_a_short_rest_is_dropped() {
        let ids: Vec<u32> = (0..23).collect();
        let lengths = |ids: &[u32]| -> Vec<usize> {
            let windows = cut(ids, 10);
            windows.iter().map(|window| window.ids.len()).collect()
        };
        assert_eq!(lengths(&ids), [10, 10]);
        assert_eq!(lengths(&ids[..15]), [10, 5]);
        assert_eq!(lengths(&ids[..3]), [3], "a short document is kept");
        assert_eq!(lengths(&ids[..1]), [0; 0]);
        assert_eq!(cut(&ids, 10)[1].ids[0], 10);
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
