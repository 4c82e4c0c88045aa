//! `eval`: measures of one model.
use std::io::{IsTerminal, Write};

use eval::perplexity;
use eval::report::{Cell, Table};
use model::load;
use serde_json::json;

use crate::backend::{Device, InnerBackend};
use crate::cli::{EvalArgs, EvalCommand, PerplexityArgs};
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
    }
}

fn run_perplexity(args: PerplexityArgs, device: &Device) -> anyhow::Result<Outcome> {
    // A text is read before the model is loaded: a wrong path should not cost a minute.
    let text = match (&args.source.text, &args.source.brown) {
        (Some(path), _) => Some(read_text(path)?),
        (None, Some(folder)) => Some(brown_text(folder)?),
        (None, None) => None,
    };
    let loaded = load::<InnerBackend>(&args.model, device)?;
    let mut ids = match (&text, &args.source.tokens) {
        (Some(text), _) => {
            let tokenizer = loaded
                .tokenizer
                .as_ref()
                .ok_or_else(|| DistillError::NoTokenizer {
                    path: args.model.clone(),
                    cure: "score token ids with `--tokens`",
                })?;
            tokenizer.encode(text)
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
