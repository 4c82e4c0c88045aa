//! `generate`.
use crate::backend::Device;
use crate::cli::GenerateArgs;
use crate::commands::Outcome;

/// Runs the verb.
///
/// # Errors
/// Always: not built yet.
pub fn run(_args: GenerateArgs, _device: &Device) -> anyhow::Result<Outcome> {
    anyhow::bail!("`generate` is not built yet")
}
