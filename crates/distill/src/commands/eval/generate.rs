//! `eval generate`: benchmarks that a model answers in its own words.
use std::io::Write;
use std::path::Path;

use eval::generative::{
    GENERATIVE_TASKS, GenerativeOptions, GenerativeScore, GenerativeTask, Question, answer,
};
use eval::report::{Cell, Table};
use serde_json::json;

use super::progress_bar;
use crate::backend::{self, Device, InnerBackend};
use crate::builtin::{load_path, required_tokenizer};
use crate::cli::EvalGenerateArgs;
use crate::commands::Outcome;
use crate::data::jsonl;
use crate::data::task_files;
use crate::evaluation::sandbox;
use crate::recipe::Precision;

/// Prints one row a task on stdout.
///
/// # Errors
/// A task without a file, a bad row, an unreadable model, no sandbox where code is to be run.
pub(super) fn run(args: &EvalGenerateArgs, device: &Device) -> anyhow::Result<Outcome> {
    if args.execute_in_sandbox {
        sandbox::check()?;
    }
    let mut asked: Vec<(&GenerativeTask, Vec<Question>)> = Vec::new();
    let key = |task: &GenerativeTask| (task.name, task.split);
    for task in task_files::chosen(&GENERATIVE_TASKS, key, &args.tasks, &args.tasks_dir)? {
        let questions = task_files::questions(task, &args.tasks_dir, args.limit)?;
        asked.push((task, questions));
    }
    let loaded = load_path::<InnerBackend>(&args.model, device)?;
    let model = loaded
        .model
        .computing_in(Precision::from(args.precision).compute());
    let tokenizer = required_tokenizer(loaded.tokenizer.as_ref(), &args.model)?;
    let mut scores = Vec::with_capacity(asked.len());
    for (task, questions) in &asked {
        let options = GenerativeOptions {
            reply_tokens: args.reply_tokens.unwrap_or(task.reply_tokens),
            max_context: model.config().llama.max_position_embeddings,
            rows: args.batch,
        };
        let bar = progress_bar(questions.len() as u64);
        let progress = |done: usize| bar.set_position(done as u64);
        let mut score = answer(task, questions, &model, tokenizer, options, progress)?;
        bar.finish_and_clear();
        if args.execute_in_sandbox {
            sandbox::grade(questions, &mut score)?;
        }
        if let Some(folder) = &args.replies {
            write_replies(folder, &score)?;
        }
        scores.push(score);
    }
    let mut stdout = std::io::stdout().lock();
    if args.json {
        let report = json!({
            "model_sha256": loaded.sha256,
            "backend": backend::NAME,
            "precision": Precision::from(args.precision),
            "tasks": scores,
        });
        writeln!(stdout, "{}", serde_json::to_string_pretty(&report)?)?;
    } else {
        write!(stdout, "{}", table(&scores).to_text())?;
    }
    Ok(Outcome::Done)
}

/// One line a reply, under the names that `human-eval` reads.
fn write_replies(folder: &Path, score: &GenerativeScore) -> anyhow::Result<()> {
    let mut writer = jsonl::Writer::create(&folder.join(format!("{}.jsonl", score.task)))?;
    for item in &score.items {
        writer.write(&json!({
            "task_id": item.id,
            "completion": item.reply,
            "is_ended": item.is_ended,
            "found": item.found,
            "value": item.value,
        }))?;
    }
    writer.finish()
}

fn table(scores: &[GenerativeScore]) -> Table {
    let mut table = Table::new()
        .text_column("task", "task")
        .text_column("version", "version")
        .number_column("count", "items")
        .number_column("graded", "graded")
        .number_column("score", "score")
        .number_column("standard_error", "+/-")
        .number_column("unanswered", "no answer")
        .number_column("unended", "cut")
        .number_column("truncated", "truncated")
        .text_column("prompt_sha256", "prompts");
    for score in scores {
        let value = |value: f64| match score.score.count {
            0 => Cell::missing(),
            _ => Cell::percent(value),
        };
        table.push([
            Cell::text(score.task.as_str()),
            Cell::text(score.version.as_str()),
            Cell::count(score.count),
            Cell::count(score.score.count),
            value(score.score.mean),
            value(score.score.standard_error),
            Cell::count(score.unanswered),
            Cell::count(score.unended),
            Cell::count(score.truncated),
            Cell::text(&score.prompt_sha256[..12]),
        ]);
    }
    table
}
