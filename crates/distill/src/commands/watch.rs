//! `watch`: follows a run from its log.
use std::io::IsTerminal;
use std::time::Duration;

use crate::cli::WatchArgs;
use crate::commands::Outcome;
use crate::dashboard::{self, PlainLines};
use crate::run::{LogReader, RunFolder};

/// Time between two looks at the log without a dashboard.
const POLL: Duration = Duration::from_millis(500);

/// Shows the run until the user leaves; without a terminal, until the run ends.
///
/// # Errors
/// [`DistillError::NotARun`](crate::DistillError::NotARun) for another folder, or an unreadable log.
pub fn run(args: WatchArgs) -> anyhow::Result<Outcome> {
    RunFolder::manifest(&args.run)?;
    let mut reader = LogReader::open(&args.run, &args.arms)?;
    if !args.no_tui && std::io::stdout().is_terminal() && std::io::stdin().is_terminal() {
        // A finished run stays on the screen until the user leaves.
        dashboard::show(|| Ok(Some(reader.poll()?)), |_| true, true)?;
        return Ok(Outcome::Done);
    }
    let mut lines = PlainLines::new(std::io::stdout().lock());
    loop {
        let events = reader.poll()?;
        for event in &events {
            lines.apply(event);
        }
        if events.last().is_some_and(|last| last.event.is_ending()) {
            return Ok(Outcome::Done);
        }
        std::thread::sleep(POLL);
    }
}
