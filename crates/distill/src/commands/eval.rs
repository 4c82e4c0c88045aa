//! `eval`.
use crate::backend::Device;
use crate::cli::EvalArgs;
use crate::commands::Outcome;

/// Runs the verb.
///
/// # Errors
/// Always: not built yet.
pub fn run(_args: EvalArgs, _device: &Device) -> anyhow::Result<Outcome> {
    anyhow::bail!("`eval` is not built yet")
}
