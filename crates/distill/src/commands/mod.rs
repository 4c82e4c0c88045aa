//! One module a verb: glue between the command line and the crates, no maths.
use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use crate::ablation::{ABLATIONS, REPRODUCTIONS};
use crate::cli::{Cli, Command};
use crate::commands::chat_table::CHAT_TABLE;
use crate::commands::quality_table::QUALITY_TABLES;
use crate::commands::speed_table::SPEED_TABLES;
use crate::error::DistillError;

pub mod ablate;
pub mod bench;
pub mod chat;
pub(crate) mod chat_table;
pub mod convert;
pub mod data;
mod docs;
pub mod doctor;
mod drafter;
mod env;
pub mod eval;
pub mod export;
pub mod forward;
pub mod generate;
pub mod generate_data;
pub mod inspect;
mod launch;
pub mod pretrain;
pub(crate) mod quality_table;
pub mod report;
pub mod serve;
pub(crate) mod speed_table;
pub mod sweep;
mod template;
pub mod train_drafter;
pub mod watch;

/// How a command ended when nothing failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Exit code 0.
    Done,
    /// Stopped by the user after saving what was finished: exit code 130.
    Interrupted,
}

/// Parses the arguments, runs the command and prints an error, once, on stderr.
///
/// Exit codes: 0 done, 1 failed, 2 wrong usage or recipe, 130 interrupted.
pub fn main_with_args<I, T>(args: I) -> ExitCode
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // clap prints help and version on stdout, errors on stderr. A closed pipe is not ours to report.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    init_tracing();
    match dispatch(cli) {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Interrupted) => ExitCode::from(130),
        // Whoever read the output has seen enough.
        Err(error) if is_closed_output(&error) => ExitCode::SUCCESS,
        Err(error) => show(&error),
    }
}

/// Whether it is that of writing to stdout, bare as it came: those of files and connections say which.
fn is_closed_output(error: &anyhow::Error) -> bool {
    let written = error.downcast_ref::<std::io::Error>();
    error.chain().count() == 1
        && written.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

fn dispatch(cli: Cli) -> anyhow::Result<Outcome> {
    let device = crate::backend::device(cli.backend.as_deref())?;
    if cli.command.computes() {
        crate::backend::probe(&device)?;
    }
    match cli.command {
        Command::Sweep(args) => sweep::run(args, &device),
        Command::Drafter(args) => train_drafter::run(args, &device),
        Command::Ablate(args) => ablate::run(&ABLATIONS, &args.name, args.comparison, &device),
        Command::Reproduce(args) if SPEED_TABLES.contains(&args.name.as_str()) => {
            speed_table::run(&args, &device)
        }
        Command::Reproduce(args) if args.name == CHAT_TABLE => chat_table::run(&args),
        Command::Reproduce(args) if QUALITY_TABLES.contains(&args.name.as_str()) => {
            quality_table::run(&args)
        }
        Command::Reproduce(args) => {
            ablate::run(&REPRODUCTIONS, &args.name, args.comparison, &device)
        }
        Command::Watch(args) => watch::run(args),
        Command::Report(args) => report::run(args),
        Command::Pretrain(args) => pretrain::run(args, &device),
        Command::GenerateData(args) => generate_data::run(args, &device),
        Command::Data(args) => data::run(args, &device),
        Command::Chat(args) => chat::run(args, &device),
        Command::Serve(args) => serve::run(args, &device),
        Command::Convert(args) => convert::run(args, &device),
        Command::Export(args) => export::run(args, &device),
        Command::Generate(args) => generate::run(args, &device),
        Command::Forward(args) => forward::run(args, &device),
        Command::Eval(args) => eval::run(args, &device),
        Command::Inspect(args) => inspect::run(args, &device),
        Command::Doctor(args) => doctor::run(args, &device),
        Command::Env => env::run(),
        Command::Bench(args) => bench::run(args, &device),
        Command::Completions(args) => Ok(docs::completions(&args)),
        Command::Man(args) => docs::man(&args),
    }
}

/// The key in the environment variable that `flag` names.
fn key_from_env(variable: &str, flag: &'static str) -> Result<String, DistillError> {
    let key = std::env::var(variable).ok().filter(|key| !key.is_empty());
    key.ok_or_else(|| DistillError::NoKey {
        variable: variable.into(),
        flag,
    })
}

/// Logs of libraries, off unless `RUST_LOG` asks.
fn init_tracing() {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("error"));
    // A second call in one process (tests) keeps the first subscriber.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .try_init();
}

#[expect(clippy::print_stderr, reason = "the one place where an error is shown")]
fn show(error: &anyhow::Error) -> ExitCode {
    let ours = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<DistillError>());
    eprintln!("error: {error:#}");
    let hint = ours
        .and_then(DistillError::hint)
        .or_else(|| disk_hint(error));
    if let Some(hint) = hint {
        eprintln!("hint: {hint}");
    }
    ExitCode::from(ours.map_or(1, DistillError::exit_code))
}

/// What to do about a full disk, whichever crate met it.
fn disk_hint(error: &anyhow::Error) -> Option<String> {
    let mut causes = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    let is_full = causes.any(|cause| cause.kind() == std::io::ErrorKind::StorageFull);
    is_full.then(|| "free some space and run it again; a sweep goes on with `--resume`".into())
}
