//! Verbs of `eval` that compare with a teacher or with other models.
use std::path::PathBuf;

use clap::Args;
use clap::builder::PossibleValuesParser;
use eval::generative::GENERATIVE_TASKS;
use eval::zero_shot::TASKS;

use super::PrecisionArg;
use super::number::{pairs, positive, window};

/// Arguments of `eval zero-shot`.
#[derive(Debug, Args)]
pub struct ZeroShotArgs {
    /// Benchmarks to run; `all`: those whose file is in the folder
    #[arg(required = true, value_name = "TASK", value_parser = task_names())]
    pub tasks: Vec<String>,
    /// GGUF file, Hugging Face directory, checkpoint or `builtin:tiny`
    #[arg(long, value_name = "PATH")]
    pub model: PathBuf,
    /// Folder with a file or a folder a task, in the schema of the hub: `TASK.jsonl`, `TASK/validation*.parquet`, ...
    #[arg(long, value_name = "DIR")]
    pub tasks_dir: PathBuf,
    /// Examples before each question, from the task's own file of examples
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub shots: usize,
    /// Most tokens of a prompt; a longer one loses its start and is counted
    #[arg(long, value_name = "N", default_value_t = 2048, value_parser = window)]
    pub max_context: usize,
    /// Only the first questions of each task
    #[arg(long, value_name = "N", value_parser = positive)]
    pub limit: Option<usize>,
    /// Begin every prompt with the model's first token, as it was trained
    #[arg(long)]
    pub bos: bool,
    /// What is computed in
    #[arg(long, value_name = "TYPE", default_value = "f32")]
    pub precision: PrecisionArg,
    /// Print JSON, with the likelihoods of every answer
    #[arg(long)]
    pub json: bool,
}

fn task_names() -> PossibleValuesParser {
    TASKS
        .iter()
        .map(|task| task.name)
        .chain(["all"])
        .collect::<Vec<_>>()
        .into()
}

/// Arguments of `eval generate`.
#[derive(Debug, Args)]
pub struct EvalGenerateArgs {
    /// Benchmarks to run; `all`: those whose file is in the folder
    #[arg(required = true, value_name = "TASK", value_parser = generative_task_names())]
    pub tasks: Vec<String>,
    /// GGUF file, Hugging Face directory, checkpoint or `builtin:tiny`
    #[arg(long, value_name = "PATH")]
    pub model: PathBuf,
    /// Folder with a file or a folder a task, as of `eval zero-shot`
    #[arg(long, value_name = "DIR")]
    pub tasks_dir: PathBuf,
    /// Most tokens of a reply [default: the task's]
    #[arg(long, value_name = "N", value_parser = positive)]
    pub reply_tokens: Option<usize>,
    /// Only the first questions of each task
    #[arg(long, value_name = "N", value_parser = positive)]
    pub limit: Option<usize>,
    /// Replies written together
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = positive)]
    pub batch: usize,
    /// Run the programs that the model wrote for `humaneval`, in bubblewrap without network, home or disk
    #[arg(long)]
    pub execute_in_sandbox: bool,
    /// Folder for the replies, `TASK.jsonl`
    #[arg(long, value_name = "DIR")]
    pub replies: Option<PathBuf>,
    /// What is computed in
    #[arg(long, value_name = "TYPE", default_value = "f32")]
    pub precision: PrecisionArg,
    /// Print JSON, with every reply
    #[arg(long)]
    pub json: bool,
}

fn generative_task_names() -> PossibleValuesParser {
    let names = GENERATIVE_TASKS.iter().map(|task| task.name);
    names.chain(["all"]).collect::<Vec<_>>().into()
}

/// Arguments of `eval extrapolation`.
#[derive(Debug, Args)]
pub struct ExtrapolationArgs {
    /// Models to compare: GGUF files, Hugging Face directories, checkpoints or `builtin:tiny`; the first one's tokenizer reads
    #[arg(long = "model", value_name = "PATH", required = true)]
    pub models: Vec<PathBuf>,
    /// Long UTF-8 text
    #[arg(long, value_name = "FILE")]
    pub text: PathBuf,
    /// Tokens of context and scored tokens together, as a list; beyond the length of training it is extrapolation
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_values_t = [256, 512, 1024, 2048, 4096, 8192])]
    pub lengths: Vec<usize>,
    /// Tokens at the end of each window that are scored
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = positive)]
    pub tail: usize,
    /// Windows of each length
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = positive)]
    pub windows: usize,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `eval needle`.
