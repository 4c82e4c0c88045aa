//! What a task of log-likelihoods is made of.
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::fields::{FieldProblem, Fields};

/// Between a question and an answer (`target_delimiter` of lm-evaluation-harness).
pub(super) const DELIMITER: &str = " ";
/// Between two examples (`fewshot_delimiter`).
pub(super) const BETWEEN_SHOTS: &str = "\n\n";

/// A benchmark: how its rows are asked and scored.
#[derive(Debug)]
pub struct Task {
    /// Name on the command line and of its files.
    pub name: &'static str,
    /// Version of the task in lm-evaluation-harness whose definition this is.
    pub version: &'static str,
    /// How the names of files with the scored rows begin.
    pub split: &'static str,
    /// How the names of files with examples begin; empty where the task takes none.
    pub examples: &'static str,
    /// Columns of the rows that are read.
    pub columns: &'static [&'static str],
    /// What is reported; the first is the paper's.
    pub metrics: &'static [Metric],
    /// Reads a row.
    pub item: fn(Fields) -> Result<Item, FieldProblem>,
}

impl Task {
    /// A row as a question with its choices.
    ///
    /// # Errors
    /// The first field that is missing or wrong.
    pub fn item(&self, row: &Value) -> Result<Item, FieldProblem> {
        (self.item)(Fields(row))
    }
}

/// One question.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Item {
    /// What stands once before examples and question.
    pub description: String,
    /// Each possible answer, with the text that it is scored after.
    pub choices: Vec<Choice>,
    /// Which are right.
    pub gold: Gold,
    /// What it belongs to, where the mean over groups is asked for and examples come from the same group.
    pub group: Option<String>,
}

impl Item {
    /// A question with one context for all answers.
    pub fn of<S: Into<String>>(
        context: impl Into<String>,
        answers: impl IntoIterator<Item = S>,
        gold: Gold,
    ) -> Self {
        let context = context.into();
        let choices = answers.into_iter().map(|answer| Choice {
            context: context.clone(),
            answer: answer.into(),
        });
        Self {
            description: String::new(),
            choices: choices.collect(),
            gold,
            group: None,
        }
    }

    /// The question with its right answer, as an example for others.
    pub(super) fn as_example(&self) -> String {
        let right = match &self.gold {
            Gold::One(index) => *index,
            Gold::Truths(truths) => truths.iter().position(|truth| *truth).unwrap_or(0),
            Gold::Greedy => 0,
        };
        let Choice { context, answer } = &self.choices[right];
        format!("{context}{DELIMITER}{answer}{BETWEEN_SHOTS}")
    }
}

/// A possible answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Choice {
    /// What is given, without the delimiter.
    pub context: String,
    /// What is scored after it and the delimiter; its bytes normalise `acc_norm`.
    pub answer: String,
}

/// Which choices are right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gold {
    /// This one.
    One(usize),
    /// Those that are true; the choice is between true and false ones together.
    Truths(Vec<bool>),
    /// The only one, if greedy decoding writes it.
    Greedy,
}

/// A number of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Share of questions whose likeliest answer is right.
    Acc,
    /// The same by likelihood over the answer's bytes.
    AccNorm,
    /// Mean of the accuracies of the groups.
    AccGroups,
    /// Mean probability of the true answers among all.
    Mc2,
    /// `exp` of the mean negative log-likelihood of an answer, all of its tokens together.
    Perplexity,
}

impl Metric {
    /// The name in tables and files, where lm-evaluation-harness has one its.
    pub fn name(self) -> &'static str {
        match self {
            Self::Acc => "acc",
            Self::AccNorm => "acc_norm",
            Self::AccGroups => "acc_groups",
            Self::Mc2 => "mc2",
            Self::Perplexity => "perplexity",
        }
    }
}
