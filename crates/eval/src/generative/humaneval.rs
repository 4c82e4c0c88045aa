//! HumanEval: a Python function to complete from its head. Replies are written here and run, if at all, elsewhere.
use serde_json::{Value, json};

use super::task::{Asked, GenerativeTask, Grade, Question};
use crate::fields::{FieldProblem, Fields};

pub(super) const TASK: GenerativeTask = GenerativeTask {
    name: "humaneval",
    version: "completion-1",
    split: "test",
    columns: &["task_id", "prompt", "test", "entry_point"],
    reply_tokens: 512,
    stops: &["\nclass ", "\ndef ", "\n#", "\nif ", "\nprint(", "\n```"],
    is_program: true,
    question,
    grade,
};

fn question(row: Fields) -> Result<Question, FieldProblem> {
    Ok(Question {
        id: row.id(),
        asked: Asked::Text(row.answer("prompt")?.to_string()),
        expected: json!({ "test": row.answer("test")?, "entry_point": row.answer("entry_point")? }),
    })
}

/// Whether it is right only its tests can say.
fn grade(_: &Question, reply: &str) -> Grade {
    Grade {
        found: (!reply.trim().is_empty()).then(|| reply.to_string()),
        value: None,
    }
}

/// The program that ends without an error if `reply` completes the question's function rightly.
///
/// `None` for a question of another task.
pub fn completion(question: &Question, reply: &str) -> Option<String> {
    let Asked::Text(prompt) = &question.asked else {
        return None;
    };
    let text = |key: &str| question.expected.get(key).and_then(Value::as_str);
    let (test, entry_point) = (text("test")?, text("entry_point")?);
    Some(format!("{prompt}{reply}\n{test}\ncheck({entry_point})\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_prompt_reply_and_test() {
        let row = json!({
            "task_id": "HumanEval/0", "prompt": "def one():\n", "test": "def check(f):\n    assert f() == 1", "entry_point": "one",
        });
        let question = TASK.question(&row).unwrap();
        assert_eq!(question.id, "HumanEval/0");
        assert_eq!(
            completion(&question, "    return 1").unwrap(),
            "def one():\n    return 1\ndef check(f):\n    assert f() == 1\ncheck(one)\n"
        );
        assert_eq!((TASK.grade)(&question, "    return 1").value, None);
    }
}
