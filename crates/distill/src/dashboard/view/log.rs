//! The log: its newest lines, and a page of it with a filter.
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Color;
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Widget};

use super::{block, colour};
use crate::dashboard::App;
use crate::dashboard::app::LogLine;

fn line<'a>(app: &App, line: &'a LogLine) -> Line<'a> {
    match line.is_trouble {
        true => Line::styled(line.text.as_str(), colour(app, Color::Red)),
        false => Line::raw(line.text.as_str()),
    }
}

/// The newest lines.
pub(super) fn newest(app: &App, area: Rect, buffer: &mut Buffer) {
    let block = block(" log ");
    let height = usize::from(block.inner(area).height);
    let skipped = app.log.len().saturating_sub(height);
    let lines = app.log.iter().skip(skipped).map(|text| line(app, text));
    Paragraph::new(lines.collect::<Vec<_>>())
        .block(block)
        .render(area, buffer);
}

/// The lines that the filter lets through, scrolled from the end.
pub(super) fn page(app: &App, area: Rect, buffer: &mut Buffer) {
    let look = &app.look;
    let filter = look.filter.to_lowercase();
    let kept: Vec<&LogLine> = app
        .log
        .iter()
        .filter(|line| line.is_trouble || !look.is_trouble_only)
        .filter(|line| line.text.to_lowercase().contains(&filter))
        .collect();
    let cursor = if look.is_typing { "_" } else { "" };
    let mut title = format!(" log: {} of {} lines", kept.len(), app.log.len());
    if look.is_trouble_only {
        title += ", trouble only";
    }
    if look.is_typing || !filter.is_empty() {
        title += &format!(", with \"{}{cursor}\"", look.filter);
    }
    title += " ";
    let block = block(&title);
    let height = usize::from(block.inner(area).height);
    let last = kept.len().saturating_sub(height);
    let first = last.saturating_sub(look.scroll);
    let lines = kept.iter().skip(first).take(height);
    Paragraph::new(lines.map(|text| line(app, text)).collect::<Vec<_>>())
        .block(block)
        .render(area, buffer);
}
