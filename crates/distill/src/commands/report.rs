//! `report`: the table of a run, as far as it is.
use anyhow::{Context, ensure};

use crate::ablation;
use crate::checkpoint::write_atomically;
use crate::cli::ReportArgs;
use crate::commands::Outcome;
use crate::curves;
use crate::run::RunFolder;
use crate::sweep;
use crate::teacher_cache;

/// Prints the table of what the run folder holds, whichever processes made it, on stdout, and draws its curves where asked to.
///
/// # Errors
/// [`DistillError::NotARun`](crate::DistillError::NotARun) for another folder; a run in which nothing is measured yet; when
/// the picture cannot be written.
#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the result of the command"
)]
pub fn run(args: ReportArgs) -> anyhow::Result<Outcome> {
    let plan = RunFolder::manifest(&args.run)?.plan;
    let state = RunFolder::state_of(&args.run)?;
    let path = args.run.display();
    ensure!(
        state.teacher.is_some(),
        "nothing is measured yet in `{path}`"
    );
    match (ablation::compare(&plan, &args.run)?, args.json) {
        (Some(comparison), true) => {
            println!(
                "{}",
                serde_json::to_string_pretty(&ablation::json_report(&comparison))?
            );
        }
        (Some(comparison), false) => print!("{}", ablation::text_report(&comparison)),
        (None, is_json) => {
            let rows = sweep::rows(&plan, &state);
            match is_json {
                true => println!("{}", serde_json::to_string_pretty(&rows)?),
                false => println!("{}\n{}", sweep::text_table(&rows), sweep::LEGEND),
            }
        }
    }
    if !args.json {
        for line in teacher_cache::truncation_lines(&args.run)? {
            println!("{line}");
        }
    }
    if let Some(file) = &args.svg {
        let stages = curves::history(&plan, &args.run)?;
        let svg = curves::draw(&plan.name, &stages)?;
        let svg = svg.with_context(|| format!("no step is in the logs of `{path}`"))?;
        write_atomically(file, svg.as_bytes())?;
    }
    let (done, all) = state.count(&plan);
    if done < all {
        eprintln!(
            "{done} of {all} stages are finished; `distill sweep --resume {path}` runs the others"
        );
    }
    Ok(Outcome::Done)
}
