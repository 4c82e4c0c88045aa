//! Work on its own thread, shown on the terminal or as plain lines.
use std::io::{IsTerminal, Write};
use std::path::Path;

use anyhow::Context;

use super::app::RunStatus;
use super::{Bars, Ending, Feed, PlainLines, Shown, Source, show};
use crate::cli::LogFormatArg;
use crate::run::{Requests, StopFlag, TimedEvent};

/// Steps that may wait for the screen.
const FEED_CAPACITY: usize = 256;
/// Stack of the worker: trees of generic modules on an autodiff backend recurse deeply.
const STACK_BYTES: usize = 64 << 20;

/// How a run is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Display {
    /// The dashboard.
    Terminal,
    /// A bar and lines on stderr, which is a terminal.
    Bars,
    /// Lines on stderr.
    Lines,
    /// Events as JSON on stderr.
    Json,
}

impl Display {
    /// The dashboard if input and output are a terminal and nothing else is wanted.
    pub fn choose(no_tui: bool, format: Option<LogFormatArg>) -> Self {
        let is_terminal = std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
        match format {
            Some(LogFormatArg::Json) => Self::Json,
            Some(LogFormatArg::Plain) => Self::Lines,
            None if is_terminal && !no_tui => Self::Terminal,
            None if std::io::stderr().is_terminal() => Self::Bars,
            None => Self::Lines,
        }
    }
}

/// Takes an event of a run without a dashboard.
fn printer(display: Display) -> Box<dyn FnMut(&TimedEvent)> {
    let mut lines = PlainLines::new();
    match display {
        Display::Bars => {
            let mut bars = Bars::new();
            Box::new(move |event| bars.apply(event))
        }
        Display::Json => Box::new(|event| print(&event.to_json())),
        Display::Terminal | Display::Lines => Box::new(move |event| {
            // How it ended is said once, by whoever called.
            if let Some(line) = lines.line(event).filter(|_| !event.event.is_ending()) {
                print(&line);
            }
        }),
    }
}

/// Nothing is lost when nobody reads: the log has every event.
pub(super) fn print(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Runs `work` on its own thread and shows the events that it hands to its argument; `run_dir` is where it keeps them.
///
/// # Errors
/// That of the work, that of the terminal, or that the work panicked.
pub fn run_shown<R: Send>(
    display: Display,
    run_dir: &Path,
    requests: &Requests,
    stop: &StopFlag,
    work: impl FnOnce(&mut dyn FnMut(&TimedEvent)) -> anyhow::Result<R> + Send,
) -> anyhow::Result<R> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("sweep".into())
            .stack_size(STACK_BYTES);
        let feed = Feed::new(FEED_CAPACITY);
        let sender = feed.clone();
        let worker = thread
            .spawn_scoped(scope, move || match display {
                Display::Terminal => work(&mut |event| sender.push(event)),
                _ => work(&mut printer(display)),
            })
            .context("could not start the training thread")?;
        if display == Display::Terminal {
            let mut poll = || {
                let is_over = worker.is_finished();
                let events = feed.drain();
                (!is_over || !events.is_empty()).then_some(events)
            };
            let shown = Shown {
                source: Source::Live(&mut poll),
                run_dir,
                requests,
                others: Vec::new(),
            };
            let ask = |app: &mut super::App| {
                app.status = RunStatus::Stopping;
                stop.stop() > 0
            };
            match show(shown, ask) {
                Ok(Ending::Over) => {}
                // Asked twice: the step under way is given up, as a second Ctrl-C does without a dashboard.
                Ok(Ending::Left) => std::process::exit(130),
                Err(error) => {
                    stop.stop();
                    let _ = worker.join();
                    return Err(error.context("could not draw the dashboard (try `--no-tui`)"));
                }
            }
        }
        worker
            .join()
            .unwrap_or_else(|_| Err(anyhow::anyhow!("the training thread panicked")))
    })
}
