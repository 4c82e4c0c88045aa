//! Verbs that take a model and give another, text, tensors or a description.
use std::path::PathBuf;

use clap::Args;

use super::{
    DraftTokensArg, DrafterArg, GqaRepeatArg, InitArg, LayoutArg, MixerArg, PrecisionArg,
    QuantizeArg, SamplingArgs,
};

/// Arguments of `convert`.
#[derive(Debug, Args)]
pub struct ConvertArgs {
    /// Model to convert: GGUF file, Hugging Face directory, checkpoint or `builtin:tiny`
    #[arg(long, value_name = "PATH")]
    pub model: PathBuf,
    /// Folder for the hybrid; must not exist yet
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Mixer that replaces attention
    #[arg(long, value_name = "MIXER", default_value = "mamba2")]
    pub mixer: MixerArg,
    /// Share of layers that keep attention, 0 to 1
    #[arg(
        long,
        visible_alias = "ratio",
        value_name = "RATIO",
        default_value_t = 0.5
    )]
    pub attention_ratio: f64,
    /// Where the new mixers' weights come from
    #[arg(long, value_name = "INIT", default_value = "attention")]
    pub init: InitArg,
    /// Which layers keep attention
    #[arg(long, value_name = "LAYOUT", default_value = "interleaved")]
    pub layout: LayoutArg,
    /// How KV heads are repeated
    #[arg(long, value_name = "KIND", default_value = "head")]
    pub gqa_repeat: GqaRepeatArg,
    /// How often the step bias is added: 1, or 2 as the published code does
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
    pub dt_bias_multiplicity: u8,
    /// Seed of the fresh weights
    #[arg(long, value_name = "N", default_value_t = 42)]
    pub seed: u64,
    /// Write bf16 instead of f32
    #[arg(long)]
    pub bf16: bool,
}

/// Arguments of `generate`.
#[derive(Debug, Args)]
pub struct GenerateArgs {
    /// GGUF file, Hugging Face directory, checkpoint or `builtin:tiny`
    #[arg(long, value_name = "PATH")]
    pub model: PathBuf,
    /// Text to answer [default: read from stdin]
    #[arg(long, value_name = "TEXT")]
    pub prompt: Option<String>,
    /// System turn of the chat
    #[arg(long, value_name = "TEXT", conflicts_with = "raw")]
    pub system: Option<String>,
    /// Continue the text itself, without a chat template
    #[arg(long)]
    pub raw: bool,
    /// Most tokens to write
    #[arg(long, value_name = "N", default_value_t = 128)]
    pub max_tokens: usize,
    /// How tokens are drawn
    #[command(flatten)]
    pub sampling: SamplingArgs,
    /// What projections, embedding and head are held in; bf16 is faster where memory is what a token waits for
    #[arg(long, value_name = "TYPE", default_value = "f32")]
    pub precision: PrecisionArg,
    /// Hold the weights of attention, mixers and MLPs in fewer bits: less memory, and on the CPU slower
    #[arg(long, value_name = "TYPE", conflicts_with = "precision")]
    pub quantize: Option<QuantizeArg>,
    /// Seed of the sampling
    #[arg(long, value_name = "N", default_value_t = 42)]
    pub seed: u64,
    /// End the reply before this text; may be repeated
    #[arg(long = "stop", value_name = "TEXT")]
    pub stops: Vec<String>,
    /// Let a drafter guess tokens that the model checks together, for the same reply sooner: a model with the same tokenizer, `ngram`
    /// (what followed the last time), or `self`, `self:LAYERS` (some of the model's own layers)
    #[arg(long, value_name = "DRAFTER")]
    pub speculate: Option<DrafterArg>,
    /// Tokens that the drafter guesses at a time, or `auto`: as many as pay, by what is measured
    #[arg(
        long,
        value_name = "K|auto",
        default_value = "auto",
        requires = "speculate"
    )]
    pub draft_tokens: DraftTokensArg,
}

/// Arguments of `forward`.
#[derive(Debug, Args)]
pub struct ForwardArgs {
    /// GGUF file, Hugging Face directory, checkpoint or `builtin:tiny`
    #[arg(long, value_name = "PATH")]
    pub model: PathBuf,
    /// Token ids as JSON `[[...], ...]`, rows of one length
    #[arg(long, value_name = "IDS.json")]
    pub tokens: PathBuf,
    /// Safetensors file to write: `logits`, `hidden.{i}`, `step_logits`
    #[arg(long, value_name = "OUT.safetensors")]
    pub output: PathBuf,
    /// Tokens fed one at a time afterwards, as JSON `[[...], ...]`
    #[arg(long, value_name = "IDS.json")]
    pub steps: Option<PathBuf>,
}

/// Arguments of `inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// GGUF file, Hugging Face directory, checkpoint or `builtin:tiny`
    #[arg(value_name = "PATH")]
    pub model: PathBuf,
    /// List every tensor with its shape
    #[arg(long)]
    pub tensors: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
