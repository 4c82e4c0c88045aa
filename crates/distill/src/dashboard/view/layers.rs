//! Which layers of each student are attention, and the gradient norm of each layer over the steps of the stage shown.
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Color;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Widget};

use super::{block, colour, dim, name, nothing};
use crate::dashboard::App;
use crate::dashboard::app::{StageView, StudentView};
use crate::dashboard::percent;
use crate::recipe::{MixerKind, mixer_name};

/// Draws the page.
pub(super) fn layers(app: &App, area: Rect, buffer: &mut Buffer) {
    let students = students(app);
    if students.is_empty() {
        return nothing(" layers ", "no student yet", area, buffer);
    }
    let height = (students.len() as u16 + 3).min(area.height / 2);
    let [map, heat] =
        Layout::vertical([Constraint::Length(height), Constraint::Min(4)]).areas(area);
    let lines = students.iter().map(|stage| map_line(app, stage));
    let key = Line::from(vec![
        Span::styled("A", colour(app, Color::Yellow)),
        Span::styled(" attention  ", dim()),
        Span::styled("m", colour(app, Color::Cyan)),
        Span::styled(" mamba1  ", dim()),
        Span::styled("M", colour(app, Color::Cyan)),
        Span::styled(" mamba2", dim()),
    ]);
    Paragraph::new(lines.chain([key]).collect::<Vec<_>>())
        .block(block(" students by layer "))
        .render(map, buffer);
    match app.shown() {
        Some(stage) => heat_map(app, stage, heat, buffer),
        None => nothing(" gradient norm ", "no step yet", heat, buffer),
    }
}

/// The first stage of each student.
fn students(app: &App) -> Vec<&StageView> {
    let mut students: Vec<&StageView> = Vec::new();
    for stage in app.stages.iter().filter(|stage| stage.student.is_some()) {
        let is_known = students
            .iter()
            .any(|known| known.arm == stage.arm && known.attention_ratio == stage.attention_ratio);
        if !is_known {
            students.push(stage);
        }
    }
    students
}

fn letter(student: &StudentView, layer_idx: usize) -> (&'static str, Color) {
    match (student.attn_layers.contains(&layer_idx), student.mixer) {
        (true, _) | (_, MixerKind::Attention) => ("A", Color::Yellow),
        (_, MixerKind::Mamba1) => ("m", Color::Cyan),
        (_, MixerKind::Mamba2) => ("M", Color::Cyan),
    }
}

fn map_line(app: &App, stage: &StageView) -> Line<'static> {
    let arm = stage.arm.strip_prefix("control-").unwrap_or(&stage.arm);
    let label = format!("{} % {arm}", percent(stage.attention_ratio));
    let mut spans = vec![Span::raw(format!("{label:<22}"))];
    if let Some(student) = &stage.student {
        for layer_idx in 0..student.n_layers {
            let (letter, of) = letter(student, layer_idx);
            spans.push(Span::styled(letter, colour(app, of)));
            if student.n_layers <= 24 {
                spans.push(Span::raw(" "));
            }
        }
    }
    Line::from(spans)
}

/// Layers down, looks across, the logarithm of the norm in between.
fn heat_map(app: &App, stage: &StageView, area: Rect, buffer: &mut Buffer) {
    let title = format!(" gradient norm by layer \u{2014} {} ", name(stage));
    let norms = || {
        let looks = stage
            .profiles
            .iter()
            .flat_map(|look| &look.layer_grad_norms);
        looks
            .copied()
            .filter(|norm| *norm > 0.0 && *norm < f64::MAX)
            .map(f64::ln)
    };
    let (Some(least), Some(most)) = (norms().reduce(f64::min), norms().reduce(f64::max)) else {
        return nothing(&title, "no step was looked at", area, buffer);
    };
    let below = format!(
        " {:.1e} to {:.1e}; blank: not trained ",
        least.exp(),
        most.exp()
    );
    let block = block(&title).title_bottom(Line::raw(below).right_aligned());
    let inner = block.inner(area);
    block.render(area, buffer);
    let n_layers = stage
        .profiles
        .iter()
        .map(|look| look.layer_grad_norms.len())
        .max();
    let n_layers = n_layers.unwrap_or(0);
    const LABEL: usize = 13;
    let columns = usize::from(inner.width).saturating_sub(LABEL).max(1);
    // A look is as wide as there is room for; of more looks than columns, some are left out.
    let width = (columns / stage.profiles.len()).clamp(1, 4);
    let every = stage.profiles.len().div_ceil(columns);
    let rows = usize::from(inner.height);
    // So is a layer high; of more layers than rows, some are scrolled to.
    let height = (rows / n_layers.max(1)).clamp(1, 3);
    let first = app.look.scroll.min(n_layers.saturating_sub(rows));
    let lines = (first..n_layers).flat_map(|layer_idx| {
        let kind = stage.student.as_ref().map_or("", |student| {
            match student.attn_layers.contains(&layer_idx) {
                true => "attention",
                false => mixer_name(student.mixer),
            }
        });
        let mut spans = Vec::new();
        for look in stage.profiles.iter().step_by(every) {
            let norm = look.layer_grad_norms.get(layer_idx).copied().unwrap_or(0.0);
            let (symbol, style) = match norm > 0.0 {
                true => app
                    .theme
                    .heat((norm.ln() - least) / (most - least).max(1e-9)),
                false => (" ", dim()),
            };
            spans.push(Span::styled(symbol.repeat(width), style));
        }
        let label = format!("{layer_idx:>2} {kind:<10}");
        (0..height).map(move |row| {
            let label = if row == 0 { label.as_str() } else { "" };
            let label = Span::styled(format!("{label:<LABEL$}"), dim());
            Line::from_iter([label].into_iter().chain(spans.clone()))
        })
    });
    Paragraph::new(lines.take(rows).collect::<Vec<_>>()).render(inner, buffer);
}
