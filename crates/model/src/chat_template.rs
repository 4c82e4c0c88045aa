//! Chat templates: a conversation as token ids, with a mask of what the assistant said.
//!
//! Control tokens are put in by id; what people wrote is encoded as plain text, so a message can
//! never open or close a turn.

mod bounds;
mod conversation;
mod jinja;
mod program;
mod source;

use serde::{Deserialize, Serialize};

use crate::config::LlamaConfig;
use crate::error::ModelError;
use crate::tokenizer::Tokenizer;

pub use conversation::Conversation;
pub use jinja::JinjaTemplate;

/// The system turn SmolLM2 starts with when a conversation brings none.
const SMOLLM2_SYSTEM: &str = "You are a helpful AI assistant named SmolLM, trained by Hugging Face";

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions that hold for the whole conversation
    System,
    /// The person
    User,
    /// The model
    Assistant,
}

impl Role {
    /// The role's name in every template.
    pub fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks
    pub role: Role,
    /// What was said, plain text
    pub content: String,
}

impl Message {
    /// A turn of `role`.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self {
            role,
            content: content.into(),
        }
    }

    /// A system turn.
    pub fn system(content: impl Into<String>) -> Self {
        Self::new(Role::System, content)
    }

    /// A user turn.
    pub fn user(content: impl Into<String>) -> Self {
        Self::new(Role::User, content)
    }

    /// An assistant turn.
    pub fn assistant(content: impl Into<String>) -> Self {
        Self::new(Role::Assistant, content)
    }
}

/// A conversation as tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EncodedChat {
    /// Token ids
    pub ids: Vec<u32>,
    /// One flag a token: true for the assistant's text and the token that ends its turn, the
    /// tokens a student is trained to produce. The line break after that token is not among them.
    pub loss_mask: Vec<bool>,
}

/// How a model's conversations are written (method.md, 4.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChatTemplate {
    /// `<|im_start|>ROLE`, line break, text, `<|im_end|>`, line break
    ChatMl {
        /// Put first when a conversation does not begin with a system turn
        default_system: Option<String>,
    },
    /// `<|begin_of_text|>` once; `<|start_header_id|>ROLE<|end_header_id|>`, two line breaks, text
    /// without outer white space, `<|eot_id|>`
    Llama3,
    /// `<|ROLE|>` (plain text), line break, text, `</s>`, line break
    Zephyr,
    /// As a `tokenizer_config.json` says
    Jinja(JinjaTemplate),
}

impl ChatTemplate {
    /// ChatML without a default system turn.
    pub fn chat_ml() -> Self {
        Self::ChatMl {
            default_system: None,
        }
    }

    /// ChatML with SmolLM2's default system turn.
    pub fn smollm2() -> Self {
        Self::ChatMl {
            default_system: Some(SMOLLM2_SYSTEM.to_string()),
        }
    }

