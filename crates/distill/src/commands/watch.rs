//! `watch`: follows a run, or every run of a folder, from its log.
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::cli::{LogFormatArg, WatchArgs};
use crate::commands::Outcome;
use crate::dashboard::app::Tab;
use crate::dashboard::{self, App, Colours, PlainLines, Shown, Source, view};
use crate::error::DistillError;
use crate::run::{LogReader, Requests, RunFolder, TimedEvent};

/// Time between two looks at the log without a dashboard.
const POLL: Duration = Duration::from_millis(500);

/// Shows the run until the user leaves; without a terminal, until the run ends.
///
/// # Errors
/// [`DistillError::NotARun`] for another folder, or an unreadable log.
pub fn run(args: WatchArgs) -> anyhow::Result<Outcome> {
    let is_terminal = std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
    if let Some(folder) = &args.all {
        anyhow::ensure!(
            is_terminal,
            "`watch --all` needs a terminal; `watch RUN` prints lines without one"
        );
        dashboard::show_all(folder)?;
        return Ok(Outcome::Done);
    }
    let run_dir = args.run.as_deref().context("a run folder")?;
    RunFolder::manifest(run_dir)?;
    // A run that has just begun has no log yet.
    let reader = LogReader::awaiting(run_dir, &args.arms);
    if let Some(file) = &args.frame {
        let svg = frame(reader, &args)?;
        model::files::write(file, svg.as_bytes())?;
        return Ok(Outcome::Done);
    }
    if is_terminal && !args.no_tui && args.log_format.is_none() {
        let shown = Shown {
            source: Source::Log(reader),
            run_dir,
            requests: &Requests::of(run_dir, &args.arms),
            others: others(&args)?,
        };
        // A finished run stays on the screen until the user leaves.
        dashboard::show(shown, |_| true)?;
        return Ok(Outcome::Done);
    }
    print(reader, args.log_format.unwrap_or_default(), run_dir)
}

/// Logs of the runs to compare with.
fn others(args: &WatchArgs) -> Result<Vec<LogReader>, DistillError> {
    let logs = args.compare.iter().map(|other| {
        RunFolder::manifest(other)?;
        LogReader::open(other, &[])
    });
    logs.collect()
}

/// What the dashboard would show of the logs as they are.
fn frame(mut reader: LogReader, args: &WatchArgs) -> anyhow::Result<String> {
    let app = |events: Vec<TimedEvent>| {
        let mut app = App::default();
        events.iter().for_each(|event| app.apply(event));
        app
    };
    let mut shown = app(reader.poll()?);
    for mut other in others(args)? {
        shown.others.push(app(other.poll()?));
    }
    shown.skipped_lines = reader.skipped();
    shown.theme.colours = Colours::Many;
    shown.look.tab = Tab::ALL[usize::from(args.page) - 1];
    let area = Rect::new(0, 0, args.size.0, args.size.1);
    let mut buffer = Buffer::empty(area);
    view::draw(&shown, area, &mut buffer);
    Ok(dashboard::picture(&buffer))
}

/// Prints what the log has until the run ends.
fn print(mut reader: LogReader, format: LogFormatArg, run_dir: &Path) -> anyhow::Result<Outcome> {
    let mut out = std::io::stdout().lock();
    let mut lines = PlainLines::new();
    loop {
        let events = reader.poll()?;
        for event in &events {
            let line = match format {
                LogFormatArg::Json => Some(event.to_json()),
                LogFormatArg::Plain => lines.line(event),
            };
            if let Some(line) = line
                && let Err(error) = writeln!(out, "{line}")
            {
                // Whoever read has had enough.
                return match error.kind() {
                    std::io::ErrorKind::BrokenPipe => Ok(Outcome::Done),
                    _ => Err(error).context("could not write to stdout"),
                };
            }
        }
        if events
            .last()
            .is_some_and(|last: &TimedEvent| last.event.is_ending())
        {
            return Ok(Outcome::Done);
        }
        anyhow::ensure!(
            run_dir.exists(),
            "run folder `{}` is gone",
            run_dir.display()
        );
        std::thread::sleep(POLL);
    }
}
