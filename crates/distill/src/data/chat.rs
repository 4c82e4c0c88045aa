//! Conversations whose last turn is the one to learn.

use std::collections::HashSet;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use eval::synthetic::SyntheticTask;
use model::{ChatTemplate, Message, ModelError, Role, Tokenizer};
use serde::Deserialize;
use serde_json::Value;

use super::repeats::{Identity, Key, key_of_turns};
use super::{Example, ReplyRecord, records};

/// A conversation that ends with an assistant turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chat {
    /// Identity for the split: index in the file, or the prompt of a synthetic task.
    pub id: String,
    /// Turns; the last is the assistant's.
    pub messages: Vec<Message>,
}

/// The shapes that a chat file may hold.
#[derive(Deserialize)]
#[serde(untagged)]
enum Record {
    Messages {
        messages: Vec<Turn>,
    },
    Reply(ReplyRecord),
    Alpaca {
        instruction: String,
        #[serde(default)]
        input: String,
        output: String,
    },
    Conversations {
        conversations: Vec<Turn>,
    },
}

/// A turn, in either spelling.
#[derive(Deserialize)]
pub(super) struct Turn {
    #[serde(alias = "from")]
    role: String,
    #[serde(alias = "value")]
    content: String,
}

impl Turn {
    /// The turn with a role that templates know.
    pub(super) fn into_message(self) -> anyhow::Result<Message> {
        let role = match self.role.as_str() {
            "system" => Role::System,
            "user" | "human" => Role::User,
            "assistant" | "gpt" => Role::Assistant,
            other => bail!("role `{other}`, expected system, user, human, assistant or gpt"),
        };
        Ok(Message::new(role, self.content))
    }
}

impl Record {
    fn into_messages(self) -> anyhow::Result<Vec<Message>> {
        match self {
            Self::Messages { messages }
            | Self::Conversations {
                conversations: messages,
            } => messages.into_iter().map(Turn::into_message).collect(),
            Self::Reply(record) => Ok(vec![
                Message::user(record.prompt),
                Message::assistant(record.reply),
            ]),
            Self::Alpaca {
                instruction,
                input,
                output,
            } => {
                let prompt = if input.is_empty() {
                    instruction
                } else {
                    format!("{instruction}\n\n{input}")
                };
                Ok(vec![Message::user(prompt), Message::assistant(output)])
            }
        }
    }
}

impl Chat {
    /// Columns that a record may have.
    pub(super) const COLUMNS: &[&str] = &[
        "messages",
        "conversations",
        "prompt",
        "reply",
        "instruction",
        "input",
        "output",
    ];

    /// Reads a file of conversations: Parquet, JSON array or lines of `{messages}`, `{conversations}`, `{prompt, reply}` or
    /// `{instruction, input, output}`. Turns after the last assistant turn are dropped, and conversations without a prompt.
    ///
    /// # Errors
    /// When the file cannot be read or a record has another shape.
    pub fn read(path: &Path) -> anyhow::Result<Vec<Self>> {
        let conversations = records::read(path, Self::COLUMNS, closed_turns)?;
        let chats = conversations.into_iter().enumerate();
        let chats = chats.map(|(index, messages)| Self {
            id: index.to_string(),
            messages,
        });
        Ok(asking(chats))
    }

    /// The conversation of one record, in a shape that [`read`](Self::read) takes; its id is `row`.
    ///
    /// # Errors
    /// When the record has another shape, asks for nothing, or holds no reply to learn.
    pub fn from_record(row: usize, record: Value) -> anyhow::Result<Self> {
        let chat = Self {
            id: row.to_string(),
            messages: closed_turns(record)?,
        };
        let Some(reply) = chat.messages.last() else {
            bail!("there is no assistant turn");
        };
        ensure!(
            !chat.prompt().is_empty(),
            "there is no turn before the reply"
        );
        ensure!(!reply.content.trim().is_empty(), "the last reply is empty");
        Ok(chat)
    }

    /// Conversations of prompts with replies.
    pub fn from_replies(records: Vec<ReplyRecord>) -> Vec<Self> {
        let chats = records.into_iter().enumerate().map(|(index, record)| Self {
            id: index.to_string(),
            messages: vec![
                Message::user(record.prompt),
                Message::assistant(record.reply),
            ],
        });
        asking(chats)
    }

    /// A synthetic task with its right answer.
    pub fn from_task(task: &SyntheticTask) -> Self {
        let messages = vec![
            Message::user(&task.prompt),
            Message::assistant(&task.answer),
        ];
        Self {
            id: task.prompt.clone(),
            messages,
        }
    }

