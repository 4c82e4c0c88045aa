//! LAMBADA: the last word of a passage.
use super::task::{Gold, Item, Metric, Task};
use crate::fields::{FieldProblem, Fields};

pub(super) const TASK: Task = Task {
    name: "lambada",
    version: "1.0",
    split: "test",
    examples: "",
    columns: &["text"],
    metrics: &[Metric::Perplexity, Metric::Acc],
    item,
};

fn item(row: Fields) -> Result<Item, FieldProblem> {
    let text = row.text("text")?;
    match text.rsplit_once(' ') {
        Some((context, word)) if !context.trim().is_empty() && !word.is_empty() => {
            Ok(Item::of(context, [word], Gold::Greedy))
        }
        _ => {
            let expected = "a passage of several words that ends with one";
            Err(FieldProblem::new("text", format!("`{text}`"), expected))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_last_word_is_asked_for() {
        let item = TASK
            .item(&json!({"text": "in my palm is a clear stone"}))
            .unwrap();
        assert_eq!(item.choices[0].context, "in my palm is a clear");
        assert_eq!(item.choices[0].answer, "stone");
        for text in ["stone", "stone ", ""] {
            TASK.item(&json!({"text": text})).unwrap_err();
        }
    }
}
