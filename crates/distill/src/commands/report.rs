//! `report`: the table of a run, as far as it is.
use anyhow::ensure;

use crate::cli::ReportArgs;
use crate::commands::Outcome;
use crate::run::RunFolder;
use crate::sweep;

/// Prints the table of what the run folder holds, whichever processes made it, on stdout.
///
/// # Errors
/// [`DistillError::NotARun`](crate::DistillError::NotARun) for another folder; a run in which nothing is measured yet.
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
    let rows = sweep::rows(&plan, &state);
    if args.json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
    } else {
        println!("{}\n{}", sweep::text_table(&rows), sweep::LEGEND);
    }
    let (done, all) = state.count(&plan);
    if done < all {
        eprintln!(
            "{done} of {all} stages are finished; `distill sweep --resume {path}` runs the others"
        );
    }
    Ok(Outcome::Done)
}
