//! `inspect`.
use crate::backend::Device;
use crate::cli::InspectArgs;
use crate::commands::Outcome;

/// Runs the verb.
///
/// # Errors
/// Always: not built yet.
pub fn run(_args: InspectArgs, _device: &Device) -> anyhow::Result<Outcome> {
    anyhow::bail!("`inspect` is not built yet")
}
