//! Questions, answers and prompts of judges, from files or built in.
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Context;
use eval::judge::{ChatAnswer, ChatQuestion, JudgePrompts, Protocol};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::checkpoint::hex;
use crate::data::{jsonl, records};
use crate::error::DistillError;

/// How paths call the questions that are part of the binary.
pub const BUILTIN: &str = "builtin";

/// What is asked.
#[derive(Debug, Clone)]
pub struct Questions {
    /// What the benchmark is called in tables; of our own questions it says that they are not the published ones.
    pub name: String,
    /// Whether the questions are our own.
    pub is_builtin: bool,
    /// In the order of the file.
    pub items: Vec<ChatQuestion>,
    /// Outputs in the same rows, as AlpacaEval publishes its baseline.
    pub outputs: Vec<ChatAnswer>,
    /// Hash of all questions, hexadecimal.
    pub sha256: String,
}

impl Questions {
    /// The first `limit` questions of a file, or of [`BUILTIN`].
    ///
    /// # Errors
    /// The first row that is not JSON or lacks a field, with its number; a question that stands twice; a file without any.
    pub fn read(protocol: Protocol, path: &Path, limit: Option<usize>) -> anyhow::Result<Self> {
        let is_builtin = path.as_os_str() == BUILTIN;
        let rows: Vec<(usize, Value)> = match is_builtin {
            true => (1..)
                .zip(jsonl::parse(builtin(protocol)).context("the built-in questions")?)
                .collect(),
            false => values(path, protocol.columns())?,
        };
        let mut items = Vec::new();
        let mut outputs = Vec::new();
        let mut seen = BTreeSet::new();
        for (number, row) in rows.iter().take(limit.unwrap_or(usize::MAX)) {
            let place = || format!("`{}`: row {number}", path.display());
            let question = protocol.question(*number, row).with_context(place)?;
            if !seen.insert(question.id.clone()) {
                anyhow::bail!(
                    "{}: `question_id` {} stands twice, expected each once",
                    place(),
                    question.id
                );
            }
            if protocol == Protocol::AlpacaEval
                && row.get("output").is_some_and(|output| !output.is_null())
            {
                outputs.push(protocol.answer(row).with_context(place)?);
            }
            items.push(question);
        }
        if items.is_empty() {
            return Err(DistillError::Malformed {
                path: path.into(),
                found: "no question".into(),
                expected: format!("a row a question of {}", protocol.name()),
            }
            .into());
        }
        let name = match (is_builtin, protocol) {
            (false, protocol) => protocol.name().into(),
            (true, Protocol::MtBench) => "samples in the manner of mt-bench (not MT-Bench)".into(),
            (true, Protocol::AlpacaEval) => {
                "samples in the manner of alpaca-eval (not AlpacaEval)".into()
            }
        };
        Ok(Self {
            name,
            is_builtin,
            sha256: hex(&Sha256::digest(serde_json::to_vec(&items)?)),
            items,
            outputs,
        })
    }
}

fn builtin(protocol: Protocol) -> &'static [u8] {
    match protocol {
        Protocol::MtBench => include_bytes!("../../../assets/chat/two-turns.jsonl"),
        Protocol::AlpacaEval => include_bytes!("../../../assets/chat/instructions.jsonl"),
    }
}

/// The rows of a file with their numbers.
fn values(path: &Path, columns: &[&str]) -> anyhow::Result<Vec<(usize, Value)>> {
    let row = |row: records::Row| {
        let (number, value) = row?;
        let value = value.with_context(|| format!("`{}`: row {number}", path.display()))?;
        Ok((number, value))
    };
    records::rows(path, columns)?.map(row).collect()
}

/// The answers of a file in the protocol's schema.
///
/// # Errors
/// The first row that is not JSON or lacks a field, with its number.
pub fn read_answers(protocol: Protocol, path: &Path) -> anyhow::Result<Vec<ChatAnswer>> {
    let answer = |(number, row): &(usize, Value)| {
        let place = || format!("`{}`: row {number}", path.display());
        protocol.answer(row).with_context(place)
    };
    values(path, protocol.columns())?
        .iter()
        .map(answer)
        .collect()
}

