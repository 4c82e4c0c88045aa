//! CRUX: what does a Python function return? Zero-shot with reasoning and a JSON reply, as in ZeroEval's protocol.
use serde_json::json;

use super::reply::json_answer;
use super::task::{Asked, GenerativeTask, Grade, Question};
use crate::fields::{FieldProblem, Fields};
use crate::python_literal;

pub(super) const TASK: GenerativeTask = GenerativeTask {
    name: "crux",
    version: "json-1",
    split: "test",
    columns: &["id", "code", "input", "output"],
    reply_tokens: 512,
    stops: &[],
    is_program: false,
    question,
    grade,
};

fn question(row: Fields) -> Result<Question, FieldProblem> {
    let asked = format!(
        "# Instruction\n\nA Python function and an input are given. Say what the function returns for the input, as a Python \
         literal, by first reasoning about each step and then providing the answer, even if the function is wrong or incomplete.\n\
         Present your reasoning and solution in the following json format.\n\
         Please show your final answer in the `answer` field as a text.\n\n\
         ```json\n{{\n    \"reasoning\": \"___\",\n    \"answer\": \"___\"\n}}\n```\n\n\
         # Function\n\n```python\n{}\n```\n\n# Input\n\nf({})",
        row.answer("code")?,
        row.text("input")?
    );
    Ok(Question {
        id: row.id(),
        asked: Asked::Chat(asked),
        expected: json!(row.answer("output")?),
    })
}

/// Equal as Python values, else letter by letter without quotes around.
fn grade(question: &Question, reply: &str) -> Grade {
    let found = json_answer(reply, "answer");
    let expected = question.expected.as_str().unwrap_or_default();
    let is_right = found
        .as_deref()
        .is_some_and(|found| is_equal(found, expected));
    Grade::of(found, is_right)
}

fn is_equal(found: &str, expected: &str) -> bool {
    if let (Ok(found), Ok(expected)) = (
        python_literal::parse(found),
        python_literal::parse(expected),
    ) {
        return found == expected;
    }
    let bare = |text: &str| {
        text.trim()
            .trim_matches(|letter| letter == '\'' || letter == '"')
            .to_string()
    };
    bare(found) == bare(expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_count_and_not_their_spelling() {
        let row = json!({"id": "sample_0", "code": "def f(x):\n    return [x, 'a']", "input": "(1)", "output": "[1, 'a']"});
        let question = TASK.question(&row).unwrap();
        for (reply, value) in [
            (r#"{"reasoning": "", "answer": "[1,\"a\"]"}"#, 1.0),
            (r#"{"reasoning": "", "answer": "[1,'a']"}"#, 1.0),
            (r#"{"answer": [1, "a"]}"#, 1.0),
            (r#"{"answer": "[1]"}"#, 0.0),
            ("[1, 'a']", 0.0),
        ] {
            assert_eq!((TASK.grade)(&question, reply).value, Some(value), "{reply}");
        }
        assert!(is_equal("abc", "'abc'") && is_equal("True", "True") && !is_equal("True", "1"));
    }
}
