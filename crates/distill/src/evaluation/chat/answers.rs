//! A model's answers to the questions of a chat benchmark.
use std::collections::HashMap;

use anyhow::Context;
use eval::EvalError;
use eval::judge::{ChatAnswer, ChatQuestion, Protocol, temperature};
use kernels::SsmBackend;
use model::{ChatTemplate, Finish, HybridModel, Message, Sampling, Tokenizer, generate_batch};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::KeptLines;
use crate::checkpoint::hex;
use crate::recipe::Precision;

/// Most tokens of a reply as MT-Bench has them.
const REPLY_TOKENS: usize = 1024;

/// How questions are answered.
#[derive(Debug, Clone, Copy)]
pub struct Answering<'a> {
    /// Which benchmark, whose schema the answers are written in.
    pub protocol: Protocol,
    /// Name of the model in the answers.
    pub name: &'a str,
    /// Hash of its weights.
    pub sha256: &'a str,
    /// What it computes in.
    pub precision: Precision,
    /// Most tokens of a reply; where nothing is asked for, 1024 and at most half of the context.
    pub reply_tokens: Option<usize>,
    /// Replies written together.
    pub rows: usize,
    /// Seed of replies that are not greedy.
    pub seed: u64,
}

/// An answer with how it came about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    /// The answer.
    pub answer: ChatAnswer,
    /// Turns whose prompt lost its start.
    pub truncated: usize,
    /// Turns that were cut at the most tokens of a reply.
    pub unended: usize,
}

