//! `forward`.
use crate::backend::Device;
use crate::cli::ForwardArgs;
use crate::commands::Outcome;

/// Runs the verb.
///
/// # Errors
/// Always: not built yet.
pub fn run(_args: ForwardArgs, _device: &Device) -> anyhow::Result<Outcome> {
    anyhow::bail!("`forward` is not built yet")
}
