//! Verbs that run something by a recipe, or show a run.
use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum};

use super::{DrafterArg, MixerArg};
use crate::ablation::{ABLATIONS, REPRODUCTIONS};
use crate::commands::chat_table::CHAT_TABLE;
use crate::commands::quality_table::QUALITY_TABLES;
use crate::commands::speed_table::SPEED_TABLES;

/// Arguments of `sweep`.
#[derive(Debug, Args)]
pub struct SweepArgs {
    /// Recipe to run [default: the tiny one built in]
    #[arg(long, value_name = "FILE")]
    pub recipe: Option<PathBuf>,
    /// Mixer of the student, over the recipe's
    #[arg(long, value_name = "MIXER")]
    pub mixer: Option<MixerArg>,
    /// How to run it
    #[command(flatten)]
    pub run: RunArgs,
}

/// Arguments of every verb that runs a plan.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Folder for the new run [default: runs/NAME-N]
    #[arg(long, value_name = "DIR", conflicts_with = "resume")]
    pub out: Option<PathBuf>,
    /// Continue the run in this folder
    #[arg(long, value_name = "RUN")]
    pub resume: Option<PathBuf>,
    /// Run only this arm, such as `25`, `chain` or `control-random-mixer/0`, or `attention-seed-42/50` of a comparison; may be
    /// repeated
    #[arg(long = "arm", value_name = "NAME")]
    pub arms: Vec<String>,
    /// Change one value of the recipe, such as `distillation.steps=10`
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Go on with half the micro-batch and twice the accumulation where a device has no memory for a stage
    #[arg(long)]
    pub auto_batch: bool,
    /// Print what would be run, with sizes and estimates, and stop
    #[arg(long)]
    pub dry_run: bool,
    /// Progress without the dashboard
    #[arg(long)]
    pub no_tui: bool,
    /// Without the dashboard, events on stderr as lines to read or as JSON [default: plain]
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<LogFormatArg>,
}

/// How events are printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormatArg {
    /// Lines to read
    #[default]
    Plain,
    /// One JSON object a line, as in `events.jsonl`
    Json,
}

/// Arguments of `drafter`.
#[derive(Debug, Args)]
pub struct TrainDrafterArgs {
    /// Recipe whose teacher, data and `[drafter]` are used [default: the tiny one built in]
    #[arg(long, value_name = "FILE")]
    pub recipe: Option<PathBuf>,
    /// Model to draft for, in place of the recipe's teacher: its layers are kept, its replies and distributions learned
    #[arg(long, value_name = "PATH")]
    pub from: Option<String>,
    /// How to run it
    #[command(flatten)]
    pub run: RunArgs,
}

/// Arguments of `ablate`.
#[derive(Debug, Args)]
pub struct AblateArgs {
    /// Which ablation
    #[arg(value_name = "NAME", value_parser = PossibleValuesParser::new(ABLATIONS.names()))]
    pub name: String,
    /// What to run
    #[command(flatten)]
    pub comparison: ComparisonArgs,
}

/// Arguments of `reproduce`.
#[derive(Debug, Args)]
pub struct ReproduceArgs {
    /// Which table
    #[arg(value_name = "TABLE", value_parser = PossibleValuesParser::new(REPRODUCTIONS.names().chain(SPEED_TABLES).chain([CHAT_TABLE]).chain(QUALITY_TABLES)))]
    pub name: String,
    /// Tables 1 and 5: model that verifies, such as a checkpoint of a sweep; may be repeated
    #[arg(long = "verifier", value_name = "PATH")]
    pub verifiers: Vec<PathBuf>,
    /// Tables 1 and 5: who drafts, such as a checkpoint of `distill drafter`; may be repeated [default: self:2, self:4]
    #[arg(long = "drafter", value_name = "DRAFTER")]
    pub drafters: Vec<DrafterArg>,
    /// Table 2: folder of a run that `eval chat --run` has scored; tables 3 and 4: `eval all`
    #[arg(long, value_name = "RUN")]
    pub evaluated: Option<PathBuf>,
    /// What to run
    #[command(flatten)]
    pub comparison: ComparisonArgs,
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
    /// How to run it
    #[command(flatten)]
    pub run: RunArgs,
}

/// Arguments of `watch`.
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// Run folder
    #[arg(value_name = "RUN", required_unless_present = "all")]
    pub run: Option<PathBuf>,
    /// Every run below this folder, one of which can be opened
    #[arg(long, value_name = "DIR", conflicts_with_all = ["run", "arms", "compare", "log_format"])]
    pub all: Option<PathBuf>,
    /// Follow the process that was started with these arms
    #[arg(long = "arm", value_name = "NAME")]
    pub arms: Vec<String>,
    /// Another run, to be shown beside it; may be repeated
    #[arg(long, value_name = "RUN2")]
    pub compare: Vec<PathBuf>,
    /// Plain lines instead of the dashboard
    #[arg(long)]
    pub no_tui: bool,
    /// Draw one frame of what is there, and leave
    #[arg(long, value_name = "FILE.svg", conflicts_with_all = ["all", "log_format"])]
    pub frame: Option<PathBuf>,
    /// Page of that frame, as its key [default: 1]
    #[arg(long, value_name = "N", requires = "frame", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=7))]
    pub page: u8,
    /// Columns and rows of that frame
    #[arg(long, value_name = "WxH", requires = "frame", default_value = "120x40", value_parser = size)]
    pub size: (u16, u16),
    /// Events on stdout as lines to read or as JSON, instead of the dashboard
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<LogFormatArg>,
}

/// Columns and rows of a terminal, such as `120x40`.
fn size(text: &str) -> Result<(u16, u16), String> {
    let parsed = text
        .split_once('x')
        .and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)));
    match parsed {
        Some((width @ 20..=500, height @ 8..=200)) => Ok((width, height)),
        _ => Err("expected columns and rows from 20x8 to 500x200, such as 120x40".into()),
    }
}

/// Arguments of `report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Run folder
    #[arg(value_name = "RUN")]
    pub run: PathBuf,
    /// Another run, to be shown beside it
    #[arg(long, value_name = "RUN2")]
    pub compare: Option<PathBuf>,
    /// Folder for `report.html`, `model-card.md`, `results.csv` and `steps.csv` [default: RUN/report]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Also write event files for TensorBoard, into `tensorboard/` beside the page
    #[arg(long)]
    pub tensorboard: bool,
    /// Print rows as JSON and write no page
    #[arg(long, conflicts_with_all = ["compare", "out", "tensorboard"])]
    pub json: bool,
    /// Also draw the curves of loss, KL and perplexity
    #[arg(long, value_name = "FILE.svg")]
    pub svg: Option<PathBuf>,
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
