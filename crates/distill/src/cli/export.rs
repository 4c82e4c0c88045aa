//! `export`: a model in the formats of others.
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::number::bytes;

/// Arguments of `export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Checkpoint, Hugging Face directory, GGUF file or `builtin:tiny`
    #[arg(value_name = "PATH")]
    pub model: PathBuf,
    /// What to write
    #[arg(long, value_name = "FORMAT")]
    pub format: FormatArg,
    /// Folder (`hf`) or file (`gguf`) to write; must not exist yet
    #[arg(long, value_name = "PATH")]
    pub out: PathBuf,
    /// Number format of the weights
    #[arg(long, value_name = "TYPE", default_value = "f32")]
    pub dtype: DtypeArg,
    /// Hub name or folder of the Transformer that the published code builds the hybrid from (`hf`)
    #[arg(long, value_name = "NAME")]
    pub base_model: Option<String>,
    /// Markdown to take as the model card, such as `RUN/report/model-card.md` (`hf`) [default: one about the model]
    #[arg(long, value_name = "FILE.md")]
    pub card: Option<PathBuf>,
    /// Most bytes of a file of weights, such as 500MB or 2GB (`hf`)
    #[arg(long, value_name = "SIZE", default_value = "5GB", value_parser = bytes)]
    pub shard_size: usize,
}

/// A format of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FormatArg {
    /// Folder with the names of the published hybrids, ready to push to a hub
    Hf,
    /// One file for llama.cpp
    Gguf,
}

/// How numbers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DtypeArg {
    /// 32 bits
    F32,
    /// bfloat16
    Bf16,
    /// 16 bits of IEEE 754
    F16,
}
