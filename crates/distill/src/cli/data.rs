//! Verbs that make data.
use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};

use super::TemplateArg;
use crate::data::PromptKind;
use crate::data::task_sources::TASK_SOURCES;

/// Arguments of `data`.
#[derive(Debug, Args)]
pub struct DataArgs {
    /// What to do with data
    #[command(subcommand)]
    pub command: DataCommand,
}

/// What can be done with data.
#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// Check every row, tokenise it with a model's tokenizer and write a folder that recipes take as `data.prepared`
    Prepare(PrepareDataArgs),
    /// Put benchmarks from the Hugging Face hub where `eval` looks for them
    Fetch(FetchDataArgs),
}

/// Arguments of `data fetch`.
#[derive(Debug, Args)]
pub struct FetchDataArgs {
    /// Benchmarks, or `all`
    #[arg(required = true, value_name = "TASK", value_parser = task_names())]
    pub tasks: Vec<String>,
    /// Folder of benchmarks, as of `eval zero-shot`; what is there stays
    #[arg(long, value_name = "DIR")]
    pub tasks_dir: PathBuf,
}

fn task_names() -> PossibleValuesParser {
    let names = TASK_SOURCES.iter().map(|source| source.task);
    names.chain(["all"]).collect::<Vec<_>>().into()
}

/// Arguments of `data prepare`.
#[derive(Debug, Args)]
pub struct PrepareDataArgs {
    /// Model whose tokenizer is used, the teacher of the recipe: GGUF file, Hugging Face directory, checkpoint or `builtin:tiny`
    #[arg(long, value_name = "PATH")]
    pub model: PathBuf,
    /// Folder to make
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Conversations, Parquet, JSON or JSON lines: `messages`, `conversations`, `prompt` and `reply`, or `instruction` and `output`
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub chat: Vec<PathBuf>,
    /// Text: a UTF-8 file, or Parquet, JSON or JSON lines with a `text` in each row
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub text: Vec<PathBuf>,
    /// Preference pairs, Parquet, JSON or JSON lines: `chosen` and `rejected`
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub preferences: Vec<PathBuf>,
    /// How conversations are written
    #[arg(long, value_name = "NAME", default_value = "detect")]
    pub template: TemplateArg,
    /// A `tokenizer_config.json` whose own chat template is used
    #[arg(long, value_name = "FILE", conflicts_with = "template")]
    pub tokenizer_config: Option<PathBuf>,
    /// Leave rows that are not valid out and count them
    #[arg(long)]
    pub skip_bad: bool,
}

/// Arguments of `generate-data`.
#[derive(Debug, Args)]
pub struct GenerateDataArgs {
    /// Model that writes: GGUF file, Hugging Face directory, checkpoint or `builtin:tiny`
    #[arg(long, value_name = "PATH")]
    pub model: PathBuf,
    /// File to write, one JSON object a line; gzip if the name ends in `.gz`
    #[arg(long, value_name = "FILE")]
    pub output: PathBuf,
    /// What to ask for
    #[arg(long, value_name = "KIND", default_value = "all")]
    pub kind: PromptKind,
    /// Records to write
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub count: usize,
    /// Prompts answered together
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub batch: usize,
    /// Most tokens of a reply; longer ones are dropped
    #[arg(long, value_name = "N", default_value_t = 128)]
    pub max_tokens: usize,
    /// Fewest characters of a kept reply
    #[arg(long, value_name = "N", default_value_t = 12)]
    pub min_chars: usize,
    /// Most characters of a kept reply
    #[arg(long, value_name = "N", default_value_t = 480)]
    pub max_chars: usize,
    /// Sampling temperature; 0 is greedy
    #[arg(long, value_name = "T", default_value_t = 0.7)]
    pub temperature: f32,
    /// Seed of prompts and sampling
    #[arg(long, value_name = "N", default_value_t = 42)]
    pub seed: u64,
    /// Stop after this many minutes with what there is
    #[arg(long, value_name = "MINUTES")]
    pub minutes: Option<f64>,
}
