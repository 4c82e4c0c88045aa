//! IFEval: instructions whose keeping a rule can check (arXiv 2311.07911). The value of a reply is the share of its
//! instructions that it keeps; `found` says whether it keeps all.
mod rules;

use serde_json::{Value, json};

use super::task::{Asked, GenerativeTask, Grade, Question};
use crate::fields::{FieldProblem, Fields};

pub(super) const TASK: GenerativeTask = GenerativeTask {
    name: "ifeval",
    version: "rules-1",
    split: "train",
    columns: &["key", "prompt", "instruction_id_list", "kwargs"],
    reply_tokens: 1024,
    stops: &[],
    is_program: false,
    question,
    grade,
};

fn question(row: Fields) -> Result<Question, FieldProblem> {
    let ids = row.texts("instruction_id_list", 1)?;
    let expected = format!("a list of {}, one an instruction", ids.len());
    let value = row.value("kwargs", &expected)?;
    let wrong = || FieldProblem::new("kwargs", value.to_string(), expected.as_str());
    let arguments = value.as_array().filter(|list| list.len() == ids.len());
    let arguments = arguments.ok_or_else(wrong)?;
    let prompt = row.answer("prompt")?;
    for (index, (id, arguments)) in ids.iter().zip(arguments).enumerate() {
        rules::check(id, Fields(arguments), prompt, "").map_err(|problem| FieldProblem {
            field: match problem.field.as_str() {
                "" => format!("instruction_id_list.{index}"),
                field => format!("kwargs.{index}.{field}"),
            },
            ..problem
        })?;
    }
    Ok(Question {
        id: row.id(),
        asked: Asked::Chat(prompt.to_string()),
        expected: json!({ "prompt": prompt, "ids": ids, "kwargs": arguments }),
    })
}

fn grade(question: &Question, reply: &str) -> Grade {
    let list = |key: &str| {
        question.expected[key]
            .as_array()
            .cloned()
            .unwrap_or_default()
    };
    let prompt = question.expected["prompt"].as_str().unwrap_or_default();
    let (ids, arguments) = (list("ids"), list("kwargs"));
    let is_kept = |(id, arguments): (&Value, &Value)| {
        let id = id.as_str().unwrap_or_default();
        // Checked when the row was read.
        rules::check(id, Fields(arguments), prompt, reply).unwrap_or(Some(false))
    };
    let kept: Vec<bool> = ids.iter().zip(&arguments).filter_map(is_kept).collect();
    let share = |count: usize| count as f64 / kept.len() as f64;
    let is_empty = reply.trim().is_empty();
    Grade {
        found: (!is_empty).then(|| {
            if kept.iter().all(|kept| *kept) {
                "all".into()
            } else {
                "some".into()
            }
        }),
        value: (!kept.is_empty()).then(|| {
            if is_empty {
                0.0
            } else {
                share(kept.iter().filter(|kept| **kept).count())
            }
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_worth_the_share_of_instructions_that_it_keeps() {
        let row = json!({
            "key": 7, "prompt": "Say hello.", "instruction_id_list": ["punctuation:no_comma", "change_case:english_lowercase"],
            "kwargs": [{}, {}],
        });
        let question = TASK.question(&row).unwrap();
        assert_eq!(question.id, "7");
        for (reply, value) in [
            ("hello there", 1.0),
            ("hello, there", 0.5),
            ("Hello, there", 0.0),
            ("", 0.0),
        ] {
            assert_eq!((TASK.grade)(&question, reply).value, Some(value), "{reply}");
        }
        let unknown = json!({"prompt": "p", "instruction_id_list": ["a:b"], "kwargs": [{}]});
        assert_eq!(
            TASK.question(&unknown).unwrap_err().to_string(),
            "`instruction_id_list.0` is `a:b`, expected an instruction of IFEval"
        );
        let lacks =
            json!({"prompt": "p", "instruction_id_list": ["keywords:existence"], "kwargs": [{}]});
        assert_eq!(
            TASK.question(&lacks).unwrap_err().to_string(),
            "`kwargs.0.keywords` is missing, expected a list of at least 1 texts"
        );
        // No rule tells languages apart: such a question has no value.
        let language = json!({"prompt": "p", "instruction_id_list": ["language:response_language"], "kwargs": [{"language": "de"}]});
        assert_eq!(
            (TASK.grade)(&TASK.question(&language).unwrap(), "Hallo").value,
            None
        );
    }
}
