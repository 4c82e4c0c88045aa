//! PubMedQA: does an abstract say yes, no or maybe?
use super::task::{Gold, Item, Metric, Task};
use crate::fields::{FieldProblem, Fields};

pub(super) const TASK: Task = Task {
    name: "pubmedqa",
    version: "1.0",
    split: "test",
    examples: "",
    columns: &[
        "QUESTION",
        "CONTEXTS",
        "question",
        "context",
        "final_decision",
    ],
    metrics: &[Metric::Acc],
    item,
};

const ANSWERS: [&str; 3] = ["yes", "no", "maybe"];

/// The harness' source spells its columns in capitals; the authors' hub folder does not.
fn item(row: Fields) -> Result<Item, FieldProblem> {
    let (question, contexts) = match row.has("QUESTION") {
        true => ("QUESTION", "CONTEXTS"),
        false => ("question", "context.contexts"),
    };
    let context = format!(
        "Abstract: {}\nQuestion: {}\nAnswer:",
        row.texts(contexts, 1)?.join("\n"),
        row.text(question)?
    );
    let gold = Gold::One(row.place("final_decision", &ANSWERS)?);
    Ok(Item::of(context, ANSWERS, gold))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn both_spellings_ask_the_same() {
        let capitals = json!({"QUESTION": "Does it?", "CONTEXTS": ["One.", "Two."], "final_decision": "maybe"});
        let small = json!({"question": "Does it?", "context": {"contexts": ["One.", "Two."]}, "final_decision": "maybe"});
        let item = TASK.item(&capitals).unwrap();
        assert_eq!(item, TASK.item(&small).unwrap());
        assert_eq!(
            item.as_example(),
            "Abstract: One.\nTwo.\nQuestion: Does it?\nAnswer: maybe\n\n"
        );
    }
}
