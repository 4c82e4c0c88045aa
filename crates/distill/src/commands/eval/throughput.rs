//! `eval speed --batch ... --context ...`: prefill and decoding by batch and context.
use std::io::Write;

use eval::report::{Cell, Table};
use eval::throughput::{ThroughputOptions, throughput};

use super::progress_bar;
use crate::backend::{Device, InnerBackend};
use crate::builtin::load_path;
use crate::cli::SpeedArgs;
use crate::commands::Outcome;

/// Prints one row a batch and context on stdout.
///
/// # Errors
/// An unreadable model, a closed stdout.
pub(super) fn run(args: &SpeedArgs, device: &Device) -> anyhow::Result<Outcome> {
    let loaded = load_path::<InnerBackend>(&args.model, device)?;
    let contexts = match args.context.as_slice() {
        [] => &[args.prompt_tokens],
        contexts => contexts,
    };
    let batches = match args.batch.as_slice() {
        [] => &[1],
        batches => batches,
    };
    let mut table = Table::new()
        .text_column("backend", "backend")
        .number_column("batch", "batch")
        .number_column("context", "context")
        .number_column("first_token_ms", "first token ms")
        .number_column("prefill_tokens_per_s", "prefill tokens/s")
        .number_column("decode_tokens_per_s", "decode tokens/s")
        .number_column("state_bytes", "state");
    let bar = progress_bar((contexts.len() * batches.len()) as u64);
    for context in contexts {
        for batch in batches {
            let options = ThroughputOptions {
                batch: *batch,
                context: *context,
                decode_tokens: args.decode_tokens,
                rounds: args.rounds,
            };
            let found = throughput(&loaded.model, options)?;
            table.push([
                Cell::text(crate::backend::NAME),
                Cell::count(*batch),
                Cell::count(*context),
                Cell::number(found.first_token_ms, 1),
                Cell::number(found.prefill_tokens_per_s, 0),
                Cell::number(found.decode_tokens_per_s, 1),
                Cell::bytes(found.state_bytes),
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
