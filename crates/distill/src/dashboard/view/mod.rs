//! Pure views: `fn(&App, Rect, &mut Buffer)`.
mod help;
mod loss;
mod progress;
mod runs;
mod table;

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::widgets::Block;

use super::App;

/// Draws the whole dashboard.
pub fn draw(app: &App, area: Rect, buffer: &mut Buffer) {
    let log_height = if area.height >= 36 { 10 } else { 5 };
    let [head, body, log, foot] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Min(6),
        Constraint::Length(log_height),
        Constraint::Length(1),
    ])
    .areas(area);
    progress::head(app, head, buffer);
    if app.rows.is_empty() || app.selected.is_some() {
        let [tree, curves] =
            Layout::horizontal([Constraint::Length(32), Constraint::Min(30)]).areas(body);
        runs::tree(app, tree, buffer);
        loss::curves(app, curves, buffer);
    } else {
        table::table(app, body, buffer);
    }
    progress::log(app, log, buffer);
    progress::foot(app, foot, buffer);
    if app.is_help_open {
        help::keys(app, area, buffer);
    }
}

/// A colour, unless colours are off.
fn colour(app: &App, colour: Color) -> Style {
    if app.is_plain {
        Style::new()
    } else {
        Style::new().fg(colour)
    }
}

/// What is less important.
fn dim() -> Style {
    Style::new().add_modifier(Modifier::DIM)
}

/// What is more important.
fn bold() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

fn block(title: &str) -> Block<'_> {
    Block::bordered()
        .border_style(dim())
        .title(title)
        .title_style(bold())
}
