//! `watch`.
use crate::cli::WatchArgs;
use crate::commands::Outcome;

/// Runs the verb.
///
/// # Errors
/// Always: not built yet.
pub fn run(_args: WatchArgs) -> anyhow::Result<Outcome> {
    anyhow::bail!("`watch` is not built yet")
}
