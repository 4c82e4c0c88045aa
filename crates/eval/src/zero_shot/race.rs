//! RACE: questions about an English text. All but the last are shown with their answers.
use std::borrow::Cow;

use serde_json::Value;

use super::task::{Gold, Item, Metric, Task};
use crate::fields::{FieldProblem, Fields};
use crate::python_literal;

pub(super) const TASK: Task = Task {
    name: "race",
    version: "2.0",
    split: "test",
    examples: "",
    columns: &["article", "problems", "question", "options", "answer"],
    metrics: &[Metric::Acc],
    item,
};

const LETTERS: [&str; 4] = ["A", "B", "C", "D"];

/// The harness' source has all questions about a text in one row, as a Python list in a text; a list is read too. Rows with
/// one `question` each, as in the authors' hub folder, are asked alone.
fn item(row: Fields) -> Result<Item, FieldProblem> {
    let mut context = format!("Article: {}\n\n", row.text("article")?);
    if !row.has("problems") {
        context += row.text("question")?;
        return Ok(Item::of(context, options(row)?, gold(row)?));
    }
    let problems = problems(row)?;
    let wrong = |index: usize| {
        move |problem: FieldProblem| FieldProblem {
            field: format!("problems.{index}.{}", problem.field),
            ..problem
        }
    };
    let Some((last, shown)) = problems.split_last() else {
        return Err(FieldProblem::new(
            "problems",
            "a list of 0",
            "a list of questions",
        ));
    };
    for (index, problem) in shown.iter().enumerate() {
        context += &answered(Fields(problem)).map_err(wrong(index))?;
    }
    let asked = || {
        let row = Fields(last);
        Ok((row.text("question")?, options(row)?, gold(row)?))
    };
    let (question, options, gold) = asked().map_err(wrong(shown.len()))?;
    Ok(Item::of(context + question, options, gold))
}

fn problems<'a>(row: Fields<'a>) -> Result<Cow<'a, [Value]>, FieldProblem> {
    let expected = "a list of questions";
    match row.value("problems", expected)? {
        Value::Array(problems) => Ok(Cow::Borrowed(problems)),
        Value::String(text) => match python_literal::parse(text) {
            Ok(Value::Array(problems)) => Ok(Cow::Owned(problems)),
            Ok(_) => Err(FieldProblem::new("problems", "no list", expected)),
            Err(problem) => Err(FieldProblem::new("problems", problem, expected)),
        },
        _ => Err(FieldProblem::new("problems", "no list", expected)),
    }
}

/// A question with its answer; one that ends with a blank is continued.
fn answered(row: Fields) -> Result<String, FieldProblem> {
    let question = row.text("question")?;
    let Gold::One(right) = gold(row)? else {
        unreachable!("`gold` gives one");
    };
    let answer = options(row)?[right];
    Ok(match question.ends_with("  _  .") {
        true => format!("{}{answer}\n", &question[question.len() - 5..]),
        false => format!("Question: {question}\nAnswer: {answer}\n"),
    })
}

fn options<'a>(row: Fields<'a>) -> Result<Vec<&'a str>, FieldProblem> {
    let mut options = row.texts("options", LETTERS.len())?;
    options.truncate(LETTERS.len());
    Ok(options)
}

fn gold(row: Fields) -> Result<Gold, FieldProblem> {
    Ok(Gold::One(row.place("answer", &LETTERS)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn earlier_questions_are_shown_with_their_answers() {
        let problems = "[{'question': 'Who ran?', 'answer': 'B', 'options': ['Al', \"Bo's dog\", 'Cy', 'Di']}, \
                        {'question': 'They went  _  .', 'answer': 'A', 'options': ['home', 'b', 'c', 'd']}, \
                        {'question': 'Why?', 'answer': 'D', 'options': ['w', 'x', 'y', 'z']}]";
        let item = TASK
            .item(&json!({"article": "Text.", "problems": problems}))
            .unwrap();
        let context = "Article: Text.\n\nQuestion: Who ran?\nAnswer: Bo's dog\n _  .home\nWhy?";
        assert_eq!(item.choices[1].context, context);
        assert_eq!(item.choices[3].answer, "z");
        assert_eq!(item.gold, Gold::One(3));

        let one = json!({"article": "Text.", "question": "Why?", "options": ["w", "x", "y", "z"], "answer": "C"});
        assert_eq!(
            TASK.item(&one).unwrap().choices[0].context,
            "Article: Text.\n\nWhy?"
        );
        let wrong = json!({"article": "Text.", "problems": [{"question": "Why?", "options": ["w"], "answer": "C"}]});
        assert_eq!(
            TASK.item(&wrong).unwrap_err().to_string(),
            "`problems.0.options` is a list of 1, expected a list of at least 4 texts"
        );
    }
}
