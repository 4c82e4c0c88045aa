//! `convert`.
use crate::backend::Device;
use crate::cli::ConvertArgs;
use crate::commands::Outcome;

/// Runs the verb.
///
/// # Errors
/// Always: not built yet.
pub fn run(_args: ConvertArgs, _device: &Device) -> anyhow::Result<Outcome> {
    anyhow::bail!("`convert` is not built yet")
}
