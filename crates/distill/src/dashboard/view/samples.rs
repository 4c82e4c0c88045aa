//! What teacher and student say, side by side.
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::widgets::{Paragraph, Widget, Wrap};

use super::{block, name, nothing};
use crate::dashboard::App;

/// Draws the samples of the stage shown, or of the last one before it that has any.
pub(super) fn samples(app: &App, area: Rect, buffer: &mut Buffer) {
    let shown = app.selected.or(app.current).unwrap_or(0);
    let known = app.stages.iter().take(shown + 1);
    let Some(stage) = known.rev().find(|stage| !stage.samples.is_empty()) else {
        return nothing(" samples ", "none yet: they follow a stage", area, buffer);
    };
    let count = stage.samples.len();
    let at = app.look.scroll.min(count - 1);
    let sample = &stage.samples[at];
    let [prompt, replies] = Layout::vertical([Constraint::Max(6), Constraint::Min(4)]).areas(area);
    let [teacher, student] =
        Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).areas(replies);
    let title = format!(" prompt {} of {count} \u{2014} {} ", at + 1, name(stage));
    for (title, text, area) in [
        (title.as_str(), &sample.prompt, prompt),
        (" teacher ", &sample.teacher, teacher),
        (" student ", &sample.student, student),
    ] {
        Paragraph::new(text.as_str())
            .wrap(Wrap { trim: false })
            .block(block(title))
            .render(area, buffer);
    }
}
