//! GSM8K: sums in words. Zero-shot with reasoning, a JSON reply, and the number in it (ZeroEval's protocol, method 6).
use serde_json::json;

use super::reply::{json_answer, numbers};
use super::task::{Asked, GenerativeTask, Grade, Question};
use crate::fields::{FieldProblem, Fields};

pub(super) const TASK: GenerativeTask = GenerativeTask {
    name: "gsm8k",
    version: "zeroeval-1",
    split: "test",
    columns: &["id", "question", "answer", "prompt", "expected"],
    reply_tokens: 512,
    stops: &[],
    is_program: false,
    question,
    grade,
};

fn question(row: Fields) -> Result<Question, FieldProblem> {
    let (text, answer) = match row.has("question") {
        true => ("question", "answer"),
        false => ("prompt", "expected"),
    };
    let answer_text = row.text(answer)?;
    // The hub's answers end with `#### NUMBER`.
    let last = answer_text.rsplit("####").next().unwrap_or_default();
    let number = numbers(last).pop().ok_or_else(|| {
        FieldProblem::new(
            answer,
            format!("`{answer_text}`"),
            "a text that ends with a number",
        )
    })?;
    let asked = format!(
        "# Instruction\n\nPlease answer this question by first reasoning and then providing the answer.\n\
         Present your reasoning and solution in the following json format.\n\
         Please show your final answer in the `answer` field, e.g., `\"answer\": \"42\"`.\n\n\
         ```json\n{{\n    \"reasoning\": \"___\",\n    \"answer\": \"___\"\n}}\n```\n\n\
         # Question\n\n{}",
        row.answer(text)?
    );
    Ok(Question {
        id: row.id(),
        asked: Asked::Chat(asked),
        expected: json!(number),
    })
}

/// The number of the `answer` field, else the last of the reply.
fn grade(question: &Question, reply: &str) -> Grade {
    let of_answer =
        json_answer(reply, "answer").and_then(|answer| numbers(&answer).into_iter().next());
    let found = of_answer.or_else(|| numbers(reply).pop());
    let is_right = found.as_deref() == question.expected.as_str();
    Grade::of(found, is_right)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_schemas_are_read_and_replies_graded_by_their_number() {
        let hub = json!({"question": "How many?", "answer": "1 + 1 = <<1+1=2>>2\n#### 1,200"});
        let flat = json!({"id": "x-1", "prompt": "How many?", "expected": "1200"});
        let question = TASK.question(&flat).unwrap();
        assert_eq!(question.id, "x-1");
        assert_eq!(question.expected, TASK.question(&hub).unwrap().expected);
        let Asked::Chat(asked) = &question.asked else {
            panic!("not a chat")
        };
        assert!(asked.ends_with("# Question\n\nHow many?"), "{asked}");
        for (reply, value) in [
            (r#"{"reasoning": "3 apples", "answer": "$1,200.00"}"#, 1.0),
            ("First 3, then the total is 1200 dollars.", 1.0),
            (r#"{"answer": "12"} of 1200"#, 0.0),
            ("I do not know", 0.0),
        ] {
            assert_eq!((TASK.grade)(&question, reply).value, Some(value), "{reply}");
        }
        let wrong = json!({"question": "How many?", "answer": "none"});
        assert_eq!(
            TASK.question(&wrong).unwrap_err().to_string(),
            "`answer` is `none`, expected a text that ends with a number"
        );
    }
}
