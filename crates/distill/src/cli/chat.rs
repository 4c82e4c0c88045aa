//! `eval chat`.
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use eval::judge::Protocol;

use super::PrecisionArg;
use super::number::positive;

/// Benchmarks of `eval chat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ChatBenchmarkArg {
    /// Two turns, each rated from 1 to 10; with `--baseline` compared with another model's
    MtBench,
    /// One turn, compared with a baseline's: win rate, and win rate at equal length
    AlpacaEval,
}

impl From<ChatBenchmarkArg> for Protocol {
    fn from(arg: ChatBenchmarkArg) -> Self {
        match arg {
            ChatBenchmarkArg::MtBench => Self::MtBench,
            ChatBenchmarkArg::AlpacaEval => Self::AlpacaEval,
        }
    }
}

/// Arguments of `eval chat`.
#[derive(Debug, Args)]
pub struct ChatArgs {
    /// Benchmark
    #[arg(value_name = "BENCHMARK")]
    pub benchmark: ChatBenchmarkArg,
    /// Whose answers are judged
    #[command(flatten)]
    pub answering: AnsweringArgs,
    /// Questions in the schema of MT-Bench's `question.jsonl` or AlpacaEval's `alpaca_eval.json`; `builtin`: a few of our own,
    /// which are neither
    #[arg(long, value_name = "FILE", default_value = "builtin")]
    pub questions: PathBuf,
    /// Answers to compare with, in the schema of `model_answer/NAME.jsonl` or `model_outputs.json` [default: of AlpacaEval the
    /// `output` of each question, of MT-Bench none]
    #[arg(long, value_name = "FILE")]
    pub baseline: Option<PathBuf>,
    /// Only the first questions
    #[arg(long, value_name = "N", value_parser = positive)]
    pub limit: Option<usize>,
    /// Who judges
    #[command(flatten)]
    pub judge: JudgeArgs,
    /// Folder for answers, judgments and report, one folder a model below it with `--run` [default: `eval/chat/BENCHMARK` in the run
    /// folder]
    #[arg(long, value_name = "DIR", required_unless_present = "run")]
    pub out: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Whose answers are judged.
#[derive(Debug, Args)]
pub struct AnsweringArgs {
    /// GGUF file, Hugging Face directory, checkpoint or `builtin:tiny`
    #[arg(long, value_name = "PATH", required_unless_present_any = ["answers", "run"])]
    pub model: Option<PathBuf>,
    /// Answers that are there already, in the schema of the benchmark
    #[arg(long, value_name = "FILE", conflicts_with = "model")]
    pub answers: Option<PathBuf>,
    /// Folder of a sweep: its teacher and the last checkpoint of each ratio
    #[arg(long, value_name = "RUN", conflicts_with_all = ["model", "answers"])]
    pub run: Option<PathBuf>,
    /// Most tokens of a reply [default: 1024, at most half of the model's context]
    #[arg(long, value_name = "N", value_parser = positive)]
    pub reply_tokens: Option<usize>,
    /// Replies written together
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = positive)]
    pub batch: usize,
    /// Seed of the replies that MT-Bench does not want greedy
    #[arg(long, value_name = "N", default_value_t = 42)]
    pub seed: u64,
    /// What is computed in [default: f32, with `--run` that of the run]
    #[arg(long, value_name = "TYPE", conflicts_with = "run")]
    pub precision: Option<PrecisionArg>,
}

/// Who judges.
#[derive(Debug, Args)]
pub struct JudgeArgs {
    /// Base of an OpenAI-compatible endpoint (`http://127.0.0.1:8000/v1`), or a local model, whose numbers are marked as a proxy's
    #[arg(long, value_name = "URL|PATH")]
    pub judge: String,
    /// Model of the endpoint
    #[arg(long, value_name = "NAME")]
    pub judge_model: Option<String>,
    /// Environment variable with the key of the endpoint, such as `OPENAI_API_KEY`; without it no key is sent
    #[arg(long, value_name = "NAME")]
    pub judge_key_env: Option<String>,
    /// Prompts in the schema of MT-Bench's `judge_prompts.jsonl`, in place of ours with the same name
    #[arg(long, value_name = "FILE")]
    pub judge_prompts: Option<PathBuf>,
    /// Most tokens of a judgment
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = positive)]
    pub judge_tokens: usize,
    /// Seconds that a request to the endpoint has
    #[arg(long, value_name = "N", default_value_t = 120, value_parser = positive)]
    pub judge_timeout: usize,
    /// Further tries of a request that failed, after longer and longer waits
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub judge_retries: u32,
    /// Requests to the endpoint at once
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = positive)]
    pub parallel: usize,
    /// Take AlpacaEval's verdict from the reply alone, where the endpoint has no `logprobs`
    #[arg(long)]
    pub no_logprobs: bool,
    /// Ask again what this judge has answered before
    #[arg(long)]
    pub rejudge: bool,
}
