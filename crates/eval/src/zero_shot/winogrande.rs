//! WinoGrande: who or what is meant? Each name is put into the blank; only what follows the blank is scored.
use super::task::{Choice, Gold, Item, Metric, Task};
use crate::fields::{FieldProblem, Fields};

pub(super) const TASK: Task = Task {
    name: "winogrande",
    version: "1.0",
    split: "validation",
    examples: "train",
    columns: &["sentence", "option1", "option2", "answer"],
    metrics: &[Metric::Acc],
    item,
};

fn item(row: Fields) -> Result<Item, FieldProblem> {
    let sentence = row.text("sentence")?;
    let (before, after) = sentence.split_once('_').ok_or_else(|| {
        FieldProblem::new(
            "sentence",
            format!("`{sentence}`"),
            "a sentence with a blank `_`",
        )
    })?;
    let answer = after.trim();
    if answer.is_empty() {
        let expected = "a sentence that goes on after its blank `_`";
        return Err(FieldProblem::new(
            "sentence",
            format!("`{sentence}`"),
            expected,
        ));
    }
    let choice = |option: &str| Choice {
        context: format!("{before}{option}"),
        answer: answer.into(),
    };
    Ok(Item {
        description: String::new(),
        choices: vec![
            choice(row.answer("option1")?),
            choice(row.answer("option2")?),
        ],
        gold: Gold::One(row.place("answer", &["1", "2"])?),
        group: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_option_fills_the_blank_and_the_rest_is_the_answer() {
        let row = json!({
            "sentence": "Sarah was better than Maria so _ got the easy cases.", "option1": "Sarah", "option2": "Maria", "answer": "2",
        });
        let item = TASK.item(&row).unwrap();
        assert_eq!(
            item.choices[0].context,
            "Sarah was better than Maria so Sarah"
        );
        assert_eq!(
            item.choices[1].context,
            "Sarah was better than Maria so Maria"
        );
        assert_eq!(item.choices[0].answer, "got the easy cases.");
        assert_eq!(item.gold, Gold::One(1));
        assert_eq!(
            item.as_example(),
            "Sarah was better than Maria so Maria got the easy cases.\n\n"
        );
    }
}
