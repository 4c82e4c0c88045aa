//! What can go wrong outside the maths: recipes, run folders, files.
use std::path::PathBuf;

/// An error of the `distill` crate.
///
/// Each message names the thing, what was found and what was expected; [`DistillError::hint`] adds a cure where the
/// message does not already carry it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DistillError {
    /// A recipe that is not readable TOML, or has an unknown key or a value of the wrong type.
    #[error("recipe `{recipe}`: {message}")]
    RecipeSyntax {
        /// File name, or `(built in)`.
        recipe: String,
        /// The parser's account, with line and column.
        message: String,
    },
    /// A recipe whose value is well formed but not usable.
    #[error("recipe `{recipe}`: `{field}` is {found}, must be {expected}")]
    RecipeValue {
        /// File name, or `(built in)`.
        recipe: String,
        /// Dotted path of the field, such as `sft.batch_size`.
        field: String,
        /// The value found.
        found: String,
        /// What is accepted, with an example of a cure.
        expected: String,
    },
    /// A `--set` argument without `=`, or with a path that leads through a value.
    #[error("`--set {argument}`: {reason}")]
    Override {
        /// The argument as typed.
        argument: String,
        /// Why it was refused.
        reason: String,
    },
    /// A file or folder that could not be read or written.
    #[error("could not {action} `{}`", path.display())]
    Io {
        /// Verb: `read`, `create`, `write`, `rename`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The operating system's account.
        #[source]
        source: std::io::Error,
    },
    /// A file or folder that could not be written.
    #[error(transparent)]
    File(#[from] model::files::FileError),
    /// A file that exists and can be read but does not hold what it should.
    #[error("`{}`: {found}, expected {expected}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What was found.
        found: String,
        /// What was expected.
        expected: String,
    },
    /// A row of a data file that is not valid.
    #[error("`{}`: row {row}: {reason}{}", path.display(), more_rows(*more))]
    BadRow {
        /// The file.
        path: PathBuf,
        /// Its number, from 1.
        row: usize,
        /// What is wrong with it.
        reason: String,
        /// Rows that are not valid beside it, in all files.
        more: usize,
    },
    /// Results of the kernels that are not as expected.
    #[error("{failed} of {count} checks of the kernels failed")]
    SelfTest {
        /// Checks that failed.
        failed: usize,
        /// All of them.
        count: usize,
    },
    /// A run folder that another process is writing.
    #[error("run folder `{}` is in use by process {pid}", path.display())]
    RunLocked {
        /// The run folder.
        path: PathBuf,
        /// Process id in the lock file.
        pid: String,
    },
    /// A new run was asked to start in a folder that already holds one.
    #[error("run folder `{}` already holds a run", path.display())]
    RunExists {
        /// The run folder.
        path: PathBuf,
    },
    /// `--resume` on a folder without a manifest.
    #[error("`{}` is not a run folder: it holds no `manifest.json`", path.display())]
    NotARun {
        /// The folder.
        path: PathBuf,
    },
    /// `--resume` with a recipe that resolves to another plan than the run's.
    #[error("run folder `{}` was made from another plan: {difference}", path.display())]
    PlanDiffers {
        /// The run folder.
        path: PathBuf,
        /// First field that differs, with both values.
        difference: String,
    },
    /// `--arm` with a name that the plan does not have.
    #[error("arm `{name}` is not in the plan, expected one of `{}`", known.join("`, `"))]
    UnknownArm {
        /// The name.
        name: String,
        /// The names that there are.
        known: Vec<String>,
    },
    /// `--arm` with an arm whose parent is neither selected nor finished in the run folder.
    #[error("arm `{arm}` starts from `{checkpoint}`, which is not in run folder `{}`", run.display())]
    MissingParent {
        /// The arm.
        arm: String,
        /// The arm that it starts from.
        parent: String,
        /// The checkpoint that is missing, relative to the run folder.
        checkpoint: String,
        /// The run folder.
        run: PathBuf,
    },
    /// A stage that a device has no memory for.
    #[error(
        "stage `{stage}`: the device has no room for {wanted} more at `{table}.batch_size` = {batch_size} and `data.seq_len` = {seq_len}"
    )]
    OutOfMemory {
        /// Arm, ratio and stage.
        stage: String,
        /// The allocation that failed, with its unit.
        wanted: String,
        /// Recipe table of the stage.
        table: &'static str,
        /// Rows of a micro-batch.
        batch_size: usize,
        /// Longest sequence, tokens.
        seq_len: usize,
        /// Sizes that need less, with what they need.
        cure: String,
    },
    /// A checkpoint whose bytes are not those that were written.
    #[error("checkpoint `{}`: sha256 is {found}, the run state says {expected}", path.display())]
    CheckpointHash {
        /// The weights file or the folder that it is in.
        path: PathBuf,
        /// Hash of the bytes found.
        found: String,
        /// Hash recorded when the stage finished.
        expected: String,
    },
    /// A checkpoint within a stage that belongs to another plan, stage or parent.
    #[error("checkpoint `{}`: `{field}` is {found}, this stage has {expected}", path.display())]
    CheckpointOrigin {
        /// Folder of the checkpoint.
        path: PathBuf,
        /// What differs.
        field: &'static str,
        /// The value in the checkpoint.
        found: String,
        /// The value of the stage that was to be continued.
        expected: String,
    },
    /// `--backend NAME` names something this binary was not compiled for.
    #[error("backend `{wanted}` is not in this binary, which was compiled for `{compiled}`")]
    Backend {
        /// The name asked for.
        wanted: String,
        /// The name compiled in.
        compiled: &'static str,
    },
    /// The device that this binary was compiled for does not answer.
    #[error("no device answers the backend `{backend}`: {account}")]
    NoDevice {
        /// The backend compiled in.
        backend: &'static str,
        /// What the driver's library said, one line.
        account: String,
    },
    /// A folder that a command is about to make exists already.
    #[error("`{}` exists already, expected a new folder", path.display())]
    OutputExists {
        /// The folder.
        path: PathBuf,
    },
    /// A model without a tokenizer, where text is needed.
    #[error("model `{}` has no tokenizer, expected a `tokenizer.json` beside its weights", path.display())]
    NoTokenizer {
        /// The model.
        path: PathBuf,
        /// What to do about it.
        cure: &'static str,
    },
    /// A table of speeds without a model.
    #[error("`reproduce {table}` needs a model to measure, expected `--verifier PATH`")]
    NoVerifier {
        /// The table.
        table: String,
    },
    /// A drafter whose tokens mean other texts than the verifier's.
    #[error("the tokenizer of the drafter `{}` is not that of the model, expected the same one", path.display())]
    OtherTokenizer {
        /// The drafter.
        path: PathBuf,
    },
    /// A tokenizer without a known chat template, where a chat is needed.
    #[error(
        "the tokenizer of `{}` has the control tokens of no known chat template, expected ChatML, Llama-3 or Zephyr",
        path.display()
    )]
    NoChatTemplate {
        /// The model.
        path: PathBuf,
    },
    /// A benchmark without a file.
    #[error(
        "no file of task `{task}` in `{}`, expected `{task}.jsonl`, `{task}/cases.jsonl` or `{task}/{split}*.parquet`",
        folder.display()
    )]
    NoTaskFile {
        /// Name of the task.
        task: &'static str,
        /// Folder of the benchmarks.
        folder: PathBuf,
        /// How the names of its files begin.
        split: &'static str,
    },
    /// An address of the hub that is not of the form.
    #[error(
        "`{address}` is no address of a model, expected `hf://OWNER/NAME` or `hf://OWNER/NAME@REVISION`"
    )]
    HubAddress {
        /// The address.
        address: String,
    },
    /// Something of the hub that is not in its cache and could not be had.
    #[error("`{repo}` could not be had from the hub: {problem}")]
    Hub {
        /// The repository with its revision.
        repo: String,
        /// The cache of this machine.
        cache: PathBuf,
        /// What happened.
        problem: String,
    },
    /// Code of a model is to be run where there is no sandbox.
    #[error(
        "no sandbox to run a model's code in, expected `bwrap` (bubblewrap) that may make namespaces"
    )]
    NoSandbox,
    /// A folder of benchmarks without any.
    #[error("no file of any benchmark in `{}`, expected such as `hellaswag.jsonl`", folder.display())]
    NoTasks {
        /// Folder of the benchmarks.
        folder: PathBuf,
    },
    /// A model whose configuration names no first token, where one is asked for.
    #[error("model `{}` has no `bos_token_id`, expected one for `--bos`", path.display())]
    NoFirstToken {
        /// The model.
        path: PathBuf,
    },
    /// Students that are farther from their teacher than allowed.
    #[error("{failed} of the ratios may have more than {bar} times the teacher's perplexity")]
    Gate {
        /// How many.
        failed: usize,
        /// The bar.
        bar: f64,
    },
    /// A file of answers that leaves a question open.
    #[error(
        "`{}` answers {found} of {expected} turns of question `{question}`, expected all of them",
        path.display()
    )]
    NoAnswer {
        /// The file.
        path: PathBuf,
        /// The question.
        question: String,
        /// Turns that are answered.
        found: usize,
        /// Turns of the question.
        expected: usize,
    },
    /// Answers that are to be compared with nothing.
    #[error(
        "`eval chat alpaca-eval` has no baseline: no row has an `output`, expected `--baseline FILE`"
    )]
    NoBaseline,
    /// A judge that could not be reached, refused or said nothing that a completion is.
    #[error("judge `{url}`, try {tries}: {problem}")]
    Judge {
        /// Where it was asked.
        url: String,
        /// What happened last.
        problem: String,
        /// Tries of the request.
        tries: u32,
    },
    /// An endpoint without the name of a model.
    #[error("`--judge {url}` is an endpoint, expected `--judge-model NAME` with it")]
    NoJudgeModel {
        /// Address of the endpoint.
        url: String,
    },
    /// A variable of the environment that is to hold a key, and does not.
    #[error("environment variable `{variable}` is not set, expected a key in it")]
    NoKey {
        /// Name of the variable.
        variable: String,
        /// The flag that names it.
        flag: &'static str,
    },
    /// A server without a key that other machines could reach.
    #[error("`--host {host}` lets other machines in without a key, expected one")]
    OpenServer {
        /// Address that it was to listen on.
        host: std::net::IpAddr,
    },
    /// A key that would be readable on its way.
    #[error("the key of `{url}` would cross a network unencrypted, expected `https://`")]
    KeyInTheClear {
        /// Address of the endpoint.
        url: String,
    },
    /// A table of benchmarks without a run that was scored.
    #[error("`reproduce {table}` needs scores to show, expected `--evaluated RUN` after `{after}`")]
    NotEvaluated {
        /// The table.
        table: String,
        /// The command that scores a run.
        after: &'static str,
    },
    /// Examples for a benchmark that is asked without.
    #[error("task `{task}` takes no examples, expected `--shots 0`")]
    NoExamples {
        /// Name of the task.
        task: &'static str,
    },
    /// A command whose input files are not part of this build.
    #[error("{thing} is not part of this build")]
    Missing {
        /// What is missing.
        thing: &'static str,
        /// How to get it.
        cure: &'static str,
    },
}

