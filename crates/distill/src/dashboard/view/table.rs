//! The final table.
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Widget};

use super::{block, bold};
use crate::dashboard::App;
use crate::sweep::text_table;

/// Draws the final table, as it is printed at the end.
pub(super) fn table(app: &App, area: Rect, buffer: &mut Buffer) {
    let text = text_table(&app.rows);
    let lines: Vec<_> = text
        .lines()
        .enumerate()
        .map(|(index, line)| {
            if index == 0 {
                Line::styled(line.to_string(), bold())
            } else {
                Line::raw(line.to_string())
            }
        })
        .collect();
    Paragraph::new(lines)
        .block(block(" result "))
        .render(area, buffer);
}
