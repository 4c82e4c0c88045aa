//! Head line, numbers of the last step, alerts and foot line.
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Widget};

use super::{bold, colour, dim};
use crate::dashboard::App;
use crate::dashboard::app::{RunStatus, Tab};
use crate::dashboard::duration;

/// Two lines: what runs and how it stands; the numbers of the last step.
pub(super) fn head(app: &App, area: Rect, buffer: &mut Buffer) {
    let (status, status_colour) = match &app.status {
        RunStatus::Waiting => ("waiting for the first event", Color::Gray),
        RunStatus::Running if app.is_paused => ("paused", Color::Yellow),
        RunStatus::Running => ("running", Color::Green),
        RunStatus::Stopping => ("stopping", Color::Yellow),
        RunStatus::Interrupted => ("interrupted", Color::Yellow),
        RunStatus::Failed(_) => ("failed", Color::Red),
        RunStatus::Finished => ("finished", Color::Green),
    };
    let size = app
        .teacher_size
        .map(|size| format!(" {:.1} M", size.parameters as f64 / 1e6))
        .unwrap_or_default();
    let eta = app
        .eta_ms()
        .map(|ms| format!(", ETA {}", duration(ms)))
        .unwrap_or_default();
    let name = match app.name.as_str() {
        "" => String::new(),
        name => format!("{name} "),
    };
    let (time, about) = match app.status {
        RunStatus::Waiting => Default::default(),
        _ => (
            format!(" {}{eta}", duration(app.elapsed_ms())),
            format!("  {}{size} on {}", app.teacher, app.backend),
        ),
    };
    let reading = app.reading.map_or(String::new(), |share| {
        format!("  reading the log: {:.0} %", share * 100.0)
    });
    let first = Line::from(vec![
        Span::styled(name, bold()),
        Span::styled(status, colour(app, status_colour)),
        Span::raw(time),
        Span::styled(reading, colour(app, Color::Yellow)),
        Span::styled(about, dim()),
    ]);
    let second = match app.stages.iter().all(|stage| stage.step == 0) {
        true => String::new(),
        false => format!(
            "loss {:.4}  lr {:.2e}  grad norm {:.3}  {:.0} tokens/s  {} tokens",
            app.last.loss, app.last.lr, app.last.grad_norm, app.last.tokens_per_s, app.last.tokens
        ),
    };
    Paragraph::new(vec![first, Line::raw(second)]).render(area, buffer);
}

/// What is wrong: the most urgent, and how much else.
pub(super) fn alerts(app: &App, alerts: &[String], area: Rect, buffer: &mut Buffer) {
    let Some(first) = alerts.first() else {
        return;
    };
    let more = match alerts.len() {
        1 => String::new(),
        count => format!("  ({} more)", count - 1),
    };
    let style = colour(app, Color::Red).add_modifier(Modifier::REVERSED | Modifier::BOLD);
    Line::styled(format!(" ! {first}{more} "), style).render(area, buffer);
}

/// Pages and keys, or the question that is open, or what became of a request.
pub(super) fn foot(app: &App, area: Rect, buffer: &mut Buffer) {
    let look = &app.look;
    let line = if look.is_asking_to_stop {
        Line::styled(
            "stop after this step? it is saved, and finished stages are kept  y / n",
            bold(),
        )
    } else if let Some(message) = &look.message {
        Line::styled(message.clone(), colour(app, Color::Yellow))
    } else if app.status == RunStatus::Stopping {
        Line::styled(
            "finishing this step; Ctrl-C again leaves at once",
            colour(app, Color::Yellow),
        )
    } else {
        pages(app)
    };
    Paragraph::new(line).render(area, buffer);
}

fn pages(app: &App) -> Line<'static> {
    let mut spans = Vec::new();
    for (index, tab) in Tab::ALL.into_iter().enumerate() {
        let style = match tab == app.look.tab {
            true => bold().add_modifier(Modifier::REVERSED),
            false => dim(),
        };
        spans.push(Span::styled(format!("{} {}", index + 1, tab.name()), style));
        spans.push(Span::raw("  "));
    }
    spans.push(Span::styled("? keys", dim()));
    Line::from(spans)
}
