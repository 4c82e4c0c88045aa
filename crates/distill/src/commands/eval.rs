//! `eval`: measures of one model, or of a run.
mod all;
mod chat;
mod extrapolation;
mod fidelity;
mod generate;
mod needle;
mod throughput;
mod zero_shot;

use std::io::{IsTerminal, Write};

use eval::exact_match::exact_match;
use eval::perplexity;
use eval::report::{Cell, Table};
use eval::speed::{self, SpeedOptions};
use eval::synthetic::{self, SyntheticTask, TaskKind, TaskMix};
use model::Tokenizer;
use serde_json::json;

use crate::backend::{Device, InnerBackend};
use crate::builtin::{load_held_in, load_path, required_tokenizer};
use crate::cli::{EvalArgs, EvalCommand, PerplexityArgs, PrecisionArg, SpeedArgs, TasksArgs, held};
use crate::commands::Outcome;
use crate::data::brown::brown_text;
use crate::data::token_ids::read_token_rows;
use crate::error::DistillError;

/// Prints a measure on stdout.
///
/// # Errors
/// An unreadable model or text, nothing to score.
pub fn run(args: EvalArgs, device: &Device) -> anyhow::Result<Outcome> {
    match args.measure {
        EvalCommand::Perplexity(args) => run_perplexity(args, device),
        EvalCommand::Tasks(args) => run_tasks(args, device),
        EvalCommand::Speed(args) if args.batch.is_empty() && args.context.is_empty() => {
            run_speed(args, device)
        }
        EvalCommand::Speed(args) => throughput::run(&args, device),
        EvalCommand::ZeroShot(args) => zero_shot::run(&args, device),
        EvalCommand::Generate(args) => generate::run(&args, device),
        EvalCommand::Chat(args) => chat::run(&args, device),
        EvalCommand::Extrapolation(args) => extrapolation::run(&args, device),
        EvalCommand::Needle(args) => needle::run(&args, device),
        EvalCommand::Fidelity(args) => fidelity::run(&args, device),
        EvalCommand::All(args) => all::run(&args, device),
    }
}

fn run_perplexity(args: PerplexityArgs, device: &Device) -> anyhow::Result<Outcome> {
    // A text is read before the model is loaded: a wrong path should not cost a minute.
    let text = match (&args.source.text, &args.source.brown) {
        (Some(path), _) => Some(read_text(path)?),
        (None, Some(folder)) => Some(brown_text(folder)?),
        (None, None) => None,
    };
    let loaded =
        load_held_in::<InnerBackend>(&args.model, held(PrecisionArg::F32, args.quantize), device)?;
    let mut ids = match (&text, &args.source.tokens) {
        (Some(text), _) => {
            let tokenizer = loaded
                .tokenizer
                .as_ref()
                .ok_or_else(|| DistillError::NoTokenizer {
                    path: args.model.clone(),
                    cure: "score token ids with `--tokens`",
                })?;
            encode_start(tokenizer, text, args.max_tokens)
        }
        (None, Some(path)) => {
            read_token_rows(path, loaded.model.config().llama.vocab_size)?.concat()
        }
        (None, None) => unreachable!("clap requires one of the three"),
    };
    ids.truncate(args.max_tokens.unwrap_or(usize::MAX));

    let count = ids.len().div_ceil(args.window);
    let bar = progress_bar(count as u64);
    let scored = perplexity::windows(&loaded.model, &ids, args.window, |done| {
        bar.set_position(done as u64)
    })?;
    bar.finish_and_clear();

    let total = scored.total();
    let mut stdout = std::io::stdout().lock();
    if args.json {
        let report = json!({
            "window": args.window,
            "windows": scored.windows.len(),
            "tokens": ids.len(),
            "scored_tokens": total.scored_tokens,
            "mean_nll": total.mean(),
            "perplexity": total.perplexity(),
            "window_mean_nll": scored.windows.iter().map(|nll| nll.mean()).collect::<Vec<_>>(),
            "model_sha256": loaded.sha256,
        });
        writeln!(stdout, "{}", serde_json::to_string_pretty(&report)?)?;
    } else {
        let mut table = Table::new()
            .number_column("window", "window")
            .number_column("windows", "windows")
            .number_column("scored_tokens", "scored tokens")
            .number_column("mean_nll", "mean NLL")
            .number_column("perplexity", "perplexity");
        table.push([
            Cell::count(args.window),
            Cell::count(scored.windows.len()),
            Cell::count(total.scored_tokens),
            Cell::number(total.mean(), 5),
            Cell::number(total.perplexity(), 4),
        ]);
        write!(stdout, "{}", table.to_text())?;
    }
    Ok(Outcome::Done)
}

/// The tokens of `text`, or the first `max_tokens` of them without reading all of a long text.
fn encode_start(tokenizer: &Tokenizer, text: &str, max_tokens: Option<usize>) -> Vec<u32> {
    // Beyond the last line feed a cut could change the tokens of the word it falls into.
    let Some(max_tokens) = max_tokens else {
        return tokenizer.encode(text);
    };
    let mut bytes = max_tokens.saturating_mul(8);
    loop {
        let end = text
            .as_bytes()
            .iter()
            .skip(bytes)
            .position(|byte| *byte == b'\n')
            .map_or(text.len(), |position| bytes + position + 1);
        let ids = tokenizer.encode(&text[..end]);
        if end == text.len() || ids.len() > max_tokens {
            return ids;
        }
        bytes = bytes.saturating_mul(2);
    }
}