    /// A conversation whose reply is still to be written.
    pub fn from_prompt(prompt: String) -> Self {
        Self {
            id: prompt.clone(),
            messages: vec![Message::user(prompt), Message::assistant("")],
        }
    }

    /// Turns before the last.
    pub fn prompt(&self) -> &[Message] {
        self.messages.split_last().map_or(&[], |(_, prompt)| prompt)
    }

    /// What makes it the same as another.
    pub(crate) fn identity(&self) -> Identity {
        Identity {
            id: self.id.clone(),
            prompt: self.prompt_key(),
            whole: key_of_turns(&self.messages),
        }
    }

    fn prompt_key(&self) -> Key {
        key_of_turns(self.prompt())
    }

    /// Tokens of the whole conversation; every assistant turn is a target.
    ///
    /// # Errors
    /// When the tokenizer lacks a control token of the template.
    pub fn encode(
        &self,
        tokenizer: &Tokenizer,
        template: &ChatTemplate,
    ) -> Result<Example, ModelError> {
        let chat = template.encode_chat(tokenizer, &self.messages, false)?;
        Ok(Example {
            ids: chat.ids,
            targets: chat.loss_mask,
        })
    }

    /// Tokens up to and with the header of the reply.
    ///
    /// # Errors
    /// As [`Chat::encode`].
    pub fn encode_prompt(
        &self,
        tokenizer: &Tokenizer,
        template: &ChatTemplate,
    ) -> Result<Vec<u32>, ModelError> {
        Ok(template.encode_chat(tokenizer, self.prompt(), true)?.ids)
    }
}

/// Turns of a record up to its last assistant turn.
fn closed_turns(record: Value) -> anyhow::Result<Vec<Message>> {
    // Of untagged shapes serde says only that none fits.
    let record: Record = serde_json::from_value(record).ok().context(
        "expected `messages`, `conversations`, `prompt` and `reply`, or `instruction` and `output`",
    )?;
    let mut messages = record.into_messages()?;
    let is_open = |message: &Message| message.role != Role::Assistant;
    while messages.last().is_some_and(is_open) {
        messages.pop();
    }
    Ok(messages)
}

/// Chats with a prompt.
fn asking(chats: impl Iterator<Item = Chat>) -> Vec<Chat> {
    chats.filter(|chat| !chat.prompt().is_empty()).collect()
}

/// The first chat of each prompt.
pub(super) fn each_prompt_once(chats: &[Chat]) -> Vec<Chat> {
    let mut seen = HashSet::new();
    let is_first = |chat: &&Chat| seen.insert(chat.prompt_key());
    chats.iter().filter(is_first).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> anyhow::Result<Vec<Chat>> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("chats.json");
        std::fs::write(&path, text)?;
        Chat::read(&path)
    }

    #[test]
    fn each_shape_gives_the_same_conversation() {
        let expected = vec![Message::user("Hi"), Message::assistant("Hello.")];
        for text in [
            r#"{"messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"Hello."}]}"#,
            r#"[{"conversations":[{"from":"human","value":"Hi"},{"from":"gpt","value":"Hello."}]}]"#,
            r#"{"prompt":"Hi","reply":"Hello.","seed":3}"#,
            r#"[{"instruction":"Hi","input":"","output":"Hello."}]"#,
        ] {
            let chats = read(text).expect("reads");
            assert_eq!(chats.len(), 1, "{text}");
            assert_eq!(chats[0].messages, expected, "{text}");
        }
        let with_input =
            read(r#"[{"instruction":"Add","input":"1 2","output":"3"}]"#).expect("reads");
        assert_eq!(with_input[0].messages[0].content, "Add\n\n1 2");
    }

    #[test]
    fn an_open_question_is_dropped_and_a_prompt_is_answered_once() {
        let chats = read(
            "{\"prompt\":\"a\",\"reply\":\"b\"}\n{\"prompt\":\"a\",\"reply\":\"c\"}\n\
             {\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}",
        )
        .expect("reads");
        assert_eq!(chats.len(), 2);
        let [first, second] = [chats[0].identity(), chats[1].identity()];
        assert_eq!(first.prompt, second.prompt);
        assert_ne!(first.whole, second.whole);
        let once = each_prompt_once(&chats);
        assert_eq!(once.len(), 1);
        assert_eq!(once[0].messages[1].content, "b");
    }

    #[test]
    fn an_unknown_shape_names_the_record() {
        let error =
            read("{\"prompt\":\"a\",\"reply\":\"b\"}\n{\"text\":\"x\"}").expect_err("no shape");
        let message = format!("{error:#}");
        assert!(
            message.contains("row 2") && message.contains("instruction"),
            "{message}"
        );
    }
}
