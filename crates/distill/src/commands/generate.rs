//! `generate`: prompt in, text out, as it is made.
use std::io::{IsTerminal, Read, Write};
use std::ops::ControlFlow;

use anyhow::Context;
use model::decode::Sampling;
use model::{ChatTemplate, Message, Tokenizer};

use crate::backend::{Device, InnerBackend};
use crate::builtin::load_path;
use crate::cli::GenerateArgs;
use crate::commands::Outcome;
use crate::error::DistillError;

/// Streams the reply to stdout, ended by a line feed; speed goes to stderr when that is a terminal.
///
/// # Errors
/// An unreadable model, a model without tokenizer or (unless `--raw`) chat template, an empty prompt.
pub fn run(args: GenerateArgs, device: &Device) -> anyhow::Result<Outcome> {
    let prompt = match args.prompt {
        Some(prompt) => prompt,
        None => {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .context("could not read stdin as UTF-8")?;
            text
        }
    };
    let loaded = load_path::<InnerBackend>(&args.model, device)?;
    let tokenizer = loaded
        .tokenizer
        .as_ref()
        .ok_or_else(|| DistillError::NoTokenizer {
            path: args.model.clone(),
            cure: "put the `tokenizer.json` of its teacher into the folder",
        })?;
    let mut stop_tokens = loaded.model.config().llama.eos_token_ids.clone();
    let ids = if args.raw {
        tokenizer.encode(&prompt)
    } else {
        let template =
            ChatTemplate::detect(tokenizer).ok_or_else(|| DistillError::NoChatTemplate {
                path: args.model.clone(),
            })?;
        stop_tokens.push(template.end_of_turn(tokenizer)?);
        let mut turns: Vec<Message> = args.system.map(Message::system).into_iter().collect();
        turns.push(Message::user(prompt));
        template.encode_chat(tokenizer, &turns, true)?.ids
    };
    let sampling = Sampling {
        max_tokens: args.max_tokens,
        temperature: args.temperature,
        top_k: args.top_k,
        top_p: args.top_p,
        seed: args.seed,
        stop_tokens,
    };

    let mut stdout = std::io::stdout().lock();
    let mut text = TextStream::new(tokenizer);
    let mut written = Ok(());
    let reply = loaded.model.generate_each(&ids, &sampling, |token| {
        written = text.push(token).map_or(Ok(()), |piece| {
            stdout
                .write_all(piece.as_bytes())
                .and_then(|()| stdout.flush())
        });
        if written.is_ok() {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    })?;
    let written = written.and_then(|()| writeln!(stdout, "{}", text.rest()));
    match written {
        // Whoever read the text has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(Outcome::Done),
        written => written.context("could not write to stdout")?,
    }
    if std::io::stderr().is_terminal() {
        show_speed(ids.len(), &reply);
    }
    Ok(Outcome::Done)
}

#[expect(clippy::print_stderr, reason = "progress of a command")]
fn show_speed(prompt_tokens: usize, reply: &model::decode::Reply) {
    let decoded = reply.tokens.len().saturating_sub(1);
    let per_second = |tokens: usize, wall_ms: f64| tokens as f64 * 1e3 / wall_ms.max(1e-3);
    eprintln!(
        "prompt {prompt_tokens} tokens, {:.1} tokens/s; reply {} tokens, {:.1} tokens/s",
        per_second(prompt_tokens, reply.prefill_ms),
        reply.tokens.len(),
        per_second(decoded, reply.decode_ms)
    );
}

/// Turns tokens into text as they come, holding back characters whose bytes are not complete.
struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
    /// Tokens not yet written, after one that was: a decoder may treat the first token of a text differently.
    tokens: Vec<u32>,
    /// Bytes of the decoded `tokens` that are written.
    written: usize,
}

impl<'a> TextStream<'a> {
    fn new(tokenizer: &'a Tokenizer) -> Self {
        Self {
            tokenizer,
            tokens: Vec::new(),
            written: 0,
        }
    }

    /// The text that is certain now, if any.
    fn push(&mut self, token: u32) -> Option<String> {
        self.tokens.push(token);
        let text = self.tokenizer.decode_without_specials(&self.tokens);
        // An incomplete character decodes to this at the end; after four tokens it is not going to be completed.
        if text.ends_with('\u{fffd}') && self.tokens.len() < 6 {
            return None;
        }
        let piece = text.get(self.written..).map(str::to_owned);
        self.tokens = vec![token];
        self.written = self.tokenizer.decode_without_specials(&self.tokens).len();
        piece
    }

    /// What was held back.
    fn rest(&self) -> String {
        let text = self.tokenizer.decode_without_specials(&self.tokens);
        text.get(self.written..).unwrap_or_default().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streamed_text_equals_decoded_text_and_never_splits_a_character() {
        // Without merges every byte is a token, so each character beyond ASCII comes in pieces.
        let tokenizer = Tokenizer::train_bpe([""], 256, &[]).unwrap();
        let text = "na\u{ef}ve \u{1f44d}\u{1f3fd} \u{65e5}\u{672c}  end";
        let mut stream = TextStream::new(&tokenizer);
        let mut written = String::new();
        for token in tokenizer.encode(text) {
            let piece = stream.push(token).unwrap_or_default();
            assert!(!piece.contains('\u{fffd}'), "{piece:?} after {written:?}");
            written += &piece;
        }
        written += &stream.rest();
        assert_eq!(written, text);
    }

    #[test]
    fn bytes_that_never_become_a_character_are_written_at_last() {
        let tokenizer = Tokenizer::train_bpe([""], 256, &[]).unwrap();
        let ids = tokenizer.encode("\u{1f44d}");
        let mut stream = TextStream::new(&tokenizer);
        let mut written = String::new();
        for token in ids[..3].iter().chain(&tokenizer.encode("ok")) {
            written += &stream.push(*token).unwrap_or_default();
        }
        assert!(written.ends_with("ok"), "{written:?}");
        assert!(written.contains('\u{fffd}'));
    }
}
