//! `eval needle`: a sentence in a long text, over lengths and depths.
use std::io::Write;

use eval::needle::{NeedleOptions, NeedleScore, heat_map, needle};
use eval::report::{Cell, Table};
use serde_json::json;

use super::{progress_bar, read_text};
use crate::backend::{self, Device, InnerBackend};
use crate::builtin::{load_path, required_tokenizer};
use crate::cli::NeedleArgs;
use crate::commands::Outcome;

/// Prints one row a length on stdout, and draws the heat map where asked to.
///
/// # Errors
/// An unreadable model or text, a model without a tokenizer; when the picture cannot be written.
pub(super) fn run(args: &NeedleArgs, device: &Device) -> anyhow::Result<Outcome> {
    let text = read_text(&args.text)?;
    let loaded = load_path::<InnerBackend>(&args.model, device)?;
    let tokenizer = required_tokenizer(loaded.tokenizer.as_ref(), &args.model)?;
    let context = loaded.model.config().llama.max_position_embeddings;
    let most = args.most.unwrap_or(context).max(args.least);
    let options = NeedleOptions::grid(args.least, most, args.lengths);
    let bar = progress_bar((options.lengths.len() * options.depths.len()) as u64);
    let scores = needle(&loaded.model, tokenizer, &text, &options, |done| {
        bar.set_position(done as u64);
    })?;
    bar.finish_and_clear();
    if let Some(path) = &args.svg {
        let title = format!("{}: ROUGE-1 x 10 by tokens and depth", args.model.display());
        model::files::write(path, heat_map(&title, &scores).as_bytes())?;
    }
    let mut stdout = std::io::stdout().lock();
    if args.json {
        let report = json!({
            "model_sha256": loaded.sha256,
            "backend": backend::NAME,
            "context": context,
            "scores": scores,
        });
        writeln!(stdout, "{}", serde_json::to_string_pretty(&report)?)?;
    } else {
        write!(stdout, "{}", table(&options, &scores, context).to_text())?;
    }
    Ok(Outcome::Done)
}

fn table(options: &NeedleOptions, scores: &[NeedleScore], context: usize) -> Table {
    let mut table = Table::new()
        .number_column("length", "tokens")
        .text_column("beyond_context", "context")
        .number_column("recalled", "recalled")
        .number_column("rouge", "ROUGE-1 x 10");
    for depth in &options.depths {
        table = table.number_column("depth", format!("{:.0} %", 100.0 * depth));
    }
    for scores in scores.chunks(options.depths.len()) {
        let count = scores.len() as f64;
        let recalled = scores.iter().filter(|score| score.is_recalled).count();
        let rouge: f64 = scores.iter().map(|score| score.rouge).sum();
        let length = scores[0].length;
        let mut cells = vec![
            Cell::count(length),
            Cell::text(if length > context { "beyond" } else { "within" }),
            Cell::percent(recalled as f64 / count),
            Cell::number(rouge / count, 2),
        ];
        cells.extend(scores.iter().map(|score| Cell::number(score.rouge, 1)));
        table.push(cells);
    }
    table
}
