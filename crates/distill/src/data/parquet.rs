//! Rows of Parquet files, as the JSON that the same row would be on a line.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use ::parquet::errors::ParquetError;
use ::parquet::file::reader::{FileReader, SerializedFileReader};
use ::parquet::record::reader::RowIter;
use ::parquet::record::{Field, Row};
use ::parquet::schema::types::Type;
use anyhow::{Context, bail};
use serde_json::{Map, Value};

use crate::error::DistillError;

/// Whether a file is Parquet by its name.
pub(super) fn is_parquet(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("parquet"))
}

/// The rows of a file with those of `columns` that it has; a null is a column that is not there. Row groups are read one
/// after another, so the file is never whole in memory.
///
/// # Errors
/// When the file cannot be read, is no Parquet or has none of the columns; of an item, when the file is damaged there.
pub(super) fn rows(
    path: &Path,
    columns: &[&str],
) -> anyhow::Result<impl Iterator<Item = anyhow::Result<anyhow::Result<Value>>> + use<>> {
    let name = path.display().to_string();
    let file = File::open(path).map_err(|source| DistillError::Io {
        action: "read",
        path: path.into(),
        source,
    })?;
    let reader = SerializedFileReader::new(file).with_context(|| format!("`{name}`"))?;
    let schema = reader.metadata().file_metadata().schema().clone();
    let fields = schema.get_fields().iter();
    let (wanted, others): (Vec<_>, Vec<_>) = fields
        .cloned()
        .partition(|field| columns.contains(&field.name()));
    if wanted.is_empty() {
        let found: Vec<&str> = others.iter().map(|field| field.name()).collect();
        return Err(DistillError::Malformed {
            path: path.into(),
            found: format!("the columns `{}`", found.join("`, `")),
            expected: format!("one of `{}`", columns.join("`, `")),
        }
        .into());
    }
    let projection = projection(schema.name(), wanted).with_context(|| format!("`{name}`"))?;
    let rows = RowIter::from_file_into(Box::new(reader)).project(Some(projection));
    let mut rows = rows.with_context(|| format!("`{name}`"))?;
    let mut row = 0_usize;
    Ok(std::iter::from_fn(move || {
        row += 1;
        // The library panics at some damages that no checksum covers.
        let next = catch_unwind(AssertUnwindSafe(|| rows.next()));
        let read = next.unwrap_or_else(|_| {
            let unreadable = "levels that are not those of the schema".into();
            Some(Err(ParquetError::General(unreadable)))
        })?;
        let read = read.with_context(|| format!("`{name}`: damaged in row {row}"));
        Some(read.map(|row| object(&row).map(Value::Object)))
    }))
}

fn projection(name: &str, fields: Vec<Arc<Type>>) -> ::parquet::errors::Result<Type> {
    Type::group_type_builder(name).with_fields(fields).build()
}

/// A struct, without what is null in it.
fn object(row: &Row) -> anyhow::Result<Map<String, Value>> {
    let mut object = Map::new();
    for (name, field) in row.get_column_iter() {
        if !matches!(field, Field::Null) {
            let value = value(field).with_context(|| format!("column `{name}`"))?;
            object.insert(name.clone(), value);
        }
    }
    Ok(object)
}

fn value(field: &Field) -> anyhow::Result<Value> {
    Ok(match field {
        Field::Null => Value::Null,
        Field::Bool(value) => Value::Bool(*value),
        Field::Str(text) => Value::String(text.clone()),
        // Some writers do not say that a column is text.
        Field::Bytes(bytes) => Value::String(bytes.as_utf8().context("not UTF-8")?.into()),
        Field::Int(number) => Value::from(*number),
        Field::Long(number) => Value::from(*number),
        Field::UInt(number) => Value::from(*number),
        Field::ULong(number) => Value::from(*number),
        Field::Double(number) => Value::from(*number),
        Field::Float(number) => Value::from(*number),
        Field::Group(row) => Value::Object(object(row)?),
        Field::ListInternal(list) => {
            let values = list.elements().iter().map(value);
            Value::Array(values.collect::<anyhow::Result<_>>()?)
        }
        other => bail!("{other} is no text, number, list or struct"),
    })
}

#[cfg(test)]
mod tests;
