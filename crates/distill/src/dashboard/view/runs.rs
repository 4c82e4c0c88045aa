//! The tree of arms, ratios and stages.
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Widget};

use super::{block, bold, colour, dim};
use crate::dashboard::App;
use crate::dashboard::app::{Progress, StageView};
use crate::dashboard::{duration, percent};

/// Draws the tree, scrolled so that the stage shown is visible.
pub(super) fn tree(app: &App, area: Rect, buffer: &mut Buffer) {
    let block = block(" stages ");
    let inner = block.inner(area);
    block.render(area, buffer);
    let (lines, shown) = lines(app);
    let height = usize::from(inner.height);
    let first = shown
        .saturating_sub(height / 2)
        .min(lines.len().saturating_sub(height));
    Paragraph::new(
        lines
            .into_iter()
            .skip(first)
            .take(height)
            .collect::<Vec<_>>(),
    )
    .render(inner, buffer);
}

/// Every line, and the index of the one with the stage shown.
fn lines(app: &App) -> (Vec<Line<'static>>, usize) {
    let mut lines = Vec::new();
    let mut at = 0;
    let mut arm = None;
    let mut ratio = None;
    for (index, stage) in app.stages.iter().enumerate() {
        if arm != Some(&stage.arm) {
            arm = Some(&stage.arm);
            ratio = None;
            lines.push(Line::styled(stage.arm.clone(), bold()));
        }
        if ratio != Some(stage.attention_ratio) {
            ratio = Some(stage.attention_ratio);
            lines.push(Line::raw(format!(
                " {} % attention",
                percent(stage.attention_ratio)
            )));
        }
        let is_shown = app.selected.or(app.current) == Some(index);
        if is_shown {
            at = lines.len();
        }
        lines.push(line(app, stage, is_shown));
    }
    (lines, at)
}

fn line(app: &App, stage: &StageView, is_shown: bool) -> Line<'static> {
    let (mark, style) = match stage.progress {
        Progress::Waiting => ("\u{b7}", dim()),
        Progress::Running => ("\u{25b6}", colour(app, Color::Yellow)),
        Progress::Done => ("\u{2713}", colour(app, Color::Green)),
        Progress::Reused => ("\u{2713}", dim()),
    };
    let note = match (stage.progress, stage.perplexity_ratio) {
        (_, Some(ratio)) => format!("ppl x{ratio:.2}"),
        (Progress::Running, None) => {
            let done = 100 * stage.step / stage.steps.max(1);
            match app.stage_eta_ms(stage) {
                Some(ms) if ms > 0 => format!("{done} % {}", duration(ms).replace(' ', "")),
                _ => format!("{done} %"),
            }
        }
        (Progress::Waiting, None) => app.stage_eta_ms(stage).map_or_else(String::new, |ms| {
            format!("~{}", duration(ms).replace(' ', ""))
        }),
        _ => String::new(),
    };
    let base = if is_shown {
        Style::new().add_modifier(Modifier::REVERSED)
    } else {
        Style::new()
    };
    Line::from(vec![
        Span::raw("  "),
        Span::styled(mark, style),
        Span::styled(format!(" {:<12}", stage.kind.name()), base),
        Span::raw(format!(" {note:>10}")),
    ])
}
