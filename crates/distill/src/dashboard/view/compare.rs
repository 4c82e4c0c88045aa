//! The stages of this run, and of others beside it.
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Widget};

use super::{block, bold, dim, name, nothing, table};
use crate::curves::Metric;
use crate::dashboard::App;
use crate::dashboard::app::StageView;

/// Room for the name of a stage.
const LABEL: usize = 32;

/// Draws the table of the run, or with other runs a line a stage: perplexity and loss of each.
pub(super) fn compare(app: &App, area: Rect, buffer: &mut Buffer) {
    if app.others.is_empty() && !app.rows.is_empty() {
        return table::table(app, area, buffer);
    }
    if app.stages.is_empty() {
        return nothing(" compare ", "no stage yet", area, buffer);
    }
    let runs: Vec<&App> = [app].into_iter().chain(&app.others).collect();
    let heads = runs.iter().enumerate().map(|(index, run)| {
        let title = match index {
            0 => run.name.clone(),
            index => format!("run {}: {}", index + 1, run.name),
        };
        format!("  {:>20}", title.chars().take(20).collect::<String>())
    });
    let head = format!("{:<LABEL$}{}", "", heads.collect::<String>());
    let columns = format!("{:>8}{:>14}", "ppl x", "loss");
    let second = format!("{:<LABEL$}{}", "stage", columns.repeat(runs.len()));
    let mut lines = vec![Line::styled(head, bold()), Line::styled(second, dim())];
    let height = usize::from(area.height).saturating_sub(4);
    let at = app.selected.or(app.current).unwrap_or(0);
    let first = at
        .saturating_sub(height / 2)
        .min(app.stages.len().saturating_sub(height));
    for stage in app.stages.iter().skip(first).take(height) {
        let label = name(stage);
        let label = label.strip_prefix("control-").unwrap_or(&label);
        let mut line = format!("{label:<LABEL$}");
        for run in &runs {
            let is_same = |other: &&StageView| {
                other.arm == stage.arm
                    && other.attention_ratio == stage.attention_ratio
                    && other.kind == stage.kind
            };
            line += &cells(run.stages.iter().find(is_same));
        }
        lines.push(Line::raw(line));
    }
    let title = match app.others.is_empty() {
        true => " stages (compare: `watch RUN --compare RUN2`) ",
        false => " runs beside each other ",
    };
    Paragraph::new(lines)
        .block(block(title))
        .render(area, buffer);
}

fn cells(stage: Option<&StageView>) -> String {
    let number = |value: Option<f64>, digits: usize| {
        value.map_or("-".to_string(), |value| format!("{value:.digits$}"))
    };
    let loss = stage.and_then(|stage| stage.curve(Metric::Loss).last());
    let at = loss.map_or(String::new(), |(step, _)| format!(" @{step}"));
    let loss = number(loss.map(|(_, loss)| loss), 4) + &at;
    let perplexity = number(stage.and_then(|stage| stage.perplexity_ratio), 3);
    format!("{perplexity:>8}{loss:>14}")
}