    /// The template whose control tokens `tokenizer` has; `None` when it has none of them.
    ///
    /// ChatML with SmolLM2's other special tokens gets SmolLM2's default system turn. Zephyr is the
    /// last guess, as its only control token is `</s>`.
    pub fn detect(tokenizer: &Tokenizer) -> Option<Self> {
        let has = |tokens: &[&str]| {
            tokens
                .iter()
                .all(|token| tokenizer.special_id(token).is_some())
        };
        if has(&["<|im_start|>", "<|im_end|>"]) {
            let is_smollm2 = has(&["<|endoftext|>", "<repo_name>", "<gh_stars>"]);
            return Some(if is_smollm2 {
                Self::smollm2()
            } else {
                Self::chat_ml()
            });
        }
        if has(&["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]) {
            return Some(Self::Llama3);
        }
        has(&["</s>"]).then_some(Self::Zephyr)
    }

    /// The token that ends a turn, at which a reply stops.
    ///
    /// # Errors
    /// [`ModelError::MissingToken`] when `tokenizer` lacks it.
    pub fn end_of_turn(&self, tokenizer: &Tokenizer) -> Result<u32, ModelError> {
        let token = match self {
            Self::ChatMl { .. } => "<|im_end|>",
            Self::Llama3 => "<|eot_id|>",
            Self::Zephyr => "</s>",
            Self::Jinja(template) => return template.end_of_turn(tokenizer),
        };
        self.control(tokenizer, token)
    }

    /// The tokens that end a reply of a model of `config`: its own, and that of a turn.
    ///
    /// # Errors
    /// [`ModelError::MissingToken`] when `tokenizer` lacks the latter.
    pub fn stop_tokens(
        &self,
        config: &LlamaConfig,
        tokenizer: &Tokenizer,
    ) -> Result<Vec<u32>, ModelError> {
        let mut ids = config.eos_token_ids.clone();
        let end = self.end_of_turn(tokenizer)?;
        if !ids.contains(&end) {
            ids.push(end);
        }
        Ok(ids)
    }

    /// `messages` as tokens; with `add_generation_prompt` the header of a reply follows.
    ///
    /// # Errors
    /// [`ModelError::MissingToken`] when `tokenizer` lacks one of the template's control tokens;
    /// [`ModelError::ChatTemplate`] as [`JinjaTemplate`] says.
    pub fn encode_chat(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message],
        add_generation_prompt: bool,
    ) -> Result<EncodedChat, ModelError> {
        if let Self::Jinja(template) = self {
            return template.encode_chat(tokenizer, messages, add_generation_prompt);
        }
        let mut writer = Writer {
            tokenizer,
            chat: EncodedChat::default(),
            pending: String::new(),
        };
        let end = self.end_of_turn(tokenizer)?;
        match self {
            Self::ChatMl { default_system } => {
                let start = self.control(tokenizer, "<|im_start|>")?;
                let first_is_system = messages.first().is_none_or(|m| m.role == Role::System);
                let extra = default_system.as_ref().filter(|_| !first_is_system);
                let extra = extra.map(|content| Message::system(content.clone()));
                for message in extra.iter().chain(messages) {
                    writer.control(start, false);
                    writer.text(&format!("{}\n", message.role.name()));
                    writer.turn(message.role, &message.content, end);
                    writer.text("\n");
                }
                if add_generation_prompt {
                    writer.control(start, false);
                    writer.text("assistant\n");
                }
            }
            Self::Llama3 => {
                let open = self.control(tokenizer, "<|start_header_id|>")?;
                let close = self.control(tokenizer, "<|end_header_id|>")?;
                writer.control(self.control(tokenizer, "<|begin_of_text|>")?, false);
                let header = |writer: &mut Writer, role: Role| {
                    writer.control(open, false);
                    writer.text(role.name());
                    writer.control(close, false);
                    writer.text("\n\n");
                };
                for message in messages {
                    header(&mut writer, message.role);
                    writer.turn(message.role, message.content.trim(), end);
                }
                if add_generation_prompt {
                    header(&mut writer, Role::Assistant);
                }
            }
            Self::Zephyr => {
                for message in messages {
                    writer.text(&format!("<|{}|>\n", message.role.name()));
                    writer.turn(message.role, &message.content, end);
                    writer.text("\n");
                }
                if add_generation_prompt {
                    writer.text("<|assistant|>\n");
                }
            }
            Self::Jinja(_) => unreachable!("returned above"),
        }
        Ok(writer.finish())
    }

    fn control(&self, tokenizer: &Tokenizer, token: &'static str) -> Result<u32, ModelError> {
        let name = match self {
            Self::ChatMl { .. } => "ChatML",
            Self::Llama3 => "Llama-3",
            Self::Zephyr => "Zephyr",
            Self::Jinja(_) => "tokenizer_config.json",
        };
        tokenizer.special_id(token).ok_or(ModelError::MissingToken {
            token,
            template: name,
        })
    }
}

/// Collects text between control tokens, so that each run is encoded in one piece.
struct Writer<'a> {
    tokenizer: &'a Tokenizer,
    chat: EncodedChat,
    pending: String,
}

impl Writer<'_> {
    fn control(&mut self, id: u32, is_target: bool) {
        self.flush(usize::MAX);
        self.push(id, is_target);
    }

    fn text(&mut self, text: &str) {
        self.pending.push_str(text);
    }

    /// What was said and the token that ends the turn.
    fn turn(&mut self, role: Role, content: &str, end: u32) {
        if role != Role::Assistant {
            self.text(content);
            return self.control(end, false);
        }
        let header_bytes = self.pending.len();
        // A reply is generated after the header's own tokens, so the two are encoded apart, except
        // where the tokenizer would put a word separator before the second piece.
        let target_from = if self.adds_separator() {
            header_bytes
        } else {
            self.flush(usize::MAX);
            0
        };
        self.text(content);
        self.flush(target_from);
        self.push(end, true);
    }

    /// Whether encoding a piece by itself puts a word separator (U+2581) before it.
    fn adds_separator(&self) -> bool {
        let ids = self.tokenizer.encode("a");
        ids.first()
            .and_then(|id| self.tokenizer.token(*id))
            .is_some_and(|t| t.starts_with('\u{2581}'))
    }

    /// Encodes what has been collected; tokens that start at or after byte `target_from` are targets.
    fn flush(&mut self, target_from: usize) {
        let text = std::mem::take(&mut self.pending);
        if !text.is_empty() {
            for (id, start) in self.tokenizer.encode_with_offsets(&text) {
                self.push(id, start >= target_from);
            }
        }
    }

    fn push(&mut self, id: u32, is_target: bool) {
        self.chat.ids.push(id);
        self.chat.loss_mask.push(is_target);
    }

    fn finish(mut self) -> EncodedChat {
        self.flush(usize::MAX);
        self.chat
    }
}

#[cfg(test)]
mod tests;
