//! What a task of replies is made of.
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::fields::{FieldProblem, Fields};

/// A benchmark of replies.
#[derive(Debug)]
pub struct GenerativeTask {
    /// Name on the command line and of its files.
    pub name: &'static str,
    /// Version of its prompt and its grade.
    pub version: &'static str,
    /// How the names of files with the rows begin.
    pub split: &'static str,
    /// Columns of the rows that are read.
    pub columns: &'static [&'static str],
    /// Most tokens of a reply, unless something else is asked for.
    pub reply_tokens: usize,
    /// Texts before which a reply ends.
    pub stops: &'static [&'static str],
    /// Whether replies are programs, which only running them can grade.
    pub is_program: bool,
    pub(super) question: fn(Fields) -> Result<Question, FieldProblem>,
    pub(super) grade: fn(&Question, &str) -> Grade,
}

impl GenerativeTask {
    /// A row as a question.
    ///
    /// # Errors
    /// The first field that is missing or wrong.
    pub fn question(&self, row: &Value) -> Result<Question, FieldProblem> {
        (self.question)(Fields(row))
    }
}

/// How a question is put.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Asked {
    /// As a user's turn of the chat template.
    Chat(String),
    /// As a text to continue.
    Text(String),
}

/// One question with what its grade needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Question {
    /// Its name in its file, or nothing.
    pub id: String,
    /// What is put.
    pub asked: Asked,
    /// What its task compares a reply with.
    pub expected: Value,
}

/// What a reply is worth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Grade {
    /// What was found in the reply, if anything.
    pub(super) found: Option<String>,
    /// 1 right, 0 wrong, between for a part; none where it cannot be said here.
    pub(super) value: Option<f64>,
}

impl Grade {
    pub(super) fn of(found: Option<String>, is_right: bool) -> Self {
        Self {
            found,
            value: Some(f64::from(u8::from(is_right))),
        }
    }
}
