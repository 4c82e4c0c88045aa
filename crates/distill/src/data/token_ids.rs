//! Token ids from a JSON file, `[[1, 2], [3, 4]]`: how another implementation's input reaches ours.
use std::path::Path;

use serde_json::Value;

use crate::error::DistillError;

/// Rows of token ids of one length, none empty.
///
/// # Errors
/// [`DistillError::Io`] when the file cannot be read, [`DistillError::Malformed`] naming the row and column otherwise.
pub fn read_token_rows(path: &Path, vocab_size: usize) -> Result<Vec<Vec<u32>>, DistillError> {
    let bytes = std::fs::read(path).map_err(|source| DistillError::Io {
        action: "read",
        path: path.into(),
        source,
    })?;
    parse(&bytes, vocab_size).map_err(|(found, expected)| DistillError::Malformed {
        path: path.into(),
        found,
        expected,
    })
}

const FORM: &str = "a list of rows of token ids, such as `[[1, 2], [3, 4]]`";

/// The rows, or what was found and what was expected.
fn parse(bytes: &[u8], vocab_size: usize) -> Result<Vec<Vec<u32>>, (String, String)> {
    let value: Value = serde_json::from_slice(bytes)
        .map_err(|error| (format!("no JSON: {error}"), FORM.into()))?;
    let form = |found: String| (found, FORM.to_owned());
    let Value::Array(rows) = &value else {
        return Err(form(format!("{} at the top", kind(&value))));
    };
    let mut parsed: Vec<Vec<u32>> = Vec::with_capacity(rows.len());
    for (index, row) in rows.iter().enumerate() {
        let Value::Array(ids) = row else {
            return Err(form(format!("{} as row {index}", kind(row))));
        };
        let first = parsed.first().map_or(ids.len(), Vec::len);
        if ids.len() != first {
            let found = format!("row {index} holds {} ids, row 0 holds {first}", ids.len());
            return Err((
                found,
                "rows of one length: run rows of different lengths apart".into(),
            ));
        }
        let mut parsed_row = Vec::with_capacity(ids.len());
        for (column, id) in ids.iter().enumerate() {
            match id.as_u64().and_then(|id| u32::try_from(id).ok()) {
                Some(id) if (id as usize) < vocab_size => parsed_row.push(id),
                _ => {
                    let found = format!("row {index}, column {column} holds {id}");
                    let expected = format!(
                        "a token id from 0 to {}: the model's vocabulary",
                        vocab_size - 1
                    );
                    return Err((found, expected));
                }
            }
        }
        parsed.push(parsed_row);
    }
    match parsed.first() {
        Some(first) if !first.is_empty() => Ok(parsed),
        _ => Err(form("no token id".into())),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_one_length_are_read() {
        assert_eq!(
            parse(b"[[1, 2], [3, 4]]", 5),
            Ok(vec![vec![1, 2], vec![3, 4]])
        );
    }

    #[test]
    fn anything_else_is_named() {
        for (text, named) in [
            ("", "no JSON"),
            ("[[1, 2], [3", "no JSON"),
            ("{}", "an object at the top"),
            ("[1, 2]", "a number as row 0"),
            ("[]", "no token id"),
            ("[[]]", "no token id"),
            ("[[1, 2], [3]]", "row 1 holds 1 ids, row 0 holds 2"),
            ("[[1, 2], [3, 5]]", "row 1, column 1 holds 5"),
            ("[[1, -2]]", "row 0, column 1 holds -2"),
            ("[[1, 2.5]]", "row 0, column 1 holds 2.5"),
            ("[[1, 99999999999]]", "row 0, column 1 holds 99999999999"),
        ] {
            let (found, _) = parse(text.as_bytes(), 5).unwrap_err();
            assert!(found.contains(named), "{text}: {found}");
        }
    }
}
