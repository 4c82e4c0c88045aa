//! The chat template of a `tokenizer_config.json`, a Jinja program from outside: it runs with bounded steps and output.

use std::path::{Path, PathBuf};

use minijinja::machinery::{CompiledTemplate, eval, make_string_output};
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, ErrorKind, context};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{EncodedChat, Message, Role, bounds, program};
use crate::error::ModelError;
use crate::load::read_small_file;
use crate::tokenizer::Tokenizer;

/// Most bytes of a `tokenizer_config.json`: some list thousands of tokens.
const MOST_FILE_BYTES: u64 = 8 << 20;
/// Most bytes of a template: the longest in use have some 20 KiB.
const MOST_SOURCE_BYTES: usize = 64 << 10;
/// Stack for reading a template: the parser goes one call deeper for each operator of a chain, which may be of two bytes.
const STACK_BYTES: usize = 128 << 20;
/// Most instructions of one rendering: a long conversation takes some thousands.
const FUEL: u64 = 1_000_000;
/// Most bytes of a text that a program puts together.
pub(super) const OUTPUT_BYTES: usize = 8 << 20;
/// Most bytes that one rendering adds to the messages, each of which it may repeat: encoding a text takes up to 400 times its size.
const ADDED_BYTES: usize = 256 << 10;
/// How often a rendering may repeat the bytes of its messages.
const MOST_REPEATS: usize = 4;

/// A chat template as Jinja source, with the tokens it may name.
///
/// What the assistant says is what the template adds after the header of a reply, up to its last special token; the
/// template must therefore write a conversation as the beginning of every longer one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JinjaTemplate {
    path: PathBuf,
    pub(super) source: String,
    bos_token: Option<String>,
    eos_token: Option<String>,
}

/// What is read of a `tokenizer_config.json`; a list of thousands of tokens is not held.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Fields {
    chat_template: Value,
    bos_token: Value,
    eos_token: Value,
}

impl JinjaTemplate {
    /// Reads `chat_template`, `bos_token` and `eos_token` of a `tokenizer_config.json`.
    ///
    /// # Errors
    /// [`ModelError::Io`] when the file cannot be read; [`ModelError::ChatTemplate`] when it holds no template, or one that
    /// is not Jinja.
    pub fn load(path: &Path) -> Result<Self, ModelError> {
        let bytes = read_small_file(path, MOST_FILE_BYTES)?;
        let problem = |problem: String| ModelError::ChatTemplate {
            path: path.into(),
            problem,
        };
        let config: Fields =
            serde_json::from_slice(&bytes).map_err(|error| problem(format!("no JSON: {error}")))?;
        let source = config.chat_template.as_str().ok_or_else(|| {
            problem("there is no text `chat_template` (choose one by `--template`)".into())
        })?;
        if source.len() > MOST_SOURCE_BYTES {
            let found = source.len();
            return Err(problem(format!(
                "the template has {found} bytes, at most {MOST_SOURCE_BYTES} are read (choose one by `--template`)"
            )));
        }
        // A token is a text, or an object that holds it.
        let token = |token: &Value| {
            let text = token.as_str().or_else(|| token["content"].as_str());
            text.map(str::to_owned)
        };
        let template = Self {
            path: path.into(),
            source: source.into(),
            bos_token: token(&config.bos_token),
            eos_token: token(&config.eos_token),
        };
        template
            .program()
            .map_err(|error| problem(format!("{error:#}")))?;
        Ok(template)
    }

    /// Hash of the source and its tokens.
    pub fn sha256(&self) -> String {
        let parts = (&self.source, &self.bos_token, &self.eos_token);
        let digest = Sha256::digest(format!("{parts:?}"));
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    pub(super) fn end_of_turn(&self, tokenizer: &Tokenizer) -> Result<u32, ModelError> {
        let token = self.eos_token.as_deref();
        token
            .and_then(|token| tokenizer.special_id(token))
            .ok_or_else(|| self.problem("its `eos_token` is no special token of the tokenizer"))
    }

    pub(super) fn encode_chat(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message],
        add_generation_prompt: bool,
    ) -> Result<EncodedChat, ModelError> {
        for message in messages {
            let ids = tokenizer.encode_with_specials(&message.content);
            // The template puts text and control tokens into one string.
            if let Some(id) = ids.into_iter().find(|id| tokenizer.is_special(*id)) {
                let token = tokenizer.token(id).unwrap_or_default();
                return Err(self.problem(format!(
                    "a message contains the control token `{token}` and could close its own turn"
                )));
            }
        }
        let program = self.program().map_err(|error| self.failed(&error))?;
        let render = |messages: &[Message], add_generation_prompt: bool| {
            self.render(&program, messages, add_generation_prompt)
        };
        let mut chat = EncodedChat::default();
        let mut done = String::new();
        for (index, message) in messages.iter().enumerate() {
            if message.role != Role::Assistant {
                continue;
            }
            let header = render(&messages[..index], true)?;
            self.push(&mut chat, tokenizer, &mut done, header, false)?;
            let whole = render(&messages[..=index], false)?;
            self.push(&mut chat, tokenizer, &mut done, whole, true)?;
        }
        let whole = render(messages, add_generation_prompt)?;
        self.push(&mut chat, tokenizer, &mut done, whole, false)?;
        Ok(chat)
    }

