//! `generate-data`.
use crate::backend::Device;
use crate::cli::GenerateDataArgs;
use crate::commands::Outcome;

/// Runs the verb.
///
/// # Errors
/// Always: not built yet.
pub fn run(_args: GenerateDataArgs, _device: &Device) -> anyhow::Result<Outcome> {
    anyhow::bail!("`generate-data` is not built yet")
}
