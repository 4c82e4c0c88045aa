//! `completions` and `man`: the command line for shells and for `man`, made of the same types that parse it.
use anyhow::Context;
use clap::CommandFactory;

use crate::cli::{Cli, CompletionsArgs, ManArgs};
use crate::commands::Outcome;

/// Prints the completions on stdout.
pub fn completions(args: &CompletionsArgs) -> Outcome {
    let mut command = Cli::command();
    let name = command.get_name().to_string();
    clap_complete::generate(args.shell, &mut command, name, &mut std::io::stdout());
    Outcome::Done
}

/// Writes a page a verb, `distill-VERB.1`, and one of them all.
///
/// # Errors
/// If a page cannot be written.
pub fn man(args: &ManArgs) -> anyhow::Result<Outcome> {
    let folder = &args.folder;
    std::fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), folder))
        .with_context(|| format!("could not write the pages into `{}`", folder.display()))?;
    Ok(Outcome::Done)
}
