//! `chat`: a conversation with a model.
use std::path::PathBuf;

use clap::Args;

use super::number::positive;
use super::{DraftTokensArg, DrafterArg, PrecisionArg, QuantizeArg, SamplingArgs};

/// Arguments of `chat`.
#[derive(Debug, Args)]
pub struct ConversationArgs {
    /// GGUF file, Hugging Face directory, checkpoint or `builtin:tiny`
    #[arg(long, value_name = "PATH")]
    pub model: PathBuf,
    /// System turn that the conversation begins with
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,
    /// Most tokens of a reply
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = positive)]
    pub max_tokens: usize,
    /// How tokens are drawn
    #[command(flatten)]
    pub sampling: SamplingArgs,
    /// What projections, embedding and head are held in
    #[arg(long, value_name = "TYPE", default_value = "f32")]
    pub precision: PrecisionArg,
    /// Hold the weights of attention, mixers and MLPs in fewer bits: less memory, and on the CPU slower
    #[arg(long, value_name = "TYPE", conflicts_with = "precision")]
    pub quantize: Option<QuantizeArg>,
    /// Seed of the sampling; each reply of a conversation takes the next
    #[arg(long, value_name = "N", default_value_t = 42)]
    pub seed: u64,
    /// Let a drafter guess tokens, as for `generate`; every turn then reads the conversation from its start
    #[arg(long, value_name = "DRAFTER")]
    pub speculate: Option<DrafterArg>,
    /// Tokens that the drafter guesses at a time, or `auto`
    #[arg(
        long,
        value_name = "K|auto",
        default_value = "auto",
        requires = "speculate"
    )]
    pub draft_tokens: DraftTokensArg,
}
