//! Command line: clap types only, a file a group of verbs.
mod chat;
mod choice;
mod conversation;
mod data;
mod docs;
mod drafter;
mod evaluation;
mod export;
mod measure;
mod model;
mod number;
mod run;
mod sampling;
mod serving;

use clap::{Parser, Subcommand};

pub use chat::{AnsweringArgs, ChatArgs, ChatBenchmarkArg, JudgeArgs};
pub use choice::{
    GqaRepeatArg, InitArg, LayoutArg, MixerArg, PrecisionArg, QuantizeArg, TemplateArg, held,
};
pub use conversation::ConversationArgs;
pub use data::{DataArgs, DataCommand, FetchDataArgs, GenerateDataArgs, PrepareDataArgs};
pub use docs::{CompletionsArgs, ManArgs};
pub use drafter::{DraftTokensArg, DrafterArg};
pub use evaluation::{
    AmountArgs, EvalAllArgs, EvalGenerateArgs, ExtrapolationArgs, FidelityArgs, NeedleArgs,
    ZeroShotArgs,
};
pub use export::{DtypeArg, ExportArgs, FormatArg};
pub use measure::{
    BenchArgs, BenchCommand, DashboardArgs, DecodeArgs, DoctorArgs, EvalArgs, EvalCommand,
    KernelsArgs, PerplexityArgs, PerplexitySource, SpeculativeArgs, SpeedArgs, StepArgs, TasksArgs,
};
pub use model::{ConvertArgs, ForwardArgs, GenerateArgs, InspectArgs};
pub use run::{
    AblateArgs, ComparisonArgs, LogFormatArg, PretrainArgs, ReportArgs, ReproduceArgs, RunArgs,
    SweepArgs, TrainDrafterArgs, WatchArgs,
};
pub use sampling::SamplingArgs;
pub use serving::ServeArgs;

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
    /// Train drafters for `generate --speculate` from a few of the teacher's layers
    Drafter(TrainDrafterArgs),
    /// Compare the arms of a built-in ablation at equal budgets, over seeds, with what the paper found
    Ablate(AblateArgs),
    /// Run one of the paper's tables at our scale and print both side by side
    Reproduce(ReproduceArgs),
    /// Follow a run from its event log, live or afterwards
    Watch(WatchArgs),
    /// Print the table of a run as far as it is, and write it up as a page, a model card and tables
    Report(ReportArgs),
    /// Train a small Llama from random weights by a recipe
    Pretrain(PretrainArgs),
    /// Write training text and dialogues with a teacher model
    GenerateData(GenerateDataArgs),
    /// Check and tokenise training data ahead
    Data(DataArgs),
    /// Turn a model into a hybrid without training it
    Convert(ConvertArgs),
    /// Write a model in the format of the published hybrids or as GGUF
    Export(ExportArgs),
    /// Talk with a model, turn after turn
    Chat(ConversationArgs),
    /// Serve a model to clients of OpenAI's interface
    Serve(ServeArgs),
    /// Continue a prompt
    Generate(GenerateArgs),
    /// Write the logits and hidden states of given tokens
    Forward(ForwardArgs),
    /// Measure a model
    Eval(EvalArgs),
    /// Describe a model, a checkpoint or a GGUF file
    Inspect(InspectArgs),
    /// Check this machine and the kernels on its device: what is short, their self-tests and golden values
    Doctor(DoctorArgs),
    /// Describe this binary and what is around it, for a report of a fault
    Env,
    /// Measure how fast this binary runs on this device
    Bench(BenchArgs),
    /// Print the completions of a shell
    Completions(CompletionsArgs),
    /// Write the man pages of every verb
    Man(ManArgs),
}

impl Command {
    /// Whether the verb may compute on the device; the others read what a run has left, or this command line.
    pub fn computes(&self) -> bool {
        !matches!(
            self,
            Self::Watch(_) | Self::Report(_) | Self::Env | Self::Completions(_) | Self::Man(_)
        )
    }
}
