//! `chat`: a conversation, in a terminal or from a script.
mod input;
mod talk;

use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use anyhow::Context;
use serde_json::json;

use crate::backend::{Device, InnerBackend};
use crate::builtin::{load_held_in, required_tokenizer};
use crate::cli::{ConversationArgs, held};
use crate::commands::{Outcome, template};
use crate::error::DistillError;
use crate::streaming::TextStream;
use input::{Input, Line};
use talk::Talk;

const HELP: &str = "\
/stats          tokens a second, bytes of decode state, acceptance of drafts
/reset          begin a new conversation
/system TEXT    begin a new one with this system turn; without TEXT, with none
/save FILE      write the conversation as JSON messages
/quit           leave, as the end of the input does
//TEXT          say a text that begins with a slash; Ctrl-C ends a reply";

/// Answers each line of stdin on stdout, as it is made; what is about the program is on stderr.
///
/// # Errors
/// An unreadable model, a model without tokenizer or chat template, a message that its template refuses, unreadable input.
pub fn run(args: ConversationArgs, device: &Device) -> anyhow::Result<Outcome> {
    let loaded =
        load_held_in::<InnerBackend>(&args.model, held(args.precision, args.quantize), device)?;
    let tokenizer = required_tokenizer(loaded.tokenizer.as_ref(), &args.model)?;
    let template = template::of_model(&args.model, Some(tokenizer))?;
    let template = template.ok_or_else(|| DistillError::NoChatTemplate {
        path: args.model.clone(),
    })?;
    let mut talk = Talk::new(&loaded, tokenizer, template, &args, device)?;
    let interrupt = Interrupt::listen()?;
    let mut input = Input::open()?;
    if input.is_terminal() {
        note("type a message, or /help; Ctrl-D leaves");
    }
    loop {
        let line = match input.read()? {
            Line::Text(line) => line,
            Line::Cancelled => continue,
            Line::End => return Ok(Outcome::Done),
        };
        let line = line.trim();
        match command(line) {
            None if line.is_empty() => {}
            None => {
                let text = line.strip_prefix('/').unwrap_or(line);
                if answer(&mut talk, tokenizer, text, &interrupt)?.is_break() {
                    return Ok(Outcome::Done);
                }
            }
            Some(("quit" | "exit", _)) => return Ok(Outcome::Done),
            Some(("help", _)) => note(HELP),
            Some(("stats", _)) => note(&talk.stats()),
            Some(("reset", _)) => talk.reset(),
            Some(("system", text)) => {
                talk.set_system((!text.is_empty()).then(|| text.to_owned()));
            }
            Some(("save", "")) => note("say where to: /save FILE"),
            // A conversation is worth more than the file that it could not be written to.
            Some(("save", file)) => match save(&talk, Path::new(file)) {
                Ok(()) => note(&format!("saved as `{file}`")),
                Err(error) => note(&format!("could not save as `{file}`: {error:#}")),
            },
            Some((other, _)) => note(&format!(
                "there is no `/{other}`; /help lists what there is"
            )),
        }
    }
}

/// Name and argument of a line that begins with one slash.
fn command(line: &str) -> Option<(&str, &str)> {
    let rest = line
        .strip_prefix('/')
        .filter(|rest| !rest.starts_with('/'))?;
    let (name, argument) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    Some((name, argument.trim()))
}

/// Streams the answer to `text`; `Break` when nobody reads any more.
fn answer(
    talk: &mut Talk<'_>,
    tokenizer: &model::Tokenizer,
    text: &str,
    interrupt: &Interrupt,
) -> anyhow::Result<ControlFlow<()>> {
    let mut stdout = std::io::stdout().lock();
    let mut stream = TextStream::new(tokenizer);
    let mut written = Ok(());
    let guard = interrupt.reply();
    let said = talk.answer(text, |token| {
        let piece = stream.push(token).unwrap_or_default();
        written = stdout
            .write_all(piece.as_bytes())
            .and_then(|()| stdout.flush());
        match written.is_ok() && !interrupt.is_asked() {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    });
    drop(guard);
    if let Err(error) = said {
        // The message could not be said; the conversation is as it was.
        note(&format!("error: {error:#}"));
        return Ok(ControlFlow::Continue(()));
    }
    let written = written.and_then(|()| writeln!(stdout, "{}", stream.rest()));
    match written.and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
        written => {
            written.context("could not write to stdout")?;
            Ok(ControlFlow::Continue(()))
        }
    }
}

fn save(talk: &Talk<'_>, path: &Path) -> anyhow::Result<()> {
    let json = json!({"messages": talk.messages()});
    let text = serde_json::to_string_pretty(&json)? + "\n";
    Ok(model::files::write(path, text.as_bytes())?)
}

#[expect(clippy::print_stderr, reason = "what is about the program, not of it")]
fn note(text: &str) {
    eprintln!("{text}");
}

/// What Ctrl-C does: it ends a reply, or the program where there is none.
struct Interrupt(Arc<AtomicU8>);

const IDLE: u8 = 0;
const REPLYING: u8 = 1;
const ASKED: u8 = 2;

impl Interrupt {
    fn listen() -> anyhow::Result<Self> {
        let state = Arc::new(AtomicU8::new(IDLE));
        let seen = state.clone();
        ctrlc::set_handler(move || {
            let to_asked =
                seen.compare_exchange(REPLYING, ASKED, Ordering::SeqCst, Ordering::SeqCst);
            // Twice means that a reply does not end.
            if to_asked.is_err() {
                std::process::exit(130);
            }
        })
        .context("could not listen for Ctrl-C")?;
        Ok(Self(state))
    }

    /// While it lives, Ctrl-C ends the reply.
    fn reply(&self) -> Replying<'_> {
        self.0.store(REPLYING, Ordering::SeqCst);
        Replying(self)
    }

    fn is_asked(&self) -> bool {
        self.0.load(Ordering::SeqCst) == ASKED
    }
}

struct Replying<'a>(&'a Interrupt);

impl Drop for Replying<'_> {
    fn drop(&mut self) {
        self.0.0.store(IDLE, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::command;

    #[test]
    fn one_slash_is_a_command_and_two_are_text() {
        assert_eq!(command("/save  a b.json "), Some(("save", "a b.json")));
        assert_eq!(command("/stats"), Some(("stats", "")));
        assert_eq!(command("//stats"), None);
        assert_eq!(command("a /b"), None);
        assert_eq!(command(""), None);
    }
}
