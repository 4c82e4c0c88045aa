//! HellaSwag: how does a scene go on?
use super::task::{Gold, Item, Metric, Task};
use crate::fields::{FieldProblem, Fields};

pub(super) const TASK: Task = Task {
    name: "hellaswag",
    version: "1.0",
    split: "validation",
    examples: "train",
    columns: &[
        "activity_label",
        "ctx_a",
        "ctx_b",
        "ctx",
        "endings",
        "label",
        "expected_index",
    ],
    metrics: &[Metric::AccNorm, Metric::Acc],
    item,
};

/// Of the hub's rows `ctx_a`, and `ctx_b` with a capital letter, are put together; rows with `ctx` alone have both in it.
fn item(row: Fields) -> Result<Item, FieldProblem> {
    let context = if row.has("ctx_a") {
        let after = row.has("ctx_b").then(|| row.text("ctx_b")).transpose()?;
        format!(
            "{} {}",
            row.text("ctx_a")?,
            capitalised(after.unwrap_or_default())
        )
    } else {
        row.text("ctx")?.to_string()
    };
    let endings = row.texts("endings", 2)?;
    let label = match row.has("label") {
        true => "label",
        false => "expected_index",
    };
    let gold = Gold::One(row.index(label, endings.len())?);
    let query = format!("{}: {context}", row.text("activity_label")?);
    let endings = endings.into_iter().map(cleaned);
    Ok(Item::of(cleaned(&query), endings, gold))
}

/// First letter upper case, the others lower case, as Python's `capitalize`.
fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string());
    first.unwrap_or_default() + &letters.as_str().to_lowercase()
}

/// Without what WikiHow's pages leave in brackets.
fn cleaned(text: &str) -> String {
    let text = text.trim().replace(" [title]", ". ");
    let mut kept = String::new();
    let mut rest = text.as_str();
    while let Some(open) = rest.find('[') {
        // A bracket that is not closed on its line stays.
        let close = rest[open..].find(']').map(|close| open + close);
        match close.filter(|close| !rest[open..*close].contains('\n')) {
            Some(close) => {
                kept.push_str(&rest[..open]);
                rest = &rest[close + 1..];
            }
            None => {
                kept.push_str(&rest[..=open]);
                rest = &rest[open + 1..];
            }
        }
    }
    (kept + rest).replace("  ", " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn both_schemas_give_the_question_of_the_harness() {
        let hub = json!({
            "activity_label": "Roof shingle removal", "ctx_a": "A man is sitting on a roof.", "ctx_b": "he",
            "ctx": "A man is sitting on a roof. he", "endings": ["is [substeps] using wrap.", "starts pulling up roofing  on a roof."],
            "label": "1",
        });
        let item = TASK.item(&hub).unwrap();
        let context = "Roof shingle removal: A man is sitting on a roof. He";
        assert_eq!(item.choices[0].context, context);
        assert_eq!(item.choices[0].answer, "is using wrap.");
        assert_eq!(
            item.choices[1].answer,
            "starts pulling up roofing on a roof."
        );
        assert_eq!(item.gold, Gold::One(1));
        let flat = json!({
            "activity_label": "Paintball", "ctx": "They run. they", "endings": ["a", "b", "c"], "expected_index": 2,
        });
        let item = TASK.item(&flat).unwrap();
        assert_eq!(item.choices[2].context, "Paintball: They run. they");
        assert_eq!(item.gold, Gold::One(2));
    }

    #[test]
    fn titles_become_sentences_and_open_brackets_stay() {
        assert_eq!(
            cleaned(" How to bake [title] Mix. [step] Stir [it"),
            "How to bake. Mix. Stir [it"
        );
    }
}