/// `; N more rows are bad`, or nothing.
fn more_rows(more: usize) -> String {
    match more {
        0 => String::new(),
        1 => "; 1 more row is bad".into(),
        more => format!("; {more} more rows are bad"),
    }
}

impl DistillError {
    /// Exit code of the process: 2 for a wrong recipe or usage, 1 for everything else.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::RecipeSyntax { .. }
            | Self::RecipeValue { .. }
            | Self::Override { .. }
            | Self::RunExists { .. }
            | Self::OutputExists { .. }
            | Self::NotARun { .. }
            | Self::PlanDiffers { .. }
            | Self::UnknownArm { .. }
            | Self::MissingParent { .. }
            | Self::NoVerifier { .. }
            | Self::NoExamples { .. }
            | Self::NotEvaluated { .. }
            | Self::HubAddress { .. }
            | Self::NoBaseline
            | Self::NoJudgeModel { .. }
            | Self::NoKey { .. }
            | Self::OpenServer { .. }
            | Self::KeyInTheClear { .. }
            | Self::Backend { .. } => 2,
            _ => 1,
        }
    }

    /// One line with a cure, printed as `hint: ...` below the error.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::RunLocked { path, .. } => Some(format!(
                "wait for it, or delete `{}` if that process is gone",
                path.join("lock").display()
            )),
            Self::RunExists { path } => Some(format!(
                "continue it with `--resume {}`, or choose another `--out`",
                path.display()
            )),
            Self::BadRow { .. } => {
                Some("mend them, or leave bad rows out with `--skip-bad`".into())
            }
            Self::OutputExists { .. } => Some("choose another `--out`, or delete it".into()),
            Self::NoTokenizer { cure, .. } => Some((*cure).into()),
            Self::NoVerifier { .. } => Some(
                "give the checkpoints of a sweep, such as `RUN/checkpoints/chain/50-sft`".into(),
            ),
            Self::OtherTokenizer { .. } => {
                Some("take a drafter made from the same teacher, or `ngram` or `self`".into())
            }
            Self::Judge { .. } => Some(
                "see that it runs, or raise `--judge-timeout` and `--judge-retries`; the same command goes on with what is left"
                    .into(),
            ),
            Self::Hub { cache, .. } => Some(format!(
                "without a network give a folder with its files, or copy `{}` of a machine that has them (`HF_HOME` names another); \
                 gated repositories need `HF_TOKEN`",
                cache.display()
            )),
            Self::NoTaskFile { task, folder, .. } => Some(format!(
                "with a network, `distill data fetch {task} --tasks-dir {}` puts it there",
                folder.display()
            )),
            Self::NoKey { flag, .. } => Some(format!(
                "export it, or leave `{flag}` away where no key is needed"
            )),
            Self::OpenServer { .. } => Some(
                "name a variable or a file with `--api-key-env` or `--api-key-file`, or listen on 127.0.0.1".into(),
            ),
            Self::NoChatTemplate { .. } => Some("continue the text itself with `--raw`".into()),
            Self::PlanDiffers { .. } => Some(
                "resume without `--recipe` and `--set`, or start a new run with `--out`".into(),
            ),
            Self::OutOfMemory { cure, .. } => Some(cure.clone()),
            Self::MissingParent { parent, .. } => Some(format!(
                "run `--arm {parent}` in the same run folder first, or name both"
            )),
            Self::CheckpointHash { path, .. } => {
                let is_file = path.extension().is_some_and(|kind| kind == "safetensors");
                let folder = path.parent().filter(|_| is_file).unwrap_or(path);
                Some(format!(
                    "move `{}` away and resume: the stage is run again",
                    folder.display()
                ))
            }
            Self::CheckpointOrigin { path, .. } => Some(format!(
                "delete `{}` and resume: the stage is run again from its start",
                path.parent().unwrap_or(path).display()
            )),
            Self::SelfTest { .. } => Some(
                "results of this device cannot be trusted: update its driver, else build for the CPU (`cargo build --release -p distill`), and report the whole output".into(),
            ),
            Self::NoDevice { backend, .. } => Some(format!(
                "install the driver of `{backend}` and see that it lists a card, or build for the CPU: `cargo build --release -p distill`"
            )),
            Self::Backend { wanted, .. } => Some(format!(
                "rebuild with `cargo build --release -p distill --no-default-features --features {wanted}`"
            )),
            Self::Missing { cure, .. } => Some((*cure).into()),
            _ => None,
        }
    }
}