    /// Encodes what `whole` has after `done`; of a reply, up to the last special token is a target.
    fn push(
        &self,
        chat: &mut EncodedChat,
        tokenizer: &Tokenizer,
        done: &mut String,
        whole: String,
        is_reply: bool,
    ) -> Result<(), ModelError> {
        let Some(piece) = whole.strip_prefix(done.as_str()) else {
            return Err(self.problem(
                "it writes the turns of a longer conversation otherwise, so replies cannot be told from prompts \
                 (choose one by `--template`)",
            ));
        };
        let ids = tokenizer.encode_with_specials(piece);
        let end = ids.iter().rposition(|id| tokenizer.is_special(*id));
        let targets = match is_reply {
            true => end.map_or(ids.len(), |end| end + 1),
            false => 0,
        };
        chat.loss_mask.extend((0..ids.len()).map(|i| i < targets));
        chat.ids.extend(ids);
        *done = whole;
        Ok(())
    }

    fn render(
        &self,
        program: &CompiledTemplate<'_>,
        messages: &[Message],
        add_generation_prompt: bool,
    ) -> Result<String, ModelError> {
        let run = || -> Result<String, Error> {
            let environment = environment();
            let turn = |message: &Message| {
                let content = message.content.as_str();
                minijinja::Value::from_pairs([("role", message.role.name()), ("content", content)])
            };
            let values = context! {
                messages => messages.iter().map(turn).collect::<Vec<_>>(),
                add_generation_prompt => add_generation_prompt,
                bos_token => self.bos_token.as_deref().unwrap_or_default(),
                eos_token => self.eos_token.as_deref().unwrap_or_default(),
            };
            let (blocks, escape) = (&program.blocks, program.initial_auto_escape.clone());
            let mut text = String::new();
            let mut output = make_string_output(&mut text);
            eval(
                &environment,
                &program.instructions,
                values,
                blocks,
                &mut output,
                escape,
            )?;
            let said: usize = messages.iter().map(|message| message.content.len()).sum();
            let most = ADDED_BYTES + MOST_REPEATS * said;
            if text.len() > most {
                let most = format!("it writes more than {most} bytes for messages of {said}");
                return Err(Error::new(ErrorKind::WriteFailure, most));
            }
            Ok(text)
        };
        run().map_err(|error| self.failed(&error))
    }

    /// White space as `transformers` has it.
    fn program(&self) -> Result<CompiledTemplate<'_>, Error> {
        let mut syntax = SyntaxConfig::builder();
        syntax.trim_blocks(true).lstrip_blocks(true);
        let syntax = syntax.build()?;
        let builder = std::thread::Builder::new().stack_size(STACK_BYTES);
        std::thread::scope(|scope| {
            let reading = builder.spawn_scoped(scope, || program::compile(&self.source, syntax));
            let reading = reading
                .map_err(|error| Error::new(ErrorKind::InvalidOperation, error.to_string()))?;
            let read = reading.join();
            read.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn failed(&self, error: &Error) -> ModelError {
        let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
        self.problem(format!("{error:#}{}", cause.unwrap_or_default()))
    }

    fn problem(&self, problem: impl Into<String>) -> ModelError {
        ModelError::ChatTemplate {
            path: self.path.clone(),
            problem: problem.into(),
        }
    }
}

/// The methods of Python's strings, bounded steps and values, and no way out.
fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_fuel(Some(FUEL));
    let raise = |message: String| -> Result<String, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message))
    };
    environment.add_function("raise_exception", raise);
    bounds::add_to(&mut environment);
    environment
}

#[cfg(test)]
mod tests;
