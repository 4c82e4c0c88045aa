//! `sweep`.
use crate::backend::Device;
use crate::cli::SweepArgs;
use crate::commands::Outcome;

/// Runs the verb.
///
/// # Errors
/// Always: not built yet.
pub fn run(_args: SweepArgs, _device: &Device) -> anyhow::Result<Outcome> {
    anyhow::bail!("`sweep` is not built yet")
}
