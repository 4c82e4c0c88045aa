//! Files with a JSON array or JSON lines.

use std::path::Path;

use anyhow::Context;
use serde::de::DeserializeOwned;

use super::jsonl;

/// Reads every record of a file that holds either one JSON array or one JSON value a line.
///
/// # Errors
/// When the file cannot be read, or a record has none of the accepted shapes; the message says which record.
pub fn read<T: DeserializeOwned>(path: &Path, shapes: &str) -> anyhow::Result<Vec<T>> {
    let text = jsonl::read_text(path)?;
    let name = || format!("`{}`", path.display());
    let values: Vec<serde_json::Value> = if text.trim_start().starts_with('[') {
        serde_json::from_str(&text).with_context(name)?
    } else {
        jsonl::parse(text.as_bytes()).with_context(name)?
    };
    let records = values.into_iter().enumerate().map(|(index, value)| {
        serde_json::from_value(value)
            .with_context(|| format!("`{}`: record {index}: expected {shapes}", path.display()))
    });
    records.collect()
}
