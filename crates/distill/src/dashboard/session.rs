//! Work on its own thread, shown on the terminal or as plain lines.
use std::io::IsTerminal;

use anyhow::Context;

use super::app::RunStatus;
use super::{Ending, Feed, PlainLines, show};
use crate::run::{StopFlag, TimedEvent};

/// Steps that may wait for the screen.
const FEED_CAPACITY: usize = 256;
/// Stack of the worker: trees of generic modules on an autodiff backend recurse deeply.
const STACK_BYTES: usize = 64 << 20;

/// How a run is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Display {
    /// The dashboard.
    Terminal,
    /// Lines on stderr.
    Lines,
}

impl Display {
    /// The dashboard if input and output are a terminal and it is wanted.
    pub fn choose(no_tui: bool) -> Self {
        if !no_tui && std::io::stdout().is_terminal() && std::io::stdin().is_terminal() {
            Self::Terminal
        } else {
            Self::Lines
        }
    }
}

/// Runs `work` on its own thread and shows the events that it hands to its argument.
///
/// # Errors
/// That of the work, that of the terminal, or that the work panicked.
pub fn run_shown<R: Send>(
    display: Display,
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
                Display::Lines => {
                    let mut lines = PlainLines::new(std::io::stderr());
                    work(&mut |event| {
                        // How it ended is said once, by whoever called.
                        if !event.event.is_ending() {
                            lines.apply(event);
                        }
                    })
                }
            })
            .context("could not start the training thread")?;
        if display == Display::Terminal {
            let poll = || {
                let is_over = worker.is_finished();
                let events = feed.drain();
                Ok((!is_over || !events.is_empty()).then_some(events))
            };
            let ask = |app: &mut super::App| {
                app.status = RunStatus::Stopping;
                stop.stop() > 0
            };
            match show(poll, ask, false) {
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
