//! Pairs of a preferred and a rejected reply to one prompt.

use std::path::Path;

use anyhow::{Context, ensure};
use eval::synthetic::SyntheticTask;
use model::{ChatTemplate, Message, ModelError, Tokenizer};
use serde::Deserialize;
use serde_json::Value;

use super::chat::Turn;
use super::repeats::{Identity, key_of_turns};
use super::{Example, records};

/// Two replies to the same conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preference {
    /// Turns before the reply.
    pub prompt: Vec<Message>,
    /// The better reply.
    pub chosen: Message,
    /// The worse reply.
    pub rejected: Message,
}

/// A tokenised pair; only the last reply of each is a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreferenceExample {
    /// The better conversation.
    pub chosen: Example,
    /// The worse conversation.
    pub rejected: Example,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Record {
    Conversations {
        conversations: Vec<Turn>,
        chosen: Turn,
        rejected: Turn,
    },
    Whole {
        chosen: Vec<Turn>,
        rejected: Vec<Turn>,
    },
    Text {
        prompt: String,
        chosen: String,
        rejected: String,
    },
}

impl Preference {
    /// Columns that a record may have.
    pub(super) const COLUMNS: &[&str] = &["conversations", "prompt", "chosen", "rejected"];

    /// Reads a file of pairs: Parquet, JSON array or lines of `{conversations, chosen, rejected}` with turns, of
    /// `{chosen, rejected}` with whole conversations, or of `{prompt, chosen, rejected}` with text. Pairs of equal replies
    /// are dropped.
    ///
    /// # Errors
    /// When the file cannot be read or a record has another shape.
    pub fn read(path: &Path) -> anyhow::Result<Vec<Self>> {
        let mut pairs = records::read(path, Self::COLUMNS, Self::from_value)?;
        pairs.retain(|pair| pair.chosen != pair.rejected);
        Ok(pairs)
    }

    /// The pair of one record, in a shape that [`read`](Self::read) takes.
    ///
    /// # Errors
    /// When the record has another shape, asks for nothing, or prefers neither reply.
    pub fn from_record(record: Value) -> anyhow::Result<Self> {
        let pair = Self::from_value(record)?;
        ensure!(!pair.prompt.is_empty(), "there is no turn before the reply");
        ensure!(pair.chosen != pair.rejected, "both replies are the same");
        let is_empty = |reply: &Message| reply.content.trim().is_empty();
        ensure!(!is_empty(&pair.chosen), "the chosen reply is empty");
        ensure!(!is_empty(&pair.rejected), "the rejected reply is empty");
        Ok(pair)
    }

    fn from_value(record: Value) -> anyhow::Result<Self> {
        // Of untagged shapes serde says only that none fits.
        let record: Record = serde_json::from_value(record).ok().context(
            "expected `chosen` and `rejected` with `conversations` or `prompt`, or as conversations",
        )?;
        let messages = |turns: Vec<Turn>| -> anyhow::Result<Vec<Message>> {
            turns.into_iter().map(Turn::into_message).collect()
        };
        Ok(match record {
            Record::Conversations {
                conversations,
                chosen,
                rejected,
            } => Self {
                prompt: messages(conversations)?,
                chosen: chosen.into_message()?,
                rejected: rejected.into_message()?,
            },
            Record::Whole { chosen, rejected } => {
                let (mut prompt, mut other) = (messages(chosen)?, messages(rejected)?);
                let chosen = prompt.pop().context("`chosen` is empty")?;
                let rejected = other.pop().context("`rejected` is empty")?;
                ensure!(
                    prompt == other,
                    "`chosen` and `rejected` differ before the last turn"
                );
                Self {
                    prompt,
                    chosen,
                    rejected,
                }
            }
            Record::Text {
                prompt,
                chosen,
                rejected,
            } => Self {
                prompt: vec![Message::user(prompt)],
                chosen: Message::assistant(chosen),
                rejected: Message::assistant(rejected),
            },
        })
    }

