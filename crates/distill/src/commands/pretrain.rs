//! `pretrain`: a small Llama from random weights.
use std::io::IsTerminal;
use std::time::Instant;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use model::load::{CheckpointMeta, SavePrecision, save};
use serde_json::json;

use crate::backend::{Device, InnerBackend};
use crate::cli::PretrainArgs;
use crate::commands::Outcome;
use crate::data::{ReplyRecord, jsonl};
use crate::run::StopFlag;
use crate::stage::pretraining::{PretrainRecipe, Progress, pretrain};

/// Runs the verb.
///
/// Ctrl-C ends the training early and saves what there is.
///
/// # Errors
/// A wrong recipe, unreadable data, a loss that is not finite, or a folder that cannot be written.
pub fn run(args: PretrainArgs, device: &Device) -> anyhow::Result<Outcome> {
    let started = Instant::now();
    let recipe = PretrainRecipe::load(&args.recipe, &args.set)?;
    let mut records = Vec::new();
    for path in &args.data {
        records.extend(jsonl::read::<ReplyRecord>(path)?);
    }
    let data_sha256 = args
        .data
        .iter()
        .map(|path| sha256(path))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let stop = StopFlag::new();
    stop.listen().context("could not listen for Ctrl-C")?;
    let bar = ProgressBar::new(recipe.training.steps as u64).with_style(
        ProgressStyle::with_template("{pos}/{len} {wide_bar} {msg} {elapsed} (about {eta} left)")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    let is_terminal = std::io::stderr().is_terminal();
    let mut lines = Vec::new();
    let mut report = |progress: Progress| {
        let line = match &progress {
            Progress::Step {
                step,
                steps,
                loss,
                grad_norm,
                lr,
                tokens_per_s,
            } => {
                bar.set_length(*steps as u64);
                bar.set_position(*step as u64);
                bar.set_message(format!("loss {loss:.3}, {tokens_per_s:.0} tokens/s"));
                // Without a terminal a line now and then replaces the bar.
                let is_due = !is_terminal && step % 200 == 0;
                is_due.then(|| {
                    format!(
                        "step {step}/{steps}: loss {loss:.4}, gradient norm {grad_norm:.3}, lr {lr:.2e}, \
                         {tokens_per_s:.0} tokens/s"
                    )
                })
            }
            Progress::Note(text) => Some(text.clone()),
        };
        if let Some(line) = line {
            bar.suspend(|| say(&line));
            lines.push(line);
        }
    };
    let trained = pretrain::<InnerBackend>(&recipe, records, device, &stop, &mut report)?;
    bar.finish();
    let meta = CheckpointMeta::default();
    save(
        &trained.model,
        Some(&trained.tokenizer),
        &args.out,
        &meta,
        SavePrecision::Bf16,
    )?;
    // The model is on the disk before anything else takes time.
    let scores = trained.measure(&recipe, device)?;
    let shares: Vec<_> = scores
        .exact_match
        .iter()
        .map(|(name, share)| format!("{name} {:.1} %", share * 100.0))
        .collect();
    say(&format!(
        "held-out loss {:.4}; {}",
        scores.held_out_loss,
        shares.join(", ")
    ));
    let provenance = json!({
        "made_by": concat!("distill pretrain ", env!("CARGO_PKG_VERSION")),
        "commit": super::generate_data::commit(),
        "backend": crate::backend::NAME,
        "recipe": recipe,
        "data_sha256": data_sha256,
        "steps": trained.steps,
        "held_out_loss": scores.held_out_loss,
        "exact_match": scores.exact_match.into_iter().collect::<std::collections::BTreeMap<_, _>>(),
        "wall_ms": started.elapsed().as_millis() as u64,
        "log": lines,
    });
    let path = args.out.join("training.json");
    let text = serde_json::to_string_pretty(&provenance)? + "\n";
    model::files::write(&path, text.as_bytes())?;
    Ok(Outcome::Done)
}

#[expect(
    clippy::print_stderr,
    reason = "progress for the person who ran the command"
)]
fn say(line: &str) {
    eprintln!("{line}");
}

fn sha256(path: &std::path::Path) -> anyhow::Result<String> {
    use sha2::{Digest, Sha256};
    let bytes =
        std::fs::read(path).with_context(|| format!("could not read `{}`", path.display()))?;
    Ok(crate::checkpoint::hex(&Sha256::digest(bytes)))
}
