//! Pure views: `fn(&App, Rect, &mut Buffer)`.
mod charts;
mod compare;
mod help;
mod layers;
mod log;
mod progress;
mod runs;
mod samples;
mod speed;
mod table;

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph, Widget};

use super::App;
use super::app::{StageView, Tab};
use super::{stage_label, theme};

/// Draws the whole dashboard.
pub fn draw(app: &App, area: Rect, buffer: &mut Buffer) {
    let alerts = app.alerts();
    let [head, body, alert, foot] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Min(4),
        Constraint::Length(u16::from(!alerts.is_empty())),
        Constraint::Length(1),
    ])
    .areas(area);
    progress::head(app, head, buffer);
    match app.look.tab {
        Tab::Overview => overview(app, body, buffer),
        Tab::Charts => charts::all(app, body, buffer),
        Tab::Speed => speed::speed(app, body, buffer),
        Tab::Layers => layers::layers(app, body, buffer),
        Tab::Samples => samples::samples(app, body, buffer),
        Tab::Log => log::page(app, body, buffer),
        Tab::Compare => compare::compare(app, body, buffer),
    }
    progress::alerts(app, &alerts, alert, buffer);
    progress::foot(app, foot, buffer);
    if app.look.is_help_open {
        help::keys(app, area, buffer);
    }
    if app.theme.is_ascii {
        theme::to_ascii(area, buffer);
    }
}

/// The tree, the first curves, the newest lines of the log.
fn overview(app: &App, area: Rect, buffer: &mut Buffer) {
    let log_height = if area.height >= 33 { 10 } else { 5 };
    let [body, log] =
        Layout::vertical([Constraint::Min(6), Constraint::Length(log_height)]).areas(area);
    if app.rows.is_empty() || app.selected.is_some() {
        let [tree, curves] =
            Layout::horizontal([Constraint::Length(32), Constraint::Min(30)]).areas(body);
        runs::tree(app, tree, buffer);
        charts::first(app, curves, buffer);
    } else {
        table::table(app, body, buffer);
    }
    log::newest(app, log, buffer);
}

/// A colour, unless colours are off.
fn colour(app: &App, colour: Color) -> Style {
    app.theme.colour(colour)
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

/// A frame with a line that says why there is nothing in it.
fn nothing(title: &str, why: &str, area: Rect, buffer: &mut Buffer) {
    Paragraph::new(Line::styled(why.to_string(), dim()))
        .block(block(title))
        .render(area, buffer);
}

/// `chain 50 % sft`.
fn name(stage: &StageView) -> String {
    format!(
        "{} {}",
        stage.arm,
        stage_label(stage.attention_ratio, stage.kind)
    )
}

/// A name in front of what it names.
fn fact(name: &str, value: String) -> Line<'static> {
    Line::from(vec![
        Span::styled(format!("{name:<15}"), dim()),
        Span::raw(value),
    ])
}
