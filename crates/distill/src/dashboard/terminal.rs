//! The terminal around the views: draws ten times a second, reads keys, puts the terminal back.
use std::time::Duration;

use ratatui::crossterm::event;

use super::keys::{self, Request};
use super::{App, view};
use crate::run::TimedEvent;

/// Time between two frames.
const FRAME: Duration = Duration::from_millis(100);

/// How the dashboard ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The source of events said that it is over.
    Over,
    /// The user left.
    Left,
}

/// Shows a run until it is over.
///
/// `poll` returns the new events, or `None` when there will be no more. `stop` is called at each request to stop and
/// says whether to leave at once; with `is_watching`, `q` does not ask.
///
/// # Errors
/// If the terminal cannot be set up or drawn to, or `poll` fails. The terminal is put back in every case.
pub fn show(
    mut poll: impl FnMut() -> anyhow::Result<Option<Vec<TimedEvent>>>,
    mut stop: impl FnMut(&mut App) -> bool,
    is_watching: bool,
) -> anyhow::Result<Ending> {
    let mut app = App {
        is_plain: std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()),
        ..App::default()
    };
    let mut terminal = ratatui::try_init()?;
    let result = (|| -> anyhow::Result<Ending> {
        loop {
            let Some(events) = poll()? else {
                return Ok(Ending::Over);
            };
            for event in &events {
                app.apply(event);
            }
            app.tick(TimedEvent::now_ms());
            terminal.draw(|frame| view::draw(&app, frame.area(), frame.buffer_mut()))?;
            if !event::poll(FRAME)? {
                continue;
            }
            // Everything typed since the last frame, without drawing between.
            while event::poll(Duration::ZERO)? {
                if let event::Event::Key(key) = event::read()?
                    && keys::apply(&mut app, key, is_watching) == Request::Stop
                    && stop(&mut app)
                {
                    return Ok(Ending::Left);
                }
            }
        }
    })();
    let restored = ratatui::try_restore();
    let ending = result?;
    restored?;
    Ok(ending)
}