/// The answer to each question, in their order; of several to one question the last.
///
/// # Errors
/// [`DistillError::NoAnswer`] for a question without one, or with fewer turns than it has.
pub fn aligned(
    protocol: Protocol,
    questions: &[ChatQuestion],
    answers: &[ChatAnswer],
    source: &Path,
) -> anyhow::Result<Vec<ChatAnswer>> {
    let known: BTreeMap<&str, &ChatAnswer> = answers
        .iter()
        .map(|answer| (answer.question.as_str(), answer))
        .collect();
    let find = |question: &ChatQuestion| {
        let found = known.get(protocol.key(question));
        let whole = found.filter(|answer| answer.turns.len() >= question.turns.len());
        whole.copied().cloned().ok_or_else(|| {
            DistillError::NoAnswer {
                path: source.into(),
                question: question.id.clone(),
                found: found.map_or(0, |answer| answer.turns.len()),
                expected: question.turns.len(),
            }
            .into()
        })
    };
    questions.iter().map(find).collect()
}

/// Our prompts for judges, or those of a file in their place.
///
/// # Errors
/// A row that is not JSON or lacks a field, with its number.
pub fn read_prompts(path: Option<&Path>) -> anyhow::Result<JudgePrompts> {
    let mut prompts = JudgePrompts::default();
    if let Some(path) = path {
        for (number, row) in values(path, &["name", "system_prompt", "prompt_template"])? {
            let place = || format!("`{}`: row {number}", path.display());
            prompts.replace(&row).with_context(place)?;
        }
    }
    Ok(prompts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_questions_without_any_file() {
        let read = |protocol| Questions::read(protocol, Path::new(BUILTIN), None).unwrap();
        let two_turns = read(Protocol::MtBench);
        assert!(two_turns.items.len() >= 10 && two_turns.name.contains("not MT-Bench"));
        assert!(
            two_turns
                .items
                .iter()
                .all(|question| question.turns.len() == 2)
        );
        let categories: BTreeSet<&str> = two_turns
            .items
            .iter()
            .map(|question| question.category.as_str())
            .collect();
        assert_eq!(categories.len(), 8, "{categories:?}");
        for question in &two_turns.items {
            let is_exact = ["math", "reasoning", "coding"].contains(&question.category.as_str());
            assert_eq!(
                question.reference.len(),
                if is_exact { 2 } else { 0 },
                "{}",
                question.id
            );
        }
        let one_turn = read(Protocol::AlpacaEval);
        assert!(one_turn.items.len() >= 10 && one_turn.name.contains("not AlpacaEval"));
        let baseline = aligned(
            Protocol::AlpacaEval,
            &one_turn.items,
            &one_turn.outputs,
            Path::new(BUILTIN),
        );
        assert_eq!(baseline.unwrap().len(), one_turn.items.len());
    }

    #[test]
    fn a_question_without_an_answer_is_named() {
        let questions = Questions::read(Protocol::MtBench, Path::new(BUILTIN), Some(2))
            .unwrap()
            .items;
        let answer = |question: &ChatQuestion, turns: usize| ChatAnswer {
            question: question.id.clone(),
            turns: vec!["x".into(); turns],
            model: "probe".into(),
        };
        let answers = [answer(&questions[0], 2), answer(&questions[1], 1)];
        let align = |answers: &[ChatAnswer]| {
            aligned(Protocol::MtBench, &questions, answers, Path::new("a.jsonl"))
                .map_err(|error| error.to_string())
        };
        let error = align(&answers).unwrap_err();
        assert!(
            error.starts_with("`a.jsonl` answers 1 of 2 turns of question"),
            "{error}"
        );
        let error = align(&answers[..1]).unwrap_err();
        assert!(
            error.starts_with("`a.jsonl` answers 0 of 2 turns"),
            "{error}"
        );
    }
}
