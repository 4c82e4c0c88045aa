//! `pretrain`.
use crate::backend::Device;
use crate::cli::PretrainArgs;
use crate::commands::Outcome;

/// Runs the verb.
///
/// # Errors
/// Always: not built yet.
pub fn run(_args: PretrainArgs, _device: &Device) -> anyhow::Result<Outcome> {
    anyhow::bail!("`pretrain` is not built yet")
}
