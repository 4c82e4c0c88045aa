//! `eval zero-shot`: benchmarks of log-likelihoods from local files.
use std::io::Write;

use eval::report::{Cell, Table};
use eval::zero_shot::{TASKS, Task, TaskScore, ZeroShotOptions, score};
use serde_json::json;

use super::progress_bar;
use crate::backend::{self, Device, InnerBackend};
use crate::builtin::{load_path, required_tokenizer};
use crate::cli::ZeroShotArgs;
use crate::commands::Outcome;
use crate::data::task_files::{self, TaskItems};
use crate::error::DistillError;
use crate::evaluation::{batch_limits, metric_cell};
use crate::recipe::Precision;

/// Prints one row a metric on stdout.
///
/// # Errors
/// A task without a file, a bad row, an unreadable model.
pub(super) fn run(args: &ZeroShotArgs, device: &Device) -> anyhow::Result<Outcome> {
    // Files are read before the model is loaded: a wrong row should not cost a minute.
    let mut asked: Vec<(&Task, TaskItems)> = Vec::new();
    let key = |task: &Task| (task.name, task.split);
    for task in task_files::chosen(&TASKS, key, &args.tasks, &args.tasks_dir)? {
        let read = TaskItems::read(task, &args.tasks_dir, args.shots, args.limit)?;
        asked.push((task, read));
    }
    let loaded = load_path::<InnerBackend>(&args.model, device)?;
    let model = loaded
        .model
        .computing_in(Precision::from(args.precision).compute());
    let tokenizer = required_tokenizer(loaded.tokenizer.as_ref(), &args.model)?;
    let llama = &model.config().llama;
    let first_token = match args.bos {
        true => Some(
            llama
                .bos_token_id
                .ok_or_else(|| DistillError::NoFirstToken {
                    path: args.model.clone(),
                })?,
        ),
        false => None,
    };
    let options = ZeroShotOptions {
        n_shot: args.shots,
        max_context: args.max_context.min(llama.max_position_embeddings),
        first_token,
        limits: batch_limits(),
    };
    let mut scores = Vec::with_capacity(asked.len());
    for (task, TaskItems { items, examples }) in &asked {
        let answers: usize = items.iter().map(|item| item.choices.len()).sum();
        let bar = progress_bar(answers as u64);
        let progress = |done: usize| bar.set_position(done as u64);
        scores.push(score(
            task,
            [items, examples],
            &model,
            tokenizer,
            options,
            progress,
        )?);
        bar.finish_and_clear();
    }
    let mut stdout = std::io::stdout().lock();
    if args.json {
        let report = json!({
            "model_sha256": loaded.sha256,
            "backend": backend::NAME,
            "precision": Precision::from(args.precision),
            "max_context": options.max_context,
            "tasks": scores,
        });
        writeln!(stdout, "{}", serde_json::to_string_pretty(&report)?)?;
    } else {
        write!(stdout, "{}", table(&scores).to_text())?;
    }
    Ok(Outcome::Done)
}

fn table(scores: &[TaskScore]) -> Table {
    let mut table = Table::new()
        .text_column("task", "task")
        .text_column("version", "version")
        .number_column("n_shot", "shots")
        .number_column("count", "items")
        .text_column("metric", "metric")
        .number_column("value", "value")
        .number_column("standard_error", "+/-")
        .number_column("truncated", "truncated")
        .number_column("tied", "tied")
        .text_column("prompt_sha256", "prompts");
    for score in scores {
        for value in &score.metrics {
            let mut error = *value;
            error.value = error.standard_error;
            table.push([
                Cell::text(score.task.as_str()),
                Cell::text(score.version.as_str()),
                Cell::count(score.n_shot),
                Cell::count(score.count),
                Cell::text(value.metric.name()),
                metric_cell(*value),
                metric_cell(error),
                Cell::count(score.truncated),
                Cell::count(score.tied),
                Cell::text(&score.prompt_sha256[..12]),
            ]);
        }
    }
    table
}
