//! Head line, numbers of the last step, log and foot line.
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Color;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Widget};

use super::{block, bold, colour, dim};
use crate::dashboard::App;
use crate::dashboard::app::RunStatus;
use crate::dashboard::duration;

/// Two lines: what runs and how it stands; the numbers of the last step.
pub(super) fn head(app: &App, area: Rect, buffer: &mut Buffer) {
    let (status, status_colour) = match &app.status {
        RunStatus::Waiting => ("waiting", Color::Gray),
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
    let first = Line::from(vec![
        Span::styled(format!("{} ", app.name), bold()),
        Span::styled(status, colour(app, status_colour)),
        Span::raw(format!(" {}{eta}", duration(app.elapsed_ms()))),
        Span::styled(format!("  {}{size} on {}", app.teacher, app.backend), dim()),
    ]);
    let second = Line::raw(format!(
        "loss {:.4}  lr {:.2e}  grad norm {:.3}  {:.0} tokens/s  {} tokens",
        app.last.loss, app.last.lr, app.last.grad_norm, app.last.tokens_per_s, app.last.tokens
    ));
    Paragraph::new(vec![first, second]).render(area, buffer);
}

/// The newest lines of the log.
pub(super) fn log(app: &App, area: Rect, buffer: &mut Buffer) {
    let block = block(" log ");
    let height = usize::from(block.inner(area).height);
    let skipped = app.log.len().saturating_sub(height);
    let lines: Vec<_> = app
        .log
        .iter()
        .skip(skipped)
        .map(|line| Line::raw(line.as_str()))
        .collect();
    Paragraph::new(lines).block(block).render(area, buffer);
}

/// Keys, or the question that is open.
pub(super) fn foot(app: &App, area: Rect, buffer: &mut Buffer) {
    let line = if app.is_asking_to_stop {
        Line::styled(
            "stop after this step? finished stages are kept  y / n",
            bold(),
        )
    } else if app.status == RunStatus::Stopping {
        Line::styled(
            "finishing this step; Ctrl-C again leaves at once",
            colour(app, Color::Yellow),
        )
    } else {
        Line::styled("q stop   \u{2191}\u{2193} stage   ? keys", dim())
    };
    Paragraph::new(line).render(area, buffer);
}