#[derive(Debug, Args)]
pub struct NeedleArgs {
    /// GGUF file, Hugging Face directory, checkpoint or `builtin:tiny`
    #[arg(long, value_name = "PATH")]
    pub model: PathBuf,
    /// UTF-8 text to hide the sentence in; a short one is taken again and again
    #[arg(long, value_name = "FILE")]
    pub text: PathBuf,
    /// Lengths, evenly apart
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = positive)]
    pub lengths: usize,
    /// Least tokens of a prompt
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = positive)]
    pub least: usize,
    /// Most tokens of a prompt [default: the model's context]; beyond it is extrapolation
    #[arg(long, value_name = "N", value_parser = positive)]
    pub most: Option<usize>,
    /// Draw the heat map
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// Print JSON, with every reply
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `eval fidelity`.
#[derive(Debug, Args)]
pub struct FidelityArgs {
    /// Teacher: GGUF file, Hugging Face directory, checkpoint or `builtin:tiny`
    #[arg(long, value_name = "PATH")]
    pub teacher: PathBuf,
    /// Student, with the teacher's tokenizer
    #[arg(long, value_name = "PATH")]
    pub model: PathBuf,
    /// UTF-8 text that neither was trained on
    #[arg(long, value_name = "FILE")]
    pub text: PathBuf,
    /// Tokens of a window of the text
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = window)]
    pub window: usize,
    /// Windows that are read
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = positive)]
    pub windows: usize,
    /// How much else is measured
    #[command(flatten)]
    pub amount: AmountArgs,
    /// What is computed in
    #[arg(long, value_name = "TYPE", default_value = "f32")]
    pub precision: PrecisionArg,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `eval all`.
#[derive(Debug, Args)]
pub struct EvalAllArgs {
    /// Folder of a sweep, finished or not
    #[arg(value_name = "RUN")]
    pub run: PathBuf,
    /// Folder of benchmarks, as of `eval zero-shot`: those whose file is there are run
    #[arg(long, value_name = "DIR")]
    pub tasks_dir: Option<PathBuf>,
    /// Only the first questions of each benchmark
    #[arg(long, value_name = "N", value_parser = positive, requires = "tasks_dir")]
    pub limit: Option<usize>,
    /// Most tokens of a benchmark's prompt
    #[arg(long, value_name = "N", default_value_t = 2048, value_parser = window)]
    pub max_context: usize,
    /// Most tokens of a reply in a benchmark of replies
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = positive)]
    pub task_reply_tokens: usize,
    /// Only the last checkpoint of each ratio
    #[arg(long)]
    pub last: bool,
    /// How much is measured of each model
    #[command(flatten)]
    pub amount: AmountArgs,
    /// Folder for `report.json` and `report.md` [default: `eval` in the run folder]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Fail unless the last checkpoint of every ratio has at most this many times the teacher's perplexity, the upper end of
    /// the 95 % interval of a paired bootstrap
    #[arg(long, value_name = "RATIO")]
    pub gate: Option<f64>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// How much is measured of a model beside its teacher.
#[derive(Debug, Args)]
pub struct AmountArgs {
    /// Prompts that the models answer
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = positive)]
    pub prompts: usize,
    /// Most tokens of a reply
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = positive)]
    pub reply_tokens: usize,
    /// Tokens between what is told and the question of recall and look-up, as a list
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_values_t = [0, 128, 512, 2048])]
    pub distances: Vec<usize>,
    /// Tasks of recall and of look-up at each distance
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = positive)]
    pub count: usize,
    /// Pairs or facts of such a task
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = pairs)]
    pub pairs: usize,
    /// Seed of these tasks; they are never trained on
    #[arg(long, value_name = "N", default_value_t = 42)]
    pub seed: u64,
}
