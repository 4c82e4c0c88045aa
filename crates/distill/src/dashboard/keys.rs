//! What keys do to the [`App`].
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::App;

/// What a key asks of whoever runs the dashboard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    /// Nothing.
    None,
    /// Leave: stop training after this step, or stop watching.
    Stop,
}

/// The key list of the help window.
pub(super) const KEYS: [(&str, &str); 5] = [
    ("q", "stop after this step (asks)"),
    ("Ctrl-C", "stop after this step; again: at once"),
    ("Up Down", "show another stage"),
    ("Esc", "back to the current stage"),
    ("?", "this list"),
];

/// Applies a key. With `is_watching` there is nothing to lose, and `q` leaves without asking.
pub(super) fn apply(app: &mut App, key: KeyEvent, is_watching: bool) -> Request {
    if key.kind == KeyEventKind::Release {
        return Request::None;
    }
    if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') {
        return Request::Stop;
    }
    if app.is_asking_to_stop {
        app.is_asking_to_stop = false;
        return match key.code {
            KeyCode::Char('y' | 'Y') | KeyCode::Enter => Request::Stop,
            _ => Request::None,
        };
    }
    let last = app.stages.len().saturating_sub(1);
    let at = app.selected.or(app.current).unwrap_or(0);
    match key.code {
        KeyCode::Char('q') if is_watching => return Request::Stop,
        KeyCode::Char('q') => app.is_asking_to_stop = true,
        KeyCode::Char('?') => app.is_help_open = !app.is_help_open,
        KeyCode::Up | KeyCode::Char('k') => app.selected = Some(at.saturating_sub(1)),
        KeyCode::Down | KeyCode::Char('j') => app.selected = Some((at + 1).min(last)),
        KeyCode::Esc => {
            app.selected = None;
            app.is_help_open = false;
        }
        _ => {}
    }
    Request::None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(app: &mut App, code: KeyCode) -> Request {
        apply(app, KeyEvent::new(code, KeyModifiers::NONE), false)
    }

    #[test]
    fn quitting_asks_first_and_control_c_does_not() {
        let mut app = App::default();
        assert_eq!(press(&mut app, KeyCode::Char('q')), Request::None);
        assert!(app.is_asking_to_stop);
        assert_eq!(press(&mut app, KeyCode::Char('n')), Request::None);
        assert!(!app.is_asking_to_stop);
        press(&mut app, KeyCode::Char('q'));
        assert_eq!(press(&mut app, KeyCode::Char('y')), Request::Stop);
        let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(apply(&mut app, control_c, false), Request::Stop);
    }

    #[test]
    fn arrows_do_nothing_without_stages() {
        let mut app = App::default();
        press(&mut app, KeyCode::Down);
        press(&mut app, KeyCode::Up);
        assert!(app.shown().is_none());
    }
}
