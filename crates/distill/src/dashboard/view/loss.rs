//! The curves of a stage.
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Color;
use ratatui::symbols::Marker;
use ratatui::text::Line;
use ratatui::widgets::{Axis, Chart, Dataset, GraphType, Paragraph, Widget};

use super::{block, colour, dim};
use crate::dashboard::App;
use crate::dashboard::stage_label;
use crate::recipe::StageKind;

/// Draws loss above KL (or the reward margin) of the stage shown.
pub(super) fn curves(app: &App, area: Rect, buffer: &mut Buffer) {
    let Some(stage) = app.shown() else {
        let block = block(" loss ");
        Paragraph::new(Line::styled("no step yet", dim()))
            .block(block)
            .render(area, buffer);
        return;
    };
    let title = |what: &str| {
        format!(
            " {what} \u{2014} {} {} ",
            stage.arm,
            stage_label(stage.attention_ratio, stage.kind)
        )
    };
    let steps = stage.steps.max(1) as f64;
    if stage.second.is_empty() {
        chart(
            app,
            &title("loss"),
            &stage.loss,
            steps,
            Color::Cyan,
            area,
            buffer,
        );
        return;
    }
    let second = if stage.kind == StageKind::Dpo {
        "reward margin"
    } else {
        "KL to teacher"
    };
    let [upper, lower] = Layout::vertical([Constraint::Fill(1), Constraint::Fill(1)]).areas(area);
    chart(
        app,
        &title("loss"),
        &stage.loss,
        steps,
        Color::Cyan,
        upper,
        buffer,
    );
    chart(
        app,
        &format!(" {second} "),
        &stage.second,
        steps,
        Color::Magenta,
        lower,
        buffer,
    );
}

fn chart(
    app: &App,
    title: &str,
    points: &[(f64, f64)],
    steps: f64,
    line_colour: Color,
    area: Rect,
    buffer: &mut Buffer,
) {
    let finite = points
        .iter()
        .map(|point| point.1)
        .filter(|value| value.is_finite());
    let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    if low > high {
        Paragraph::new(Line::styled("no step yet", dim()))
            .block(block(title))
            .render(area, buffer);
        return;
    }
    let margin = ((high - low) * 0.05).max(high.abs() * 0.01).max(1e-6);
    let bounds = [low - margin, high + margin];
    let last = points
        .last()
        .map(|point| format!(" now {:.4} ", point.1))
        .unwrap_or_default();
    let dataset = Dataset::default()
        .marker(Marker::Braille)
        .graph_type(GraphType::Line)
        .style(colour(app, line_colour))
        .data(points);
    let x = Axis::default()
        .style(dim())
        .bounds([1.0_f64.min(steps), steps.max(2.0)])
        .labels(["1".to_string(), format!("{steps:.0}")]);
    let y = Axis::default()
        .style(dim())
        .bounds(bounds)
        .labels(bounds.map(|bound| format!("{bound:>7.3}")));
    Chart::new(vec![dataset])
        .block(block(title).title_bottom(Line::raw(last).right_aligned()))
        .x_axis(x)
        .y_axis(y)
        .legend_position(None)
        .render(area, buffer);
}
