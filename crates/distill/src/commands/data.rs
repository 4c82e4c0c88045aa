//! `data`: training data made ready ahead, and benchmarks fetched.
use std::io::Write;

use anyhow::Context;
use model::{ChatTemplate, JinjaTemplate};

use crate::backend::{Device, InnerBackend};
use crate::builtin::load_path;
use crate::cli::{DataArgs, DataCommand, FetchDataArgs, PrepareDataArgs, TemplateArg};
use crate::commands::Outcome;
use crate::data::prepared::{Kind, NAMED_ROWS, Prepared, Source, prepare};
use crate::data::task_sources::{TASK_SOURCES, TaskSource};
use crate::error::DistillError;

/// Runs the verb.
///
/// # Errors
/// When the model has no tokenizer or no chat template, as [`prepare`] says, or without a file.
pub fn run(args: DataArgs, device: &Device) -> anyhow::Result<Outcome> {
    match args.command {
        DataCommand::Prepare(args) => run_prepare(args, device),
        DataCommand::Fetch(args) => run_fetch(&args),
    }
}

/// Prints the files that were written, a line each.
fn run_fetch(args: &FetchDataArgs) -> anyhow::Result<Outcome> {
    let is_asked = |source: &&TaskSource| {
        let mut names = args.tasks.iter();
        names.any(|name| name == source.task || name == "all")
    };
    for source in TASK_SOURCES.iter().filter(is_asked) {
        let written = source
            .fetch(&args.tasks_dir)
            .with_context(|| format!("task `{}`", source.task))?;
        for path in written {
            writeln!(std::io::stdout(), "{}", path.display())?;
        }
    }
    Ok(Outcome::Done)
}

fn run_prepare(args: PrepareDataArgs, device: &Device) -> anyhow::Result<Outcome> {
    let files = [
        (Kind::Chat, &args.chat),
        (Kind::Text, &args.text),
        (Kind::Preferences, &args.preferences),
    ];
    let mut sources = Vec::new();
    for (kind, paths) in files {
        sources.extend(paths.iter().map(|path| Source {
            kind,
            path: path.clone(),
        }));
    }
    anyhow::ensure!(
        !sources.is_empty(),
        "there is no file to prepare: give `--chat`, `--text` or `--preferences`"
    );
    let loaded = load_path::<InnerBackend>(&args.model, device)
        .with_context(|| format!("model `{}`", args.model.display()))?;
    let tokenizer = loaded.tokenizer.ok_or_else(|| DistillError::NoTokenizer {
        path: args.model.clone(),
        cure: "put the `tokenizer.json` of the teacher there",
    })?;
    let template = match (&args.tokenizer_config, args.template) {
        (Some(path), _) => ChatTemplate::Jinja(JinjaTemplate::load(path)?),
        (None, TemplateArg::Detect) => ChatTemplate::detect(&tokenizer).with_context(|| {
            let model = args.model.display();
            format!("the tokenizer of `{model}` has the control tokens of no known chat template")
        })?,
        (None, TemplateArg::ChatMl) => ChatTemplate::chat_ml(),
        (None, TemplateArg::Llama3) => ChatTemplate::Llama3,
        (None, TemplateArg::Zephyr) => ChatTemplate::Zephyr,
    };
    let name = match &template {
        ChatTemplate::ChatMl { default_system } => match default_system {
            Some(system) => format!("chat-ml with the system turn `{system}`"),
            None => "chat-ml".into(),
        },
        ChatTemplate::Llama3 => "llama3".into(),
        ChatTemplate::Zephyr => "zephyr".into(),
        ChatTemplate::Jinja(template) => format!("jinja with sha256 {}", template.sha256()),
    };
    let prepared = prepare(
        &sources,
        &tokenizer,
        (&template, &name),
        &args.out,
        args.skip_bad,
    )?;
    say(&args, &prepared);
    Ok(Outcome::Done)
}

#[expect(
    clippy::print_stderr,
    reason = "a summary for the person who ran the command"
)]
fn say(args: &PrepareDataArgs, prepared: &Prepared) {
    let Prepared {
        manifest,
        bad_rows,
        repeats,
    } = prepared;
    for bad in bad_rows {
        eprintln!("left out: {bad}");
    }
    let bad: usize = manifest.inputs.iter().map(|input| input.bad).sum();
    if bad > NAMED_ROWS {
        eprintln!("left out: {} more rows", bad - NAMED_ROWS);
    }
    let documents: usize = manifest.shards.iter().map(|shard| shard.documents).sum();
    let tokens: usize = manifest.shards.iter().map(|shard| shard.tokens).sum();
    eprintln!(
        "{documents} documents, {tokens} tokens in `{}`; left out: {bad} bad, {} repeated",
        args.out.display(),
        repeats.rows
    );
    if repeats.prompts > 0 {
        eprintln!(
            "{} rows have the prompt of another row; a run keeps them on one side of its split",
            repeats.prompts
        );
    }
}
