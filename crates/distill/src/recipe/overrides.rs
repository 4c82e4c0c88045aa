//! `--set key=value`: one value of a recipe changed from the command line.
use toml::{Table, Value};

use crate::error::DistillError;

/// Applies `dotted.key=value` arguments in order; the value is read as TOML, and as a plain string if it is not TOML.
///
/// # Errors
/// [`DistillError::Override`] for a missing `=`, an empty key, or a path through something that is not a table.
pub fn apply_overrides(table: &mut Table, overrides: &[String]) -> Result<(), DistillError> {
    for argument in overrides {
        let refuse = |reason: String| DistillError::Override {
            argument: argument.clone(),
            reason,
        };
        let (key, value) = argument.split_once('=').ok_or_else(|| {
            refuse("found no `=`, expected `key=value` such as `sft.steps=10`".into())
        })?;
        let parts: Vec<&str> = key.trim().split('.').collect();
        let Some((last, path)) = parts
            .split_last()
            .filter(|_| parts.iter().all(|part| !part.is_empty()))
        else {
            return Err(refuse(
                "the key has an empty part, expected a form like `sft.steps`".into(),
            ));
        };
        let mut at = &mut *table;
        for part in path {
            let entry = at
                .entry((*part).to_string())
                .or_insert_with(|| Value::Table(Table::new()));
            at = entry
                .as_table_mut()
                .ok_or_else(|| refuse(format!("`{part}` is a value, not a table")))?;
        }
        at.insert((*last).to_string(), parse_value(value.trim()));
    }
    Ok(())
}

fn parse_value(text: &str) -> Value {
    toml::from_str::<Table>(&format!("value = {text}"))
        .ok()
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| Value::String(text.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(argument: &str) -> Result<Table, DistillError> {
        let mut table: Table = toml::from_str("[sft]\nsteps = 3\n").expect("literal");
        apply_overrides(&mut table, &[argument.to_string()])?;
        Ok(table)
    }

    #[test]
    fn values_are_toml_or_plain_strings() {
        assert_eq!(
            set("sft.steps=10").unwrap()["sft"]["steps"].as_integer(),
            Some(10)
        );
        assert_eq!(
            set("sft.betas=[0.9, 0.98]").unwrap()["sft"]["betas"]
                .as_array()
                .unwrap()
                .len(),
            2
        );
        assert_eq!(
            set("student.mixer=mamba1").unwrap()["student"]["mixer"].as_str(),
            Some("mamba1")
        );
        assert_eq!(
            set("teacher.path=a/b.gguf").unwrap()["teacher"]["path"].as_str(),
            Some("a/b.gguf")
        );
    }

    #[test]
    fn bad_arguments_are_refused() {
        for argument in ["sft.steps", "=3", "sft..steps=3", "sft.steps.deep=1"] {
            assert!(set(argument).is_err(), "{argument}");
        }
    }
}