impl Answering<'_> {
    /// What an answer depends on beside the weights.
    fn key(&self, question: &ChatQuestion) -> String {
        let key = json!({
            "model": self.sha256,
            "turns": question.turns,
            "temperature": self.temperature(question),
            "precision": self.precision,
            "reply_tokens": self.reply_tokens.unwrap_or(REPLY_TOKENS),
            "seed": self.seed,
        });
        hex(&Sha256::digest(key.to_string()))
    }

    /// MT-Bench has a temperature a category; AlpacaEval leaves it to the model, which is greedy here.
    fn temperature(&self, question: &ChatQuestion) -> f32 {
        match self.protocol {
            Protocol::MtBench => temperature(&question.category),
            Protocol::AlpacaEval => 0.0,
        }
    }

    /// The answers that `kept` lines hold, one a question, none where it is still to be answered.
    pub fn kept(&self, questions: &[ChatQuestion], kept: &[Value]) -> Vec<Option<Answered>> {
        let known: HashMap<&str, &Value> = kept
            .iter()
            .filter_map(|row| Some((row["asked_sha256"].as_str()?, row)))
            .collect();
        let find = |question: &ChatQuestion| {
            let row = known.get(self.key(question).as_str())?;
            let count = |name: &str| row[name].as_u64().map(|count| count as usize);
            Some(Answered {
                answer: self.protocol.answer(row).ok()?,
                truncated: count("truncated")?,
                unended: count("unended")?,
            })
        };
        questions.iter().map(find).collect()
    }

    /// Lets `model` answer the questions that `found` has no answer for; each batch is kept when it is done.
    ///
    /// # Errors
    /// A tokenizer without a chat template, replies that leave no room for a prompt; when the disk refuses.
    pub fn answer<B: SsmBackend>(
        &self,
        questions: &[ChatQuestion],
        found: &mut [Option<Answered>],
        (model, tokenizer): (&HybridModel<B>, &Tokenizer),
        kept: &mut KeptLines,
        mut progress: impl FnMut(usize),
    ) -> anyhow::Result<()> {
        let template = ChatTemplate::detect(tokenizer).ok_or(EvalError::NoChatTemplate)?;
        let context = model.config().llama.max_position_embeddings;
        let reply = self.reply_tokens.unwrap_or(REPLY_TOKENS.min(context / 2));
        let room = context.saturating_sub(reply);
        if room == 0 {
            return Err(EvalError::Context { reply, context }.into());
        }
        let stop = template.end_of_turn(tokenizer)?;
        let mut open: Vec<usize> = (0..questions.len())
            .filter(|index| found[*index].is_none())
            .collect();
        // Replies of a batch are drawn together: one temperature, and like lengths.
        open.sort_by_key(|index| {
            let question = &questions[*index];
            (
                self.temperature(question).to_bits(),
                question.turns[0].len(),
            )
        });
        let batches = open
            .chunk_by(|a, b| self.temperature(&questions[*a]) == self.temperature(&questions[*b]));
        let mut done = 0;
        for batch in batches.flat_map(|batch| batch.chunks(self.rows.max(1))) {
            let temperature = self.temperature(&questions[batch[0]]);
            let sampling = match temperature > 0.0 {
                // What was drawn does not depend on what was kept before.
                true => Sampling::with_temperature(reply, temperature, self.seed + batch[0] as u64),
                false => Sampling::greedy(reply),
            }
            .stop_at([stop]);
            let mut drafts: Vec<Answered> = batch
                .iter()
                .map(|index| self.unanswered(&questions[*index]))
                .collect();
            let n_turns = batch
                .iter()
                .map(|index| questions[*index].turns.len())
                .max()
                .unwrap_or(0);
            for turn in 0..n_turns {
                let mut places = Vec::new();
                let mut prompts = Vec::new();
                for (place, index) in batch.iter().enumerate() {
                    let question = &questions[*index];
                    if turn >= question.turns.len() {
                        continue;
                    }
                    let ids = template
                        .encode_chat(
                            tokenizer,
                            &dialogue(question, &drafts[place].answer, turn),
                            true,
                        )?
                        .ids;
                    let cut = ids.len().saturating_sub(room);
                    drafts[place].truncated += usize::from(cut > 0);
                    prompts.push(ids[cut..].to_vec());
                    places.push(place);
                }
                for (place, reply) in places
                    .into_iter()
                    .zip(generate_batch(model, &prompts, &sampling)?)
                {
                    let draft = &mut drafts[place];
                    draft.unended += usize::from(reply.finish != Finish::Stop);
                    draft.answer.turns.push(tokenizer.decode(&reply.tokens));
                }
            }
            for (index, draft) in batch.iter().zip(drafts) {
                kept.add(&self.row(&questions[*index], &draft)?)?;
                found[*index] = Some(draft);
            }
            done += batch.len();
            progress(done);
        }
        Ok(())
    }

    fn unanswered(&self, question: &ChatQuestion) -> Answered {
        let answer = ChatAnswer {
            question: self.protocol.key(question).into(),
            turns: Vec::new(),
            model: self.name.into(),
        };
        Answered {
            answer,
            truncated: 0,
            unended: 0,
        }
    }

    /// A line in the published schema, with what else is known.
    fn row(&self, question: &ChatQuestion, answered: &Answered) -> anyhow::Result<Value> {
        let mut row = self.protocol.row(question, &answered.answer);
        let object = row.as_object_mut().context("a row is an object")?;
        object.insert("asked_sha256".into(), json!(self.key(question)));
        object.insert("truncated".into(), json!(answered.truncated));
        object.insert("unended".into(), json!(answered.unended));
        Ok(row)
    }
}

/// What was said up to the user's turn `turn`, from 0.
fn dialogue(question: &ChatQuestion, answer: &ChatAnswer, turn: usize) -> Vec<Message> {
    let mut messages = Vec::new();
    for (asked, said) in question.turns.iter().zip(&answer.turns).take(turn) {
        messages.push(Message::user(asked.as_str()));
        messages.push(Message::assistant(said.as_str()));
    }
    messages.push(Message::user(question.turns[turn].as_str()));
    messages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_turn_sees_the_first() {
        let question = ChatQuestion {
            id: "1".into(),
            category: "math".into(),
            turns: vec!["a?".into(), "b?".into()],
            reference: vec![],
            difficulty: None,
        };
        let answer = ChatAnswer {
            question: "1".into(),
            turns: vec!["A".into()],
            model: "probe".into(),
        };
        assert_eq!(dialogue(&question, &answer, 0), [Message::user("a?")]);
        let second = [
            Message::user("a?"),
            Message::assistant("A"),
            Message::user("b?"),
        ];
        assert_eq!(dialogue(&question, &answer, 1), second);
    }
}
