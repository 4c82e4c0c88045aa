//! The terminal around the views: draws ten times a second at most, reads keys, puts the terminal back.
use std::path::Path;
use std::time::{Duration, Instant};

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, KeyEvent};

use super::keys::{self, Ask};
use super::{App, Theme, Vitals, view};
use crate::run::{LogReader, Request, Requests, TimedEvent};

/// Time between two frames.
const FRAME: Duration = Duration::from_millis(100);
/// Most time between two frames.
const LONGEST_FRAME: Duration = Duration::from_secs(1);
/// Time for reading a log between two frames.
pub(crate) const READING: Duration = Duration::from_millis(6);
/// Time between two looks at what is around the run.
const VITALS: Duration = Duration::from_secs(2);
/// Silence after which it is asked whether anyone holds the run, ms.
const SILENCE_MS: u64 = 10_000;

/// How long to wait after a frame that took `drawing`: so long that drawing takes no more than a hundredth of a core.
pub(crate) fn pause_after(drawing: Duration) -> Duration {
    (100 * drawing).clamp(FRAME, LONGEST_FRAME)
}

/// How the dashboard ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The source of events said that it is over.
    Over,
    /// The user left.
    Left,
}

/// Where the events of a run come from.
pub enum Source<'a> {
    /// Another thread of this process; `None` when there will be no more.
    Live(&'a mut dyn FnMut() -> Option<Vec<TimedEvent>>),
    /// A log.
    Log(LogReader),
}

/// A run to show.
pub struct Shown<'a> {
    /// Its events.
    pub source: Source<'a>,
    /// Its folder.
    pub run_dir: &'a Path,
    /// How its process is asked for something.
    pub requests: &'a Requests,
    /// Logs of the runs to compare it with.
    pub others: Vec<LogReader>,
}

/// Shows a run until it is over, in a terminal of its own.
///
/// `stop` is called at each request to stop and says whether to leave at once.
///
/// # Errors
/// If the terminal cannot be set up or drawn to, or the log cannot be read. The terminal is put back in every case.
pub fn show(shown: Shown, stop: impl FnMut(&mut App) -> bool) -> anyhow::Result<Ending> {
    in_terminal(|terminal| show_in(terminal, shown, stop))
}

/// Sets a terminal up, and puts it back however `work` ends.
pub(super) fn in_terminal<R>(
    work: impl FnOnce(&mut DefaultTerminal) -> anyhow::Result<R>,
) -> anyhow::Result<R> {
    let mut terminal = ratatui::try_init()?;
    let result = work(&mut terminal);
    let restored = ratatui::try_restore();
    let result = result?;
    restored?;
    Ok(result)
}

/// As [`show`], in a terminal that is set up.
pub(super) fn show_in(
    terminal: &mut DefaultTerminal,
    shown: Shown,
    mut stop: impl FnMut(&mut App) -> bool,
) -> anyhow::Result<Ending> {
    let Shown {
        mut source,
        run_dir,
        requests,
        mut others,
    } = shown;
    let mut app = App {
        theme: Theme::of_terminal(),
        is_watching: matches!(source, Source::Log(_)),
        others: vec![App::default(); others.len()],
        ..App::default()
    };
    let mut looked: Option<Instant> = None;
    loop {
        match &mut source {
            Source::Live(poll) => match poll() {
                Some(events) => events.iter().for_each(|event| app.apply(event)),
                None => return Ok(Ending::Over),
            },
            Source::Log(reader) => follow(reader, &mut app)?,
        }
        for (reader, other) in others.iter_mut().zip(&mut app.others) {
            follow(reader, other)?;
        }
        let now_ms = TimedEvent::now_ms();
        app.tick(now_ms);
        if looked.is_none_or(|at| at.elapsed() >= VITALS) {
            looked = Some(Instant::now());
            let is_silent = now_ms.saturating_sub(app.last_event_ms) >= SILENCE_MS;
            app.vitals = Vitals::of(run_dir, app.is_watching && is_silent);
        }
        let started = Instant::now();
        terminal.draw(|frame| view::draw(&app, frame.area(), frame.buffer_mut()))?;
        let is_reading = app.is_reading() || app.others.iter().any(App::is_reading);
        let wait = match is_reading {
            true => Duration::ZERO,
            false => pause_after(started.elapsed()),
        };
        for key in typed(wait)? {
            let ask = keys::apply(&mut app, key);
            if ask == Ask::Stop {
                if stop(&mut app) {
                    return Ok(Ending::Left);
                }
                continue;
            }
            if let Some(message) = answer(ask, &app, requests) {
                app.look.message = Some(message);
            }
        }
    }
}

/// Folds what is new of a log, for as long as a frame may take.
pub(super) fn follow(reader: &mut LogReader, app: &mut App) -> anyhow::Result<()> {
    let is_more = reader.poll_for(READING, |event| app.apply(&event))?;
    app.skipped_lines = reader.skipped();
    app.reading = is_more.then(|| reader.share_read());
    Ok(())
}

/// Everything typed since the last frame, waiting at most so long for the first.
pub(super) fn typed(wait: Duration) -> anyhow::Result<Vec<KeyEvent>> {
    let mut keys = Vec::new();
    if !event::poll(wait)? {
        return Ok(keys);
    }
    while event::poll(Duration::ZERO)? {
        if let event::Event::Key(key) = event::read()? {
            keys.push(key);
        }
    }
    Ok(keys)
}

/// Passes a request on, and says what became of it.
fn answer(ask: Ask, app: &App, requests: &Requests) -> Option<String> {
    let toggled = |request, on: &str, off: &str| match requests.has(request) {
        true => requests.withdraw(request).map(|()| off.to_string()),
        false => requests.make(request).map(|()| on.to_string()),
    };
    let is_over = !matches!(
        app.status,
        super::app::RunStatus::Running | super::app::RunStatus::Stopping
    );
    let done = match ask {
        Ask::Nothing | Ask::Stop => return None,
        _ if is_over => return Some("nothing is running".into()),
        Ask::Pause => toggled(Request::Pause, "pausing after this step", "going on"),
        Ask::Checkpoint => {
            let made = requests.make(Request::Checkpoint);
            made.map(|()| "a checkpoint after this step".into())
        }
        Ask::StopAfterStage => toggled(
            Request::StopAfterStage,
            "stopping after this stage",
            "not stopping after this stage",
        ),
    };
    Some(done.unwrap_or_else(|error| {
        let cause =
            std::error::Error::source(&error).map_or(String::new(), |cause| format!(": {cause}"));
        format!("{error}{cause}")
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_terminal_is_drawn_to_less_often() {
        let ms = Duration::from_millis;
        assert_eq!(pause_after(Duration::from_micros(80)), ms(100));
        assert_eq!(pause_after(ms(5)), ms(500));
        assert_eq!(pause_after(ms(500)), ms(1000));
    }
}
