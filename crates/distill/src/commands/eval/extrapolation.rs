//! `eval extrapolation`: perplexity by the length of the context.
use std::io::Write;

use eval::perplexity::{Nll, window_ends};
use eval::report::{Cell, Table};

use super::{progress_bar, read_text};
use crate::backend::{Device, InnerBackend};
use crate::builtin::load_path;
use crate::cli::ExtrapolationArgs;
use crate::commands::Outcome;
use crate::error::DistillError;

/// Prints one row a model and length on stdout.
///
/// # Errors
/// An unreadable model or text, a text shorter than a window, a first model without a tokenizer.
pub(super) fn run(args: &ExtrapolationArgs, device: &Device) -> anyhow::Result<Outcome> {
    let text = read_text(&args.text)?;
    let mut table = Table::new()
        .text_column("model", "model")
        .number_column("length", "tokens")
        .text_column("context", "context")
        .number_column("windows", "windows")
        .number_column("mean_nll", "mean NLL")
        .number_column("perplexity", "perplexity");
    let bar = progress_bar((args.models.len() * args.lengths.len()) as u64);
    let mut ids = Vec::new();
    for path in &args.models {
        let loaded = load_path::<InnerBackend>(path, device)?;
        if ids.is_empty() {
            let tokenizer = loaded.tokenizer.as_ref();
            let tokenizer = tokenizer.ok_or_else(|| DistillError::NoTokenizer {
                path: path.clone(),
                cure: "name a model with a `tokenizer.json` first",
            })?;
            ids = tokenizer.encode(&text);
        }
        let context = loaded.model.config().llama.max_position_embeddings;
        for length in &args.lengths {
            let ends = window_ends(&loaded.model, &ids, *length, [args.tail, args.windows])?;
            let total: Nll = ends.iter().copied().sum();
            table.push([
                Cell::text(path.display().to_string()),
                Cell::count(*length),
                Cell::text(if *length > context {
                    "beyond"
                } else {
                    "within"
                }),
                Cell::count(ends.len()),
                Cell::number(total.mean(), 4),
                Cell::number(total.perplexity(), 3),
            ]);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    let mut stdout = std::io::stdout().lock();
    if args.json {
        let rows = table.to_json();
        writeln!(stdout, "{}", serde_json::to_string_pretty(&rows)?)?;
    } else {
        write!(stdout, "{}", table.to_text())?;
    }
    Ok(Outcome::Done)
}
