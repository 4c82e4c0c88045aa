//! The key list.
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Clear, Paragraph, Widget};

use super::{block, bold};
use crate::dashboard::App;
use crate::dashboard::keys::KEYS;

/// Draws the key list over the middle of the screen.
pub(super) fn keys(_app: &App, area: Rect, buffer: &mut Buffer) {
    let window = area.centered(
        Constraint::Length(60),
        Constraint::Length(KEYS.len() as u16 + 2),
    );
    let lines: Vec<_> = KEYS
        .iter()
        .map(|(key, what)| {
            Line::from(vec![
                Span::styled(format!(" {key:<12}"), bold()),
                Span::raw(*what),
            ])
        })
        .collect();
    Clear.render(window, buffer);
    Paragraph::new(lines)
        .block(block(" keys "))
        .render(window, buffer);
}