    /// A synthetic task: its answer against its distractor.
    pub fn from_task(task: &SyntheticTask) -> Self {
        Self {
            prompt: vec![Message::user(&task.prompt)],
            chosen: Message::assistant(&task.answer),
            rejected: Message::assistant(&task.distractor),
        }
    }

    /// What makes it the same as another.
    pub(crate) fn identity(&self) -> Identity {
        let texts = self.prompt.iter().map(|message| message.content.as_str());
        Identity {
            id: texts.collect::<Vec<_>>().join("\n"),
            prompt: key_of_turns(&self.prompt),
            whole: key_of_turns(self.prompt.iter().chain([&self.chosen, &self.rejected])),
        }
    }

    /// Tokens of both conversations, cut to `seq_len`; `None` when a reply does not survive the cut.
    ///
    /// # Errors
    /// When the tokenizer lacks a control token of the template.
    pub fn encode(
        &self,
        tokenizer: &Tokenizer,
        template: &ChatTemplate,
        seq_len: usize,
    ) -> Result<Option<PreferenceExample>, ModelError> {
        let prompt = template
            .encode_chat(tokenizer, &self.prompt, true)?
            .ids
            .len();
        let reply = |message: &Message| -> Result<Option<Example>, ModelError> {
            let messages: Vec<_> = self.prompt.iter().chain([message]).cloned().collect();
            let chat = template.encode_chat(tokenizer, &messages, false)?;
            let mut example = Example {
                ids: chat.ids,
                targets: chat.loss_mask,
            };
            // Earlier assistant turns are the same on both sides.
            example
                .targets
                .iter_mut()
                .take(prompt)
                .for_each(|target| *target = false);
            let whole = example.target_count();
            Ok(example
                .truncated(seq_len)
                .filter(|cut| cut.target_count() == whole))
        };
        let pair = (reply(&self.chosen)?, reply(&self.rejected)?);
        Ok(match pair {
            (Some(chosen), Some(rejected)) => Some(PreferenceExample { chosen, rejected }),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shape_gives_the_same_pair_and_equal_replies_are_dropped() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("pairs.jsonl");
        let text = r#"{"conversations":[{"from":"human","value":"q"}],"chosen":{"from":"gpt","value":"a"},"rejected":{"from":"gpt","value":"b"}}
{"prompt":"q","chosen":"a","rejected":"b"}
{"chosen":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}],"rejected":[{"role":"user","content":"q"},{"role":"assistant","content":"b"}]}
{"prompt":"q","chosen":"a","rejected":"a"}
"#;
        std::fs::write(&path, text).expect("writes");
        let pairs = Preference::read(&path).expect("reads");
        assert_eq!(pairs.len(), 3);
        assert!(pairs.iter().all(|pair| *pair == pairs[0]));
        assert_eq!(pairs[0].chosen, Message::assistant("a"));
    }

    #[test]
    fn only_the_last_reply_is_a_target() {
        let specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];
        let tokenizer =
            Tokenizer::train_bpe(["one two three four"], 300, &specials).expect("trains");
        let pair = Preference {
            prompt: vec![
                Message::user("one"),
                Message::assistant("two"),
                Message::user("three"),
            ],
            chosen: Message::assistant("four"),
            rejected: Message::assistant("two"),
        };
        let template = ChatTemplate::chat_ml();
        let example = pair
            .encode(&tokenizer, &template, 500)
            .expect("encodes")
            .expect("fits");
        let said: Vec<u32> = (example.chosen.ids.iter().zip(&example.chosen.targets))
            .filter_map(|(id, target)| target.then_some(*id))
            .collect();
        assert_eq!(tokenizer.decode(&said), "four<|im_end|>");
        let length = example.chosen.ids.len();
        assert_eq!(
            pair.encode(&tokenizer, &template, length - 3)
                .expect("encodes"),
            None
        );
    }
}
