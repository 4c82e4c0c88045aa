//! `report`: the table of a run, as far as it is, and files to send around.
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use crate::ablation;
use crate::cli::ReportArgs;
use crate::commands::Outcome;
use crate::curves;
use crate::evaluation::Gate;
use crate::report::{self, RunFacts};
use crate::sweep;
use crate::teacher_cache;

/// Prints the table of what the run folder holds, whichever processes made it, on stdout, and writes the page, the model card and the
/// tables beside it.
///
/// # Errors
/// [`DistillError::NotARun`](crate::DistillError::NotARun) for another folder; a run in which nothing is measured yet; when
/// a file cannot be written.
#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the result of the command"
)]
pub fn run(args: ReportArgs) -> anyhow::Result<Outcome> {
    let facts = RunFacts::read(&args.run)?;
    let path = args.run.display();
    ensure!(
        facts.state.teacher.is_some(),
        "nothing is measured yet in `{path}`"
    );
    match (&facts.comparison, args.json) {
        (Some(comparison), true) => {
            println!(
                "{}",
                serde_json::to_string_pretty(&ablation::json_report(comparison))?
            );
        }
        (Some(comparison), false) => print!("{}", ablation::text_report(comparison)),
        (None, true) => println!("{}", serde_json::to_string_pretty(&facts.rows)?),
        (None, false) => println!("{}\n{}", sweep::text_table(&facts.rows), sweep::LEGEND),
    }
    if let Some(file) = &args.svg {
        let svg = curves::draw(&facts.manifest.plan.name, &facts.history.stages)?;
        let svg = svg.with_context(|| format!("no step is in the logs of `{path}`"))?;
        model::files::write(file, svg.as_bytes())?;
    }
    if args.json {
        return Ok(Outcome::Done);
    }
    for line in teacher_cache::truncation_lines(&args.run)? {
        println!("{line}");
    }
    for line in facts.gate.iter().flat_map(Gate::lines) {
        println!("{line}");
    }
    let other = args.compare.as_deref().map(RunFacts::read).transpose()?;
    let folder = args.out.unwrap_or_else(|| args.run.join("report"));
    write(&facts, other.as_ref(), &folder, args.tensorboard)?;
    eprintln!(
        "`{}` is the page; beside it are the model card and tables",
        folder.join(PAGE).display()
    );
    let (done, all) = facts.state.count(&facts.manifest.plan);
    if done < all {
        eprintln!(
            "{done} of {all} stages are finished; `distill sweep --resume {path}` runs the others"
        );
    }
    Ok(Outcome::Done)
}

/// File name of the page.
const PAGE: &str = "report.html";

/// Writes everything into `folder`.
fn write(
    facts: &RunFacts,
    other: Option<&RunFacts>,
    folder: &Path,
    has_tensorboard: bool,
) -> anyhow::Result<()> {
    let runs: Vec<&RunFacts> = [facts].into_iter().chain(other).collect();
    let mut files: Vec<(PathBuf, Vec<u8>)> = vec![
        (PAGE.into(), report::page(facts, other)?.into()),
        ("model-card.md".into(), report::model_card(facts).into()),
        ("results.csv".into(), report::results_csv(&runs).into()),
        ("steps.csv".into(), report::steps_csv(&runs).into()),
    ];
    if has_tensorboard {
        let events = report::event_files(&runs).into_iter();
        files.extend(events.map(|(path, bytes)| (Path::new("tensorboard").join(path), bytes)));
    }
    for (name, bytes) in files {
        let path = folder.join(name);
        let parent = path.parent().unwrap_or(folder);
        std::fs::create_dir_all(parent).with_context(|| {
            format!(
                "could not create `{}` (write elsewhere with `--out`)",
                parent.display()
            )
        })?;
        model::files::write(&path, &bytes)?;
    }
    Ok(())
}
