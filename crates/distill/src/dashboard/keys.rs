//! What keys do to the [`App`].
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::App;
use super::app::Tab;
use crate::curves::Metric;

/// What a key asks of whoever runs the dashboard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    /// Nothing.
    Nothing,
    /// Leave: stop training after this step, or stop watching.
    Stop,
    /// Pause, or go on.
    Pause,
    /// A checkpoint after this step.
    Checkpoint,
    /// Stop after this stage, or not after all.
    StopAfterStage,
}

/// The key list of the help window.
pub(super) const KEYS: [(&str, &str); 18] = [
    ("1-7 Tab", "pages"),
    ("Up Down", "show another stage"),
    ("Esc", "back to the current stage"),
    ("p", "pause training, or go on"),
    ("c", "checkpoint after this step"),
    ("s", "stop after this stage, or not after all"),
    ("q", "training: stop after this step (asks)"),
    ("", "watching: leave, training goes on"),
    ("Ctrl-C", "as q without asking; again: at once"),
    ("l", "charts: linear or logarithmic"),
    ("m", "charts: less or more smoothing"),
    ("+ -", "charts: zoom in and out"),
    ("Left Right", "charts: earlier, later"),
    ("o", "charts: the same stage of every student"),
    ("Enter", "charts: one curve, the next, all"),
    ("/ f", "log: lines with a text; only trouble"),
    ("PgUp PgDn", "log, samples and layers: scroll"),
    ("?", "this list"),
];

/// Applies a key. Where a run is watched there is nothing to lose, and `q` leaves without asking.
pub(super) fn apply(app: &mut App, key: KeyEvent) -> Ask {
    if key.kind == KeyEventKind::Release {
        return Ask::Nothing;
    }
    if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') {
        return Ask::Stop;
    }
    if app.look.is_asking_to_stop {
        app.look.is_asking_to_stop = false;
        return match key.code {
            KeyCode::Char('y' | 'Y') | KeyCode::Enter => Ask::Stop,
            _ => Ask::Nothing,
        };
    }
    if app.look.is_typing {
        type_filter(app, key.code);
        return Ask::Nothing;
    }
    app.look.message = None;
    match key.code {
        KeyCode::Char('q') if app.is_watching => return Ask::Stop,
        KeyCode::Char('q') => app.look.is_asking_to_stop = true,
        KeyCode::Char('p') => return Ask::Pause,
        KeyCode::Char('c') => return Ask::Checkpoint,
        KeyCode::Char('s') => return Ask::StopAfterStage,
        KeyCode::Char('?') => app.look.is_help_open = !app.look.is_help_open,
        KeyCode::Char(digit @ '1'..='7') => open(app, Tab::ALL[digit as usize - '1' as usize]),
        KeyCode::Tab => open(app, app.look.tab.turned(1)),
        KeyCode::BackTab => open(app, app.look.tab.turned(Tab::ALL.len() - 1)),
        KeyCode::Esc => {
            app.selected = None;
            app.look.is_help_open = false;
            app.look.filter.clear();
            app.look.scroll = 0;
        }
        code => move_around(app, code),
    }
    Ask::Nothing
}

fn open(app: &mut App, tab: Tab) {
    app.look.tab = tab;
    app.look.scroll = 0;
}

fn type_filter(app: &mut App, code: KeyCode) {
    match code {
        KeyCode::Char(character) => app.look.filter.push(character),
        KeyCode::Backspace => {
            app.look.filter.pop();
        }
        KeyCode::Esc => {
            app.look.filter.clear();
            app.look.is_typing = false;
        }
        _ => app.look.is_typing = false,
    }
    app.look.scroll = 0;
}

/// Most times that what is shown is halved.
const MOST_ZOOM: u32 = 12;
/// Lines of a page of the log.
const PAGE: usize = 10;

