//! `generate-data`: short texts written by a teacher, as JSON lines.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use model::decode::{Finish, Sampling, generate_batch};
use model::{ChatTemplate, Message};
use serde_json::json;

use crate::backend::{Device, InnerBackend};
use crate::builtin::load_path;
use crate::cli::GenerateDataArgs;
use crate::commands::Outcome;
use crate::data::jsonl::Writer;
use crate::data::{Prompts, Rejected, ReplyFilter, ReplyRecord};

/// Batches whose prompts are drawn together and sorted by length, so that a batch wastes few steps on ragged prompts.
const BATCHES_SORTED_TOGETHER: usize = 8;

/// Runs the verb.
///
/// # Errors
/// When the model cannot be loaded, has no chat template, or the disk refuses.
pub fn run(args: GenerateDataArgs, device: &Device) -> anyhow::Result<Outcome> {
    let started = Instant::now();
    let loaded = load_path::<InnerBackend>(&args.model, device)?;
    let (teacher, teacher_sha256) = (loaded.model, loaded.sha256);
    let tokenizer = loaded
        .tokenizer
        .with_context(|| format!("`{}` has no tokenizer", args.model.display()))?;
    let template =
        ChatTemplate::detect(&tokenizer).context("the tokenizer has no chat template tokens")?;
    let stop_tokens = template.stop_tokens(&teacher.config().llama, &tokenizer)?;

    let mut prompts = Prompts::new(args.kind, args.seed);
    let mut filter = ReplyFilter::new(args.min_chars, args.max_chars);
    let mut writer = Writer::create(&args.output)?;
    let mut rejected: BTreeMap<Rejected, usize> = BTreeMap::new();
    let (mut kept, mut asked, mut tokens, mut batch_index) = (0, 0, 0, 0u64);
    let budget = args
        .minutes
        .map(|minutes| Duration::from_secs_f64(minutes * 60.0));
    let in_time = || budget.is_none_or(|budget| started.elapsed() < budget);
    let bar = progress_bar(args.count);

    'all: while kept < args.count && in_time() {
        let mut drawn = Vec::new();
        for prompt in prompts.by_ref().take(args.batch * BATCHES_SORTED_TOGETHER) {
            let ids = template
                .encode_chat(&tokenizer, &[Message::user(prompt.clone())], true)?
                .ids;
            drawn.push((prompt, ids));
        }
        if drawn.is_empty() {
            break;
        }
        drawn.sort_by_key(|(_, ids)| ids.len());
        for batch in drawn.chunks(args.batch) {
            if kept >= args.count || !in_time() {
                break 'all;
            }
            let seed = args.seed.wrapping_mul(1_000_003).wrapping_add(batch_index);
            batch_index += 1;
            let sampling = Sampling {
                max_tokens: args.max_tokens,
                temperature: args.temperature,
                seed,
                stop_tokens: stop_tokens.clone(),
                ..Sampling::greedy(args.max_tokens)
            };
            let ids: Vec<_> = batch.iter().map(|(_, ids)| ids.clone()).collect();
            let replies = generate_batch(&teacher, &ids, &sampling)?;
            for ((prompt, _), reply) in batch.iter().zip(replies) {
                asked += 1;
                tokens += reply.tokens.len();
                let text = tokenizer.decode_without_specials(&reply.tokens);
                match filter.accept(&text, reply.finish == Finish::Stop) {
                    Ok(text) if kept < args.count => {
                        writer.write(&ReplyRecord {
                            prompt: prompt.clone(),
                            reply: text,
                            seed,
                        })?;
                        kept += 1;
                    }
                    Ok(_) => {}
                    Err(why) => *rejected.entry(why).or_default() += 1,
                }
            }
            bar.set_position(kept as u64);
            bar.set_message(format!(
                "{:.0} tokens/s",
                tokens as f64 / started.elapsed().as_secs_f64()
            ));
        }
    }
    writer.finish()?;
    bar.finish();

    let rejected: BTreeMap<_, _> = rejected
        .iter()
        .map(|(why, count)| (why.name(), count))
        .collect();
    let provenance = json!({
        "made_by": concat!("distill generate-data ", env!("CARGO_PKG_VERSION")),
        "commit": commit(),
        "date": utc_date(std::time::SystemTime::now()),
        "teacher": args.model.file_name().map(|name| name.to_string_lossy()),
        "teacher_sha256": teacher_sha256,
        "kind": args.kind,
        "seed": args.seed,
        "sampling": { "temperature": args.temperature, "max_tokens": args.max_tokens, "batch": args.batch },
        "filter": { "min_chars": args.min_chars, "max_chars": args.max_chars },
        "records": kept,
        "prompts_asked": asked,
        "tokens_generated": tokens,
        "rejected": rejected,
        "wall_ms": started.elapsed().as_millis() as u64,
    });
    let sidecar = sidecar_path(&args.output);
    let text = serde_json::to_string_pretty(&provenance)? + "\n";
    model::files::write(&sidecar, text.as_bytes())?;
    say(&format!(
        "{kept} records in `{}`, {asked} prompts asked, dropped: {rejected:?}",
        args.output.display()
    ));
    Ok(Outcome::Done)
}

#[expect(
    clippy::print_stderr,
    reason = "a summary for the person who ran the command"
)]
fn say(text: &str) {
    eprintln!("{text}");
}

fn progress_bar(count: usize) -> ProgressBar {
    let style = ProgressStyle::with_template(
        "{pos}/{len} records {wide_bar} {msg} {elapsed} (about {eta} left)",
    );
    ProgressBar::new(count as u64)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// `FILE.meta.json`, where the file's origin is written.
fn sidecar_path(output: &Path) -> PathBuf {
    let mut name = output.as_os_str().to_owned();
    name.push(".meta.json");
    name.into()
}

/// The source commit: `SERPENTINE_COMMIT` if set, else what git says, else `unknown`.
pub(crate) fn commit() -> String {
    let from_git = || {
        let output = std::process::Command::new("git")
            .args(["rev-parse", "HEAD"])
            .output()
            .ok()?;
        let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
        (output.status.success() && !text.is_empty()).then_some(text)
    };
    std::env::var("SERPENTINE_COMMIT")
        .ok()
        .or_else(from_git)
        .unwrap_or_else(|| "unknown".into())
}

/// A moment as `YYYY-MM-DD`, UTC.
fn utc_date(time: std::time::SystemTime) -> String {
    let seconds = time
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_secs());
    let mut days = (seconds / 86_400) as i64;
    let mut year = 1970;
    let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    while days >= 365 + i64::from(leap(year)) {
        days -= 365 + i64::from(leap(year));
        year += 1;
    }
    let lengths = [
        31,
        28 + i64::from(leap(year)),
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ];
    let mut month = 1;
    for length in lengths {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    format!("{year:04}-{month:02}-{:02}", days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_civil() {
        let date = |days: u64| utc_date(std::time::UNIX_EPOCH + Duration::from_secs(days * 86_400));
        assert_eq!(date(0), "1970-01-01");
        assert_eq!(date(11_016), "2000-02-29");
        assert_eq!(date(19_722), "2023-12-31");
        assert_eq!(date(20_000), "2024-10-04");
    }

    #[test]
    fn the_sidecar_stands_beside_the_file() {
        assert_eq!(
            sidecar_path(Path::new("a/b.jsonl.gz")),
            Path::new("a/b.jsonl.gz.meta.json")
        );
    }
}
