//! Pairs of a preferred and a rejected reply to one prompt.

use std::path::Path;

use eval::synthetic::SyntheticTask;
use model::{ChatTemplate, Message, ModelError, Tokenizer};
use serde::Deserialize;

use super::chat::Turn;
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
    Text {
        prompt: String,
        chosen: String,
        rejected: String,
    },
}

impl Preference {
    /// Reads a file of pairs: JSON array or lines of `{conversations, chosen, rejected}` with turns, or of
    /// `{prompt, chosen, rejected}` with text. Repeated records and equal replies are dropped.
    ///
    /// # Errors
    /// When the file cannot be read or a record has another shape.
    pub fn read(path: &Path) -> anyhow::Result<Vec<Self>> {
        let shapes = "`chosen` and `rejected` with `conversations` or `prompt`";
        let mut pairs: Vec<Self> = Vec::new();
        for record in records::read::<Record>(path, shapes)? {
            let pair = match record {
                Record::Conversations {
                    conversations,
                    chosen,
                    rejected,
                } => Self {
                    prompt: conversations
                        .into_iter()
                        .map(Turn::into_message)
                        .collect::<Result<_, _>>()?,
                    chosen: chosen.into_message()?,
                    rejected: rejected.into_message()?,
                },
                Record::Text {
                    prompt,
                    chosen,
                    rejected,
                } => Self {
                    prompt: vec![Message::user(prompt)],
                    chosen: Message::assistant(chosen),
                    rejected: Message::assistant(rejected),
                },
            };
            if pair.chosen != pair.rejected && !pairs.contains(&pair) {
                pairs.push(pair);
            }
        }
        Ok(pairs)
    }

    /// A synthetic task: its answer against its distractor.
    pub fn from_task(task: &SyntheticTask) -> Self {
        Self {
            prompt: vec![Message::user(&task.prompt)],
            chosen: Message::assistant(&task.answer),
            rejected: Message::assistant(&task.distractor),
        }
    }

    /// Identity for the split.
    pub fn id(&self) -> String {
        self.prompt
            .iter()
            .map(|message| message.content.as_str())
            .collect::<Vec<_>>()
            .join("\n")
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
    fn both_shapes_are_read_and_equal_replies_dropped() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("pairs.jsonl");
        let text = r#"{"conversations":[{"from":"human","value":"q"}],"chosen":{"from":"gpt","value":"a"},"rejected":{"from":"gpt","value":"b"}}
{"prompt":"q","chosen":"a","rejected":"b"}
{"prompt":"q","chosen":"a","rejected":"a"}
"#;
        std::fs::write(&path, text).expect("writes");
        let pairs = Preference::read(&path).expect("reads");
        assert_eq!(pairs.len(), 1);
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
