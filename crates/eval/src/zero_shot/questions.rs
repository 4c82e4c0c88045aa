//! PIQA, ARC and OpenBookQA: questions with answers in words.
use super::task::{Gold, Item, Metric, Task};
use crate::fields::{FieldProblem, Fields};

pub(super) const PIQA: Task = Task {
    name: "piqa",
    version: "1.0",
    split: "validation",
    examples: "train",
    columns: &["goal", "sol1", "sol2", "label"],
    metrics: &[Metric::Acc, Metric::AccNorm],
    item: piqa,
};

pub(super) const ARC_EASY: Task = Task {
    name: "arc_easy",
    metrics: &[Metric::Acc, Metric::AccNorm],
    ..ARC_CHALLENGE
};

pub(super) const ARC_CHALLENGE: Task = Task {
    name: "arc_challenge",
    version: "1.0",
    split: "test",
    examples: "train",
    columns: &["question", "choices", "answerKey"],
    metrics: &[Metric::AccNorm, Metric::Acc],
    item: arc,
};

pub(super) const OPENBOOKQA: Task = Task {
    name: "openbookqa",
    version: "1.0",
    split: "test",
    examples: "train",
    columns: &["question_stem", "choices", "answerKey"],
    metrics: &[Metric::AccNorm, Metric::Acc],
    item: openbookqa,
};

fn piqa(row: Fields) -> Result<Item, FieldProblem> {
    let context = format!("Question: {}\nAnswer:", row.text("goal")?);
    let answers = [row.answer("sol1")?, row.answer("sol2")?];
    Ok(Item::of(
        context,
        answers,
        Gold::One(row.index("label", 2)?),
    ))
}

fn arc(row: Fields) -> Result<Item, FieldProblem> {
    let context = format!("Question: {}\nAnswer:", row.text("question")?);
    labelled(row, context)
}

fn openbookqa(row: Fields) -> Result<Item, FieldProblem> {
    labelled(row, row.text("question_stem")?.to_string())
}

/// Answers with labels of their own, of which `answerKey` is one.
fn labelled(row: Fields, context: String) -> Result<Item, FieldProblem> {
    let answers = row.texts("choices.text", 2)?;
    let labels = row.texts("choices.label", answers.len())?;
    let gold = row.place("answerKey", &labels)?;
    if gold >= answers.len() {
        let found = format!("a list of {}", labels.len());
        let expected = format!("as many labels as choices, {}", answers.len());
        return Err(FieldProblem::new("choices.label", found, expected));
    }
    Ok(Item::of(context, answers, Gold::One(gold)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn questions_are_asked_as_in_the_harness() {
        let piqa =
            json!({"goal": "Boil an egg.", "sol1": "In water.", "sol2": "In sand.", "label": 0});
        let item = PIQA.item(&piqa).unwrap();
        assert_eq!(
            item.as_example(),
            "Question: Boil an egg.\nAnswer: In water.\n\n"
        );
        let choices = json!({"text": ["dry", "wet", "hot"], "label": ["1", "2", "3"]});
        let arc = json!({"question": "How is rain?", "choices": choices, "answerKey": "2"});
        for task in [ARC_EASY, ARC_CHALLENGE] {
            let item = task.item(&arc).unwrap();
            assert_eq!(item.as_example(), "Question: How is rain?\nAnswer: wet\n\n");
        }
        let book = json!({"question_stem": "Rain is", "choices": {"text": ["dry", "wet"], "label": ["A", "B"]}, "answerKey": "B "});
        assert_eq!(
            OPENBOOKQA.item(&book).unwrap().as_example(),
            "Rain is wet\n\n"
        );
        let wrong = json!({"question_stem": "Rain is", "choices": {"text": ["dry", "wet"], "label": ["A", "B"]}, "answerKey": "E"});
        assert_eq!(
            OPENBOOKQA.item(&wrong).unwrap_err().to_string(),
            "`answerKey` is `E`, expected one of `A`, `B`"
        );
    }
}
