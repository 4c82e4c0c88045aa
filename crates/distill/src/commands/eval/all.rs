//! `eval all`: every checkpoint of a run beside its teacher.
use std::io::Write;
use std::path::Path;

use anyhow::{Context, ensure};
use eval::generative::{GENERATIVE_TASKS, GenerativeTask, Question};
use eval::zero_shot::{TASKS, Task};

use super::progress_bar;
use crate::backend::{Device, InnerBackend};
use crate::cli::EvalAllArgs;
use crate::commands::Outcome;
use crate::data;
use crate::data::task_files::{self, TaskItems};
use crate::error::DistillError;
use crate::evaluation::{
    Bench, EvaluationSettings, FOLDER, Gate, Kept, Measured, Subject, batch_limits, json_report,
    markdown_report, subjects, text_report,
};
use crate::run::{Event, RunFolder, StopFlag};
use crate::sweep::Teacher;

/// Prints the table on stdout and writes it as JSON and Markdown.
///
/// # Errors
/// [`DistillError::NotARun`] for another folder, a run without a checkpoint, other teacher weights than the run's; a bad row of
/// a benchmark; a checkpoint that is not the recorded one; [`DistillError::Gate`] when a student is behind the bar.
pub(super) fn run(args: &EvalAllArgs, device: &Device) -> anyhow::Result<Outcome> {
    let manifest = RunFolder::manifest(&args.run)?;
    let state = RunFolder::state_of(&args.run)?;
    let plan = &manifest.plan;
    let mut students = subjects(plan, &state, &args.run);
    students.retain(|subject| subject.is_last || !args.last);
    ensure!(
        !students.is_empty(),
        "no checkpoint is finished in `{}`",
        args.run.display()
    );
    let benchmarks = Benchmarks::read(args)?;
    let teacher = Teacher::<InnerBackend>::load(&plan.teacher, device)?;
    let teacher = teacher.computing_in(plan.precision);
    ensure!(
        teacher.sha256 == manifest.teacher_sha256,
        DistillError::PlanDiffers {
            path: args.run.clone(),
            difference: format!(
                "the teacher's sha256 is {} in the run, {} now",
                manifest.teacher_sha256, teacher.sha256
            ),
        }
    );
    let mut notes: Vec<Event> = Vec::new();
    let stop = StopFlag::new();
    let (model, tokenizer) = (&teacher.model, &teacher.tokenizer);
    let data = data::build(plan, model, tokenizer, &args.run, &mut notes, &stop)?
        .context("nobody can have stopped it")?;
    let config = &model.config().llama;
    let bench = Bench {
        settings: EvaluationSettings {
            task_reply_tokens: args.task_reply_tokens,
            ..args
                .amount
                .settings(args.max_context, config.max_position_embeddings)
        },
        teacher: &teacher,
        precision: plan.precision,
        held_out: &data.eval_perplexity,
        tasks: &benchmarks.choices,
        generative: &benchmarks.replies,
        limits: batch_limits(),
        kept: Kept::of_run(&args.run),
        device,
    };
    let mut all = vec![Subject::teacher(config.n_layers, &teacher.sha256)];
    all.append(&mut students);
    let bar = progress_bar(all.len() as u64).with_style(
        indicatif::ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}")
            .expect("a constant template"),
    );
    let mut measured: Vec<(Subject, Measured)> = Vec::with_capacity(all.len());
    for subject in all {
        let name = format!("{} {}", subject.label(), subject.stage_name());
        let found = bench.measure(&subject, None, |what| {
            bar.set_message(format!("{name}: {what}"));
        })?;
        bar.inc(1);
        measured.push((subject, found));
    }
    bar.finish_and_clear();
    for note in bench.kept.notes() {
        writeln!(std::io::stderr(), "note: {note}")?;
    }
    let folder = args.out.clone().unwrap_or_else(|| args.run.join(FOLDER));
    let report = json_report(&measured);
    write(
        &folder,
        "report.json",
        &serde_json::to_string_pretty(&report)?,
    )?;
    write(
        &folder,
        "report.md",
        &markdown_report(&plan.name, &measured),
    )?;
    let mut stdout = std::io::stdout().lock();
    if args.json {
        writeln!(stdout, "{}", serde_json::to_string_pretty(&report)?)?;
    } else {
        write!(stdout, "{}", text_report(&measured))?;
    }
    let Some(bar) = args.gate else {
        return Ok(Outcome::Done);
    };
    let results = measured.iter();
    let gate = Gate::of(
        results.map(|(subject, found)| (subject, &found.held_out[..])),
        bar,
    );
    if !args.json {
        writeln!(stdout, "\n{}", gate.lines().join("\n"))?;
    }
    gate.check()?;
    Ok(Outcome::Done)
}

/// The benchmarks whose file is in the folder.
#[derive(Default)]
struct Benchmarks {
    choices: Vec<(&'static Task, TaskItems)>,
    replies: Vec<(&'static GenerativeTask, Vec<Question>)>,
}

impl Benchmarks {
    fn read(args: &EvalAllArgs) -> anyhow::Result<Self> {
        let mut found = Self::default();
        let Some(folder) = &args.tasks_dir else {
            return Ok(found);
        };
        for task in &TASKS {
            if task_files::has(task.name, folder, task.split)? {
                let items = TaskItems::read(task, folder, 0, args.limit)?;
                found.choices.push((task, items));
            }
        }
        for task in GENERATIVE_TASKS.iter().filter(|task| !task.is_program) {
            if task_files::has(task.name, folder, task.split)? {
                let questions = task_files::questions(task, folder, args.limit)?;
                found.replies.push((task, questions));
            }
        }
        match found.choices.is_empty() && found.replies.is_empty() {
            true => Err(DistillError::NoTasks {
                folder: folder.clone(),
            }
            .into()),
            false => Ok(found),
        }
    }
}

fn write(folder: &Path, name: &str, text: &str) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)
        .with_context(|| format!("could not create `{}`", folder.display()))?;
    model::files::write(&folder.join(name), format!("{text}\n").as_bytes())?;
    Ok(())
}
