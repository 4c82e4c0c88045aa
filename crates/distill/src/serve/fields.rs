//! Fields of a request by name: what is absent or null is none, and what is of another type or out of bounds is refused by name.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::api_error::ApiError;

/// The fields of a JSON object, at some place of a request.
pub(super) struct Fields<'a> {
    object: &'a Map<String, Value>,
    /// What their names begin with in messages, such as `messages[0].`
    place: String,
}

impl<'a> Fields<'a> {
    /// The request itself.
    pub(super) fn of_request(value: &'a Value) -> Result<Self, ApiError> {
        let object = value.as_object();
        let object = object.ok_or_else(|| ApiError::request("the body is not a JSON object"))?;
        Ok(Self {
            object,
            place: String::new(),
        })
    }

    /// An object in the request, at `place`.
    pub(super) fn at(value: &'a Value, place: &str) -> Result<Self, ApiError> {
        let object = value.as_object();
        let object = object.ok_or_else(|| wrong(place, value, "an object"))?;
        let place = format!("{place}.");
        Ok(Self { object, place })
    }

    /// The full name of a field.
    pub(super) fn name(&self, name: &str) -> String {
        format!("{}{name}", self.place)
    }

    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        self.object.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn required(&self, name: &str) -> Result<&'a Value, ApiError> {
        let missing =
            || ApiError::field(self.name(name), format!("`{}` is missing", self.name(name)));
        self.get(name).ok_or_else(missing)
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<&'a str>, ApiError> {
        self.typed(name, "a string", Value::as_str)
    }

    pub(super) fn flag(&self, name: &str) -> Result<bool, ApiError> {
        let flag = self.typed(name, "true or false", Value::as_bool)?;
        Ok(flag.unwrap_or(false))
    }

    pub(super) fn whole(&self, name: &str) -> Result<Option<i64>, ApiError> {
        self.typed(name, "a whole number", Value::as_i64)
    }

    pub(super) fn number(
        &self,
        name: &str,
        range: RangeInclusive<f64>,
    ) -> Result<Option<f64>, ApiError> {
        let expected = format!("a number from {} to {}", range.start(), range.end());
        let within = |value: &Value| value.as_f64().filter(|number| range.contains(number));
        self.typed(name, &expected, within)
    }

    /// A number of things, at least 1.
    pub(super) fn count(&self, name: &str) -> Result<Option<usize>, ApiError> {
        let count = |value: &Value| value.as_u64().filter(|count| *count > 0);
        let count = self.typed(name, "a whole number from 1 on", count)?;
        Ok(count.map(|count| usize::try_from(count).unwrap_or(usize::MAX)))
    }

    /// Refuses a field that would change the reply, unless its value is one that does not.
    pub(super) fn unsupported(
        &self,
        name: &str,
        is_neutral: impl Fn(&Value) -> bool,
    ) -> Result<(), ApiError> {
        match self.get(name) {
            Some(value) if !is_neutral(value) => Err(ApiError::field(
                self.name(name),
                format!("`{}` is not supported here, leave it away", self.name(name)),
            )),
            _ => Ok(()),
        }
    }

    fn typed<T>(
        &self,
        name: &str,
        expected: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, ApiError> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let read = read(value).ok_or_else(|| wrong(&self.name(name), value, expected));
        read.map(Some)
    }
}

/// 400: the value of `name` is not what was `expected`.
pub(super) fn wrong(name: &str, value: &Value, expected: &str) -> ApiError {
    let found = match value {
        Value::String(_) => "a string".into(),
        Value::Array(_) => "an array".into(),
        Value::Object(_) => "an object".into(),
        other => other.to_string(),
    };
    ApiError::field(name, format!("`{name}` is {found}, must be {expected}"))
}
