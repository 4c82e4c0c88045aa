//! Files with a JSON array or JSON lines.

use std::path::Path;

use anyhow::Context;
use serde_json::Value;

use super::jsonl;

/// Rows of a file that holds either one JSON array or one JSON value a line, with their numbers from 1: places in the array,
/// or lines. Empty lines are skipped; a line that is not JSON is an error of its own.
///
/// # Errors
/// When the file cannot be read, or is an array that is not JSON.
pub fn rows(path: &Path) -> anyhow::Result<Vec<(usize, anyhow::Result<Value>)>> {
    let text = jsonl::read_text(path)?;
    if text.trim_start().starts_with('[') {
        let values: Vec<Value> =
            serde_json::from_str(&text).with_context(|| format!("`{}`", path.display()))?;
        return Ok((1..).zip(values.into_iter().map(Ok)).collect());
    }
    let lines = (1..).zip(text.lines());
    let lines = lines.filter(|(_, line)| !line.trim().is_empty());
    let parse = |line| serde_json::from_str(line).context("not JSON");
    Ok(lines.map(|(row, line)| (row, parse(line))).collect())
}

/// Every row of a file, as `parse` reads it.
///
/// # Errors
/// As [`rows`], and for the first row that is not JSON or that `parse` refuses, with its number.
pub fn read<T>(path: &Path, parse: impl Fn(Value) -> anyhow::Result<T>) -> anyhow::Result<Vec<T>> {
    let parsed = rows(path)?.into_iter().map(|(row, value)| {
        value
            .and_then(&parse)
            .with_context(|| format!("`{}`: row {row}", path.display()))
    });
    parsed.collect()
}