fn move_around(app: &mut App, code: KeyCode) {
    let last = app.stages.len().saturating_sub(1);
    let at = app.selected.or(app.current).unwrap_or(0);
    let look = &mut app.look;
    let chart = &mut look.chart;
    match code {
        KeyCode::Up | KeyCode::Char('k') => app.selected = Some(at.saturating_sub(1)),
        KeyCode::Down | KeyCode::Char('j') => app.selected = Some((at + 1).min(last)),
        KeyCode::Char('l') => chart.is_log = !chart.is_log,
        KeyCode::Char('m') => chart.smoothing = (chart.smoothing + 1) % 4,
        KeyCode::Char('o') => chart.is_overlay = !chart.is_overlay,
        KeyCode::Char('+' | '=') => chart.zoom = (chart.zoom + 1).min(MOST_ZOOM),
        KeyCode::Char('-') => {
            chart.zoom = chart.zoom.saturating_sub(1);
            chart.pan /= 2;
        }
        KeyCode::Left => chart.pan = (chart.pan + 1).min((2 << chart.zoom) - 2),
        KeyCode::Right => chart.pan = chart.pan.saturating_sub(1),
        KeyCode::Enter if look.tab == Tab::Charts => {
            let next = chart.only.map_or(0, |metric| metric as usize + 1);
            chart.only = Metric::ALL.get(next).copied();
        }
        KeyCode::Char('/') if look.tab == Tab::Log => look.is_typing = true,
        KeyCode::Char('f') if look.tab == Tab::Log => look.is_trouble_only = !look.is_trouble_only,
        // The log is read from its end, samples from their start.
        KeyCode::PageUp if look.tab == Tab::Log => look.scroll += PAGE,
        KeyCode::PageDown if look.tab == Tab::Log => {
            look.scroll = look.scroll.saturating_sub(PAGE);
        }
        KeyCode::PageUp => look.scroll = look.scroll.saturating_sub(1),
        KeyCode::PageDown => look.scroll += 1,
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(app: &mut App, code: KeyCode) -> Ask {
        apply(app, KeyEvent::new(code, KeyModifiers::NONE))
    }

    #[test]
    fn quitting_asks_first_and_control_c_does_not() {
        let mut app = App::default();
        assert_eq!(press(&mut app, KeyCode::Char('q')), Ask::Nothing);
        assert!(app.look.is_asking_to_stop);
        assert_eq!(press(&mut app, KeyCode::Char('n')), Ask::Nothing);
        assert!(!app.look.is_asking_to_stop);
        press(&mut app, KeyCode::Char('q'));
        assert_eq!(press(&mut app, KeyCode::Char('y')), Ask::Stop);
        let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(apply(&mut app, control_c), Ask::Stop);
        app.is_watching = true;
        assert_eq!(press(&mut app, KeyCode::Char('q')), Ask::Stop);
        assert!(!app.look.is_asking_to_stop);
    }

    #[test]
    fn arrows_do_nothing_without_stages() {
        let mut app = App::default();
        press(&mut app, KeyCode::Down);
        press(&mut app, KeyCode::Up);
        assert!(app.shown().is_none());
    }

    #[test]
    fn a_filter_takes_every_letter_and_pages_turn_around() {
        let mut app = App::default();
        press(&mut app, KeyCode::Char('6'));
        assert_eq!(app.look.tab, Tab::Log);
        for letter in "/qps".chars() {
            assert_eq!(press(&mut app, KeyCode::Char(letter)), Ask::Nothing);
        }
        assert_eq!(app.look.filter, "qps");
        press(&mut app, KeyCode::Enter);
        assert_eq!(press(&mut app, KeyCode::Char('p')), Ask::Pause);
        press(&mut app, KeyCode::Tab);
        press(&mut app, KeyCode::Tab);
        assert_eq!(app.look.tab, Tab::Overview);
        press(&mut app, KeyCode::BackTab);
        assert_eq!(app.look.tab, Tab::Compare);
    }

    #[test]
    fn zoom_and_pan_stay_within_the_stage() {
        let mut app = App::default();
        for _ in 0..40 {
            press(&mut app, KeyCode::Char('+'));
        }
        for _ in 0..40_000 {
            press(&mut app, KeyCode::Left);
        }
        let (first, last) = app.look.chart.window(1_000_000);
        assert!(first >= 1.0 && last > first, "{first} {last}");
        for _ in 0..40 {
            press(&mut app, KeyCode::Char('-'));
        }
        assert_eq!(app.look.chart.window(100), (1.0, 100.0));
    }
}
