//! `generate`: prompt in, text out, as it is made.
use std::io::{IsTerminal, Read, Write};
use std::ops::ControlFlow;

use anyhow::Context;
use model::Message;
use model::decode::Reply;
use model::decode::speculative::{Speculation, SpeculationReport, generate_speculative};

use crate::backend::{Device, InnerBackend};
use crate::builtin::{load_held_in, required_tokenizer};
use crate::cli::{GenerateArgs, held};
use crate::commands::{Outcome, drafter, template};
use crate::error::DistillError;
use crate::streaming::{StopStream, TextStream};

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
    let loaded =
        load_held_in::<InnerBackend>(&args.model, held(args.precision, args.quantize), device)?;
    let tokenizer = required_tokenizer(loaded.tokenizer.as_ref(), &args.model)?;
    let config = &loaded.model.config().llama;
    let (ids, stop_tokens) = if args.raw {
        (tokenizer.encode(&prompt), config.eos_token_ids.clone())
    } else {
        let template = template::of_model(&args.model, Some(tokenizer))?;
        let template = template.ok_or_else(|| DistillError::NoChatTemplate {
            path: args.model.clone(),
        })?;
        let mut turns: Vec<Message> = args.system.map(Message::system).into_iter().collect();
        turns.push(Message::user(prompt));
        let ids = template.encode_chat(tokenizer, &turns, true)?.ids;
        (ids, template.stop_tokens(config, tokenizer)?)
    };
    let sampling = (args.sampling).sampling(args.max_tokens, args.seed, stop_tokens);

    let mut stdout = std::io::stdout().lock();
    let mut text = TextStream::new(tokenizer);
    let mut stops = StopStream::new(args.stops);
    let mut written = Ok(());
    let mut each = |token| {
        let piece = stops.push(&text.push(token).unwrap_or_default());
        written = stdout
            .write_all(piece.as_bytes())
            .and_then(|()| stdout.flush());
        if written.is_ok() && !stops.is_over() {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    };
    let (reply, report) = match &args.speculate {
        None => (loaded.model.generate_each(&ids, &sampling, each)?, None),
        Some(drafter) => {
            let mut drafter = drafter::build(drafter, &loaded, device)?;
            let (mut replies, report) = generate_speculative(
                &loaded.model,
                drafter.as_mut(),
                std::slice::from_ref(&ids),
                &sampling,
                &mut Speculation::new(drafter::draft_len(args.draft_tokens)),
                &mut |_, token| each(token),
            )?;
            (replies.swap_remove(0), Some(report))
        }
    };
    let rest = stops.finish(&text.rest());
    let written = written.and_then(|()| writeln!(stdout, "{rest}"));
    match written {
        // Whoever read the text has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(Outcome::Done),
        written => written.context("could not write to stdout")?,
    }
    if std::io::stderr().is_terminal() {
        show_speed(ids.len(), &reply, report.as_ref());
    }
    Ok(Outcome::Done)
}

#[expect(clippy::print_stderr, reason = "progress of a command")]
fn show_speed(prompt_tokens: usize, reply: &Reply, report: Option<&SpeculationReport>) {
    // A plain prefill brings the first token.
    let earlier = usize::from(report.is_none());
    let decoded = reply.tokens.len().saturating_sub(earlier);
    let per_second = |tokens: usize, wall_ms: f64| tokens as f64 * 1e3 / wall_ms.max(1e-3);
    eprintln!(
        "prompt {prompt_tokens} tokens, {:.1} tokens/s; reply {} tokens, {:.1} tokens/s",
        per_second(prompt_tokens, reply.prefill_ms),
        reply.tokens.len(),
        per_second(decoded, reply.decode_ms)
    );
    if let Some(report) = report {
        eprintln!(
            "{} rounds with drafts, {:.2} tokens each, {:.0} % of the drafts accepted; {} steps without",
            report.rounds,
            report.tokens_per_round(),
            100.0 * report.acceptance(),
            report.plain_rounds
        );
    }
}
