//! Where two plans differ.
use serde_json::Value;

use super::Plan;

/// A field in which two plans differ.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanDifference {
    /// Dotted path of the field.
    pub path: String,
    /// Its value in the first plan, as JSON; `null` where it is absent.
    pub run: Value,
    /// Its value in the other.
    pub other: Value,
}

impl Plan {
    /// The fields in which another plan differs, in the order of this one.
    pub fn differences(&self, other: &Self) -> Vec<PlanDifference> {
        let json = |plan: &Self| {
            serde_json::to_value(plan).expect("a plan holds only numbers, strings and lists")
        };
        let mut found = Vec::new();
        compare("", &json(self), &json(other), &mut found);
        found
    }
}

fn compare(path: &str, run: &Value, other: &Value, found: &mut Vec<PlanDifference>) {
    let join = |key: &str| match path {
        "" => key.to_string(),
        path => format!("{path}.{key}"),
    };
    match (run, other) {
        (Value::Object(run), Value::Object(other)) => {
            for (key, value) in run {
                compare(
                    &join(key),
                    value,
                    other.get(key).unwrap_or(&Value::Null),
                    found,
                );
            }
            for (key, value) in other.iter().filter(|(key, _)| !run.contains_key(*key)) {
                compare(&join(key), &Value::Null, value, found);
            }
        }
        (Value::Array(run), Value::Array(other)) if run.len() == other.len() => {
            for (index, (run, other)) in run.iter().zip(other).enumerate() {
                compare(&join(&index.to_string()), run, other, found);
            }
        }
        _ if run == other => {}
        _ => found.push(PlanDifference {
            path: path.into(),
            run: run.clone(),
            other: other.clone(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::{Recipe, default_recipe};

    #[test]
    fn every_field_that_differs_is_found_and_no_other() {
        let plan = |set: &[&str]| {
            let set: Vec<String> = set.iter().map(|set| (*set).into()).collect();
            let recipe = Recipe::parse(default_recipe(None), "default", &set).unwrap();
            Plan::resolve(&recipe, "default").unwrap()
        };
        let (one, two) = (plan(&[]), plan(&["eval.samples=5", "data.seq_len=99"]));
        let found = one.differences(&two);
        let paths: Vec<&str> = found.iter().map(|one| one.path.as_str()).collect();
        assert_eq!(paths, ["data.seq_len", "eval.samples"]);
        assert_eq!(
            (&found[1].run, &found[1].other),
            (&Value::Null, &Value::from(5))
        );
        assert!(one.differences(&one.clone()).is_empty());
    }
}