fn run_tasks(args: TasksArgs, device: &Device) -> anyhow::Result<Outcome> {
    let loaded = load_path::<InnerBackend>(&args.model, device)?;
    let tokenizer = required_tokenizer(loaded.tokenizer.as_ref(), &args.model)?;
    let mut table = Table::new()
        .text_column("task", "task")
        .number_column("pairs", "pairs")
        .number_column("count", "tasks")
        .number_column("correct", "correct")
        .number_column("accuracy", "accuracy")
        .number_column("standard_error", "+/-");
    let mut shown = String::new();
    let bar = progress_bar((TaskKind::ALL.len() * args.pairs.len()) as u64);
    for kind in TaskKind::ALL {
        for n_pairs in &args.pairs {
            let mix = TaskMix::only(kind, *n_pairs).held_out();
            let tasks = synthetic::tasks(args.seed, args.count, &mix);
            let scored = exact_match(&loaded.model, tokenizer, &tasks, args.batch)?;
            table.push([
                Cell::text(kind.name()),
                Cell::count(*n_pairs),
                Cell::count(scored.overall.count),
                Cell::count(scored.overall.correct),
                Cell::percent(scored.overall.share()),
                Cell::percent(scored.overall.standard_error()),
            ]);
            for (task, reply) in tasks.iter().zip(&scored.replies) {
                let mark = if *reply == task.answer {
                    "right"
                } else {
                    "wrong"
                };
                let SyntheticTask { prompt, answer, .. } = task;
                shown += &format!("\n{prompt}\n  expected {answer:?}\n  {mark}: {reply:?}\n");
            }
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    let mut stdout = std::io::stdout().lock();
    if args.json {
        writeln!(
            stdout,
            "{}",
            serde_json::to_string_pretty(&table.to_json())?
        )?;
    } else {
        write!(stdout, "{}", table.to_text())?;
        if args.replies {
            write!(stdout, "{shown}")?;
        }
    }
    Ok(Outcome::Done)
}

fn run_speed(args: SpeedArgs, device: &Device) -> anyhow::Result<Outcome> {
    let loaded = load_path::<InnerBackend>(&args.model, device)?;
    let options = SpeedOptions {
        prompt_tokens: args.prompt_tokens,
        decode_tokens: args.decode_tokens,
        rounds: args.rounds,
    };
    let speed = speed::measure(&loaded.model, options)?;
    let mut table = Table::new()
        .text_column("backend", "backend")
        .number_column("prompt_tokens", "prompt")
        .number_column("prefill_tokens_per_s", "prefill tokens/s")
        .number_column("decode_tokens_per_s", "decode tokens/s")
        .number_column("state_bytes_at_4096", "state @4k");
    table.push([
        Cell::text(crate::backend::NAME),
        Cell::count(args.prompt_tokens),
        Cell::number(speed.prefill_tokens_per_s, 1),
        Cell::number(speed.decode_tokens_per_s, 1),
        Cell::bytes(speed.state_bytes),
    ]);
    let mut stdout = std::io::stdout().lock();
    if args.json {
        writeln!(
            stdout,
            "{}",
            serde_json::to_string_pretty(&table.to_json())?
        )?;
    } else {
        write!(stdout, "{}", table.to_text())?;
    }
    Ok(Outcome::Done)
}

fn read_text(path: &std::path::Path) -> Result<String, DistillError> {
    let bytes = std::fs::read(path).map_err(|source| DistillError::Io {
        action: "read",
        path: path.into(),
        source,
    })?;
    String::from_utf8(bytes).map_err(|error| DistillError::Malformed {
        path: path.into(),
        found: format!(
            "a byte that is not UTF-8 at offset {}",
            error.utf8_error().valid_up_to()
        ),
        expected: "a UTF-8 text (convert it with `iconv -t UTF-8`)".into(),
    })
}

/// Windows done, on stderr, where someone looks.
fn progress_bar(count: u64) -> indicatif::ProgressBar {
    if std::io::stderr().is_terminal() {
        indicatif::ProgressBar::new(count)
    } else {
        indicatif::ProgressBar::hidden()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_of_a_text_has_the_tokens_of_the_whole() {
        let lines: Vec<String> = (0..400)
            .map(|n| format!("line {n} of some text,  with  runs\n"))
            .collect();
        let tokenizer = Tokenizer::train_bpe(&lines, 300, &[]).unwrap();
        let text = lines.concat();
        let whole = tokenizer.encode(&text);
        for count in [1, 2, 57, 1000, whole.len(), whole.len() + 9] {
            let start = encode_start(&tokenizer, &text, Some(count));
            let count = count.min(whole.len());
            assert_eq!(start[..count], whole[..count]);
        }
        assert!(encode_start(&tokenizer, &text, Some(10)).len() < whole.len() / 2);
    }
}
