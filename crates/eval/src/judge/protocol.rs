//! Questions and answers in the schemas in which they are published.
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::fields::{FieldProblem, Fields};

/// A benchmark of chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// Two turns, each graded from 1 to 10, or compared with another model's.
    MtBench,
    /// One turn, compared with a baseline's.
    AlpacaEval,
}

/// A question with what its judge may see.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChatQuestion {
    /// `question_id` of MT-Bench; of AlpacaEval, which has none, the number of the row from 1.
    pub id: String,
    /// `category` of MT-Bench, `dataset` of AlpacaEval.
    pub category: String,
    /// What the user says: at most two turns.
    pub turns: Vec<String>,
    /// Reference answers, one a turn, or none.
    pub reference: Vec<String>,
    /// `instruction_difficulty`, where a row has it.
    pub difficulty: Option<f64>,
}

/// A model's answer to a question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatAnswer {
    /// `question_id` of MT-Bench, `instruction` of AlpacaEval: what it answers.
    pub question: String,
    /// What the model said, one a turn.
    pub turns: Vec<String>,
    /// Name of the model.
    pub model: String,
}

impl Protocol {
    /// Name on the command line and of folders.
    pub fn name(self) -> &'static str {
        match self {
            Self::MtBench => "mt-bench",
            Self::AlpacaEval => "alpaca-eval",
        }
    }

    /// Columns of its files that are read.
    pub fn columns(self) -> &'static [&'static str] {
        match self {
            Self::MtBench => &[
                "question_id",
                "category",
                "turns",
                "reference",
                "model_id",
                "choices",
            ],
            Self::AlpacaEval => &[
                "instruction",
                "dataset",
                "instruction_difficulty",
                "output",
                "generator",
            ],
        }
    }

    /// Row `number`, from 1, of a file of questions.
    ///
    /// # Errors
    /// The first field that is missing or wrong.
    pub fn question(self, number: usize, row: &Value) -> Result<ChatQuestion, FieldProblem> {
        let fields = Fields(row);
        match self {
            Self::MtBench => {
                let turns = fields.texts("turns", 1)?;
                if turns.len() > 2 {
                    let found = format!("a list of {}", turns.len());
                    return Err(FieldProblem::new("turns", found, "one or two turns"));
                }
                let reference = match fields.has("reference") {
                    true => fields.texts_or_empty("reference", turns.len())?,
                    false => Vec::new(),
                };
                Ok(ChatQuestion {
                    id: fields.name("question_id")?,
                    category: fields.text("category")?.into(),
                    turns: turns.into_iter().map(String::from).collect(),
                    reference: reference.into_iter().map(String::from).collect(),
                    difficulty: None,
                })
            }
            Self::AlpacaEval => {
                let dataset = match fields.has("dataset") {
                    true => fields.text("dataset")?,
                    false => "",
                };
                let difficulty = match fields.has("instruction_difficulty") {
                    true => Some(fields.number("instruction_difficulty")?),
                    false => None,
                };
                Ok(ChatQuestion {
                    id: number.to_string(),
                    category: dataset.into(),
                    turns: vec![fields.answer("instruction")?.into()],
                    reference: Vec::new(),
                    difficulty,
                })
            }
        }
    }

    /// A row of a file of answers.
    ///
    /// # Errors
    /// As [`Protocol::question`].
    pub fn answer(self, row: &Value) -> Result<ChatAnswer, FieldProblem> {
        let fields = Fields(row);
        match self {
            Self::MtBench => {
                let turns = fields.texts_or_empty("choices.0.turns", 1)?;
                Ok(ChatAnswer {
                    question: fields.name("question_id")?,
                    turns: turns.into_iter().map(String::from).collect(),
                    model: fields.text("model_id")?.into(),
                })
            }
            Self::AlpacaEval => Ok(ChatAnswer {
                question: fields.answer("instruction")?.into(),
                turns: vec![fields.text("output")?.into()],
                model: fields.text("generator")?.into(),
            }),
        }
    }

    /// What an answer to `question` names it by.
    pub fn key(self, question: &ChatQuestion) -> &str {
        match self {
            Self::MtBench => &question.id,
            Self::AlpacaEval => &question.turns[0],
        }
    }

    /// An answer as a row of the published schema.
    pub fn row(self, question: &ChatQuestion, answer: &ChatAnswer) -> Value {
        match self {
            Self::MtBench => json!({
                "question_id": question.id,
                "model_id": answer.model,
                "choices": [{ "index": 0, "turns": answer.turns }],
            }),
            Self::AlpacaEval => json!({
                "instruction": question.turns[0],
                "output": answer.turns[0],
                "generator": answer.model,
                "dataset": question.category,
            }),
        }
    }
}

/// Temperature at which MT-Bench has a question of `category` answered; greedy for categories that it does not have.
pub fn temperature(category: &str) -> f32 {
    match category {
        "writing" | "roleplay" => 0.7,
        "stem" | "humanities" => 0.1,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_rows_are_read() {
        let row = json!({"question_id": 81, "category": "math", "turns": ["a", "b"], "reference": ["1", ""]});
        let question = Protocol::MtBench.question(9, &row).unwrap();
        assert_eq!((question.id.as_str(), question.turns.len()), ("81", 2));
        assert_eq!(question.reference, ["1", ""]);
        let row = json!({"instruction": "Say hi", "output": "hi", "generator": "base", "dataset": "helpful_base"});
        let question = Protocol::AlpacaEval.question(9, &row).unwrap();
        assert_eq!(
            (question.id.as_str(), question.category.as_str()),
            ("9", "helpful_base")
        );
        let answer = Protocol::AlpacaEval.answer(&row).unwrap();
        assert_eq!(answer.question, Protocol::AlpacaEval.key(&question));
    }

    #[test]
    fn answers_survive_their_schema() {
        let question = ChatQuestion {
            id: "7".into(),
            category: "writing".into(),
            turns: vec!["first".into()],
            reference: vec![],
            difficulty: None,
        };
        for protocol in [Protocol::MtBench, Protocol::AlpacaEval] {
            let answer = ChatAnswer {
                question: protocol.key(&question).into(),
                turns: vec!["reply".into()],
                model: "probe".into(),
            };
            let row = protocol.row(&question, &answer);
            assert_eq!(protocol.answer(&row).unwrap(), answer);
        }
    }

    #[test]
    fn a_wrong_field_is_named() {
        let problem = |row: Value| Protocol::MtBench.question(1, &row).unwrap_err().to_string();
        assert_eq!(
            problem(json!({"question_id": 1, "category": "math"})),
            "`turns` is missing, expected a list of at least 1 texts"
        );
        assert_eq!(
            problem(json!({"question_id": 1, "category": "math", "turns": ["a", "b", "c"]})),
            "`turns` is a list of 3, expected one or two turns"
        );
        let row =
            json!({"turns": ["a", "b"], "category": "math", "question_id": 1, "reference": ["x"]});
        assert!(problem(row).starts_with("`reference` is a list of 1"));
        let row = json!({"instruction": "a", "instruction_difficulty": "hard"});
        let error = Protocol::AlpacaEval.question(1, &row).unwrap_err();
        assert_eq!(error.field, "instruction_difficulty");
    }
}
