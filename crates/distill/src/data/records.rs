//! Files of rows: a JSON array, JSON lines or Parquet.

use std::io::BufRead;
use std::path::Path;

use anyhow::Context;
use serde_json::Value;

use super::{jsonl, parquet};

/// A row with its number from 1, or why it is none; the outer error ends the file.
pub type Row<T = Value> = anyhow::Result<(usize, anyhow::Result<T>)>;

/// Rows of a file, one after another: of Parquet by the file's name, with those of `columns` that it has, else of one JSON
/// array or of one JSON value a line. Their numbers are places in the array, or lines. Empty lines are skipped; a line that is
/// not JSON is an error of its own.
///
/// # Errors
/// When the file cannot be read, is Parquet with none of the columns, or is an array that is not JSON.
pub fn rows(path: &Path, columns: &[&str]) -> anyhow::Result<Box<dyn Iterator<Item = Row>>> {
    if parquet::is_parquet(path) {
        let rows = (1..).zip(parquet::rows(path, columns)?);
        return Ok(Box::new(rows.map(|(row, value)| Ok((row, value?)))));
    }
    let mut file = jsonl::open(path)?;
    let name = path.display().to_string();
    let failed = move || format!("could not read `{name}`");
    let first = file.fill_buf().with_context(&failed)?.trim_ascii_start();
    if first.starts_with(b"[") {
        let values: Vec<Value> =
            serde_json::from_reader(file).with_context(|| format!("`{}`", path.display()))?;
        let rows = (1..).zip(values).map(|(row, value)| Ok((row, Ok(value))));
        return Ok(Box::new(rows));
    }
    let lines = (1..).zip(file.split(b'\n'));
    Ok(Box::new(lines.filter_map(
        move |(row, line)| match line.with_context(&failed) {
            Ok(line) if line.trim_ascii().is_empty() => None,
            Ok(line) => Some(Ok((row, serde_json::from_slice(&line).context("not JSON")))),
            Err(error) => Some(Err(error)),
        },
    )))
}

/// Every row of a file, as `parse` reads it.
///
/// # Errors
/// As [`rows`], and for the first row that is not JSON or that `parse` refuses, with its number.
pub fn read<T>(
    path: &Path,
    columns: &[&str],
    parse: impl Fn(Value) -> anyhow::Result<T>,
) -> anyhow::Result<Vec<T>> {
    let parsed = rows(path, columns)?.map(|row| {
        let (row, value) = row?;
        value
            .and_then(&parse)
            .with_context(|| format!("`{}`: row {row}", path.display()))
    });
    parsed.collect()
}
