//! MMLU: exams in 57 subjects, answered with a letter.
use super::task::{Gold, Item, Metric, Task};
use crate::fields::{FieldProblem, Fields};

pub(super) const TASK: Task = Task {
    name: "mmlu",
    version: "1.0",
    split: "test",
    examples: "dev",
    columns: &["question", "subject", "choices", "answer"],
    metrics: &[Metric::AccGroups, Metric::Acc],
    item,
};

const LETTERS: [&str; 4] = ["A", "B", "C", "D"];

fn item(row: Fields) -> Result<Item, FieldProblem> {
    let subject = row.text("subject")?;
    let choices = row.texts_or_empty("choices", LETTERS.len())?;
    if choices.len() > LETTERS.len() {
        let found = format!("a list of {}", choices.len());
        return Err(FieldProblem::new("choices", found, "a list of 4 texts"));
    }
    let mut context = format!("{}\n", row.text("question")?.trim());
    for (letter, choice) in LETTERS.iter().zip(&choices) {
        context += &format!("{letter}. {choice}\n");
    }
    context += "Answer:";
    let gold = Gold::One(row.index("answer", LETTERS.len())?);
    Ok(Item {
        description: format!(
            "The following are multiple choice questions (with answers) about {}.\n\n",
            subject.replace('_', " ")
        ),
        group: Some(subject.to_string()),
        ..Item::of(context, LETTERS, gold)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_letter_is_the_answer() {
        let row = json!({"question": " 1 + 1? ", "subject": "high_school_mathematics", "choices": ["1", "2", "3", "4"], "answer": 1});
        let item = TASK.item(&row).unwrap();
        assert_eq!(
            item.as_example(),
            "1 + 1?\nA. 1\nB. 2\nC. 3\nD. 4\nAnswer: B\n\n"
        );
        assert_eq!(
            item.description,
            "The following are multiple choice questions (with answers) about high school mathematics.\n\n"
        );
    }
}
