//! Fields of a row, or what is wrong with them.
use serde_json::Value;

/// A field that is not what a task needs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` is {found}, expected {expected}")]
pub struct FieldProblem {
    /// Path of the field, with dots.
    pub field: String,
    /// What is there.
    pub found: String,
    /// What is needed.
    pub expected: String,
}

impl FieldProblem {
    /// What is wrong with the field at path `field`.
    pub fn new(
        field: impl Into<String>,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) -> Self {
        Self {
            field: field.into(),
            found: found.into(),
            expected: expected.into(),
        }
    }
}

/// A row of a task file.
#[derive(Clone, Copy)]
pub struct Fields<'a>(pub(crate) &'a Value);

impl<'a> Fields<'a> {
    /// Whether the row has the field at `path`.
    pub fn has(self, path: &str) -> bool {
        self.find(path).is_some()
    }

    fn find(self, path: &str) -> Option<&'a Value> {
        let mut value = self.0;
        for key in path.split('.') {
            let place = match value {
                Value::Array(list) => list.get(key.parse::<usize>().ok()?),
                other => other.get(key),
            };
            value = place.filter(|value| !value.is_null())?;
        }
        Some(value)
    }

    /// The field at `path`, keys or places in lists with dots between them.
    pub fn value(self, path: &str, expected: &str) -> Result<&'a Value, FieldProblem> {
        let missing = || FieldProblem::new(path, "missing", expected);
        self.find(path).ok_or_else(missing)
    }

    /// A text.
    pub fn text(self, path: &str) -> Result<&'a str, FieldProblem> {
        let value = self.value(path, "a text")?;
        let wrong = || FieldProblem::new(path, kind(value), "a text");
        value.as_str().ok_or_else(wrong)
    }

    /// A text with something in it: an answer to choose, of which a model says how likely it is.
    pub fn answer(self, path: &str) -> Result<&'a str, FieldProblem> {
        let text = self.text(path)?;
        match text.trim().is_empty() {
            true => Err(FieldProblem::new(path, "empty", "an answer to score")),
            false => Ok(text),
        }
    }

    /// A list of at least `least` texts, none of them empty.
    pub fn texts(self, path: &str, least: usize) -> Result<Vec<&'a str>, FieldProblem> {
        let texts = self.texts_or_empty(path, least)?;
        match texts.iter().position(|text| text.trim().is_empty()) {
            None => Ok(texts),
            Some(index) => {
                let expected = "a text with something in it";
                Err(FieldProblem::new(
                    format!("{path}.{index}"),
                    "empty",
                    expected,
                ))
            }
        }
    }

    /// A list of at least `least` texts.
    pub fn texts_or_empty(self, path: &str, least: usize) -> Result<Vec<&'a str>, FieldProblem> {
        let expected = format!("a list of at least {least} texts");
        let value = self.value(path, &expected)?;
        let wrong = |found: String| FieldProblem::new(path, found, expected.as_str());
        let list = value.as_array().ok_or_else(|| wrong(kind(value)))?;
        if list.len() < least {
            return Err(wrong(format!("a list of {}", list.len())));
        }
        let text = |(index, value): (usize, &'a Value)| {
            let wrong = || FieldProblem::new(format!("{path}.{index}"), kind(value), "a text");
            value.as_str().ok_or_else(wrong)
        };
        list.iter().enumerate().map(text).collect()
    }

    /// The name of a row: its `id`, `task_id` or `key`, or nothing.
    pub fn id(self) -> String {
        let found = ["id", "task_id", "key"]
            .iter()
            .find_map(|key| self.find(key));
        match found {
            Some(Value::String(id)) => id.clone(),
            Some(other) => other.to_string(),
            None => String::new(),
        }
    }

    /// A name at `path`: a text with something in it, or a whole number as text.
    pub fn name(self, path: &str) -> Result<String, FieldProblem> {
        let expected = "a text or a whole number";
        let value = self.value(path, expected)?;
        match value {
            Value::String(name) if !name.trim().is_empty() => Ok(name.clone()),
            Value::Number(number) if !number.is_f64() => Ok(number.to_string()),
            other => Err(FieldProblem::new(path, shown(other), expected)),
        }
    }

    /// A number.
    pub fn number(self, path: &str) -> Result<f64, FieldProblem> {
        let value = self.value(path, "a number")?;
        let wrong = || FieldProblem::new(path, shown(value), "a number");
        value.as_f64().ok_or_else(wrong)
    }

    /// A whole number from 0 on, also written as `2.0`.
    pub fn count(self, path: &str) -> Result<usize, FieldProblem> {
        let expected = "a whole number from 0 on";
        let value = self.value(path, expected)?;
        let whole = value
            .as_f64()
            .filter(|number| *number >= 0.0 && number.fract() == 0.0);
        let wrong = || FieldProblem::new(path, shown(value), expected);
        whole.map(|number| number as usize).ok_or_else(wrong)
    }

    /// A number from 0 to below `count`, also written as text.
    pub fn index(self, path: &str, count: usize) -> Result<usize, FieldProblem> {
        let expected = format!("a number from 0 to {}", count - 1);
        let value = self.value(path, &expected)?;
        let number = match value {
            Value::String(text) => text.trim().parse().ok(),
            other => other.as_u64(),
        };
        let found = number.and_then(|number| usize::try_from(number).ok());
        let wrong = || FieldProblem::new(path, shown(value), expected.as_str());
        found.filter(|index| *index < count).ok_or_else(wrong)
    }

    /// The place of a text among `names`.
    pub fn place(self, path: &str, names: &[&str]) -> Result<usize, FieldProblem> {
        let text = self.text(path)?.trim();
        let found = names.iter().position(|name| *name == text);
        found.ok_or_else(|| {
            let expected = format!("one of `{}`", names.join("`, `"));
            FieldProblem::new(path, format!("`{text}`"), expected)
        })
    }
}

fn kind(value: &Value) -> String {
    match value {
        Value::Null => "missing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
    .into()
}

fn shown(value: &Value) -> String {
    match value {
        Value::Number(_) | Value::String(_) | Value::Bool(_) => value.to_string(),
        other => kind(other),
    }
}
