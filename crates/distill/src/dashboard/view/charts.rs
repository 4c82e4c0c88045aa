//! Curves of the stage shown, and of the same stage of other students.
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Color;
use ratatui::symbols::Marker;
use ratatui::text::Line;
use ratatui::widgets::{Axis, Chart, Dataset, GraphType, Widget};

use super::{block, colour, dim, name, nothing};
use crate::curves::Metric;
use crate::dashboard::App;
use crate::dashboard::app::StageView;
use crate::dashboard::percent;
use crate::recipe::StageKind;

/// Width and height below which a chart says nothing.
const LEAST: (u16, u16) = (36, 7);
/// Width and height beyond which a chart says no more.
const MOST: (u16, u16) = (120, 40);
/// Colours of students that are drawn together.
const COLOURS: [Color; 6] = [
    Color::Cyan,
    Color::Magenta,
    Color::Yellow,
    Color::Green,
    Color::Red,
    Color::Blue,
];

/// Loss above KL (or the reward margin) of the stage shown.
pub(super) fn first(app: &App, area: Rect, buffer: &mut Buffer) {
    let Some(stage) = app.shown() else {
        return nothing(" loss ", waiting(app), area, buffer);
    };
    let second = match stage.kind {
        StageKind::Dpo => Metric::Margin,
        _ => Metric::Kl,
    };
    if stage.curve(second).is_empty() {
        return chart(app, stage, Metric::Loss, true, area, buffer);
    }
    let [upper, lower] = Layout::vertical([Constraint::Fill(1), Constraint::Fill(1)]).areas(area);
    chart(app, stage, Metric::Loss, true, upper, buffer);
    chart(app, stage, second, false, lower, buffer);
}

/// Every curve that the stage shown has, or the one that was chosen.
pub(super) fn all(app: &App, area: Rect, buffer: &mut Buffer) {
    let Some(stage) = app.shown() else {
        return nothing(" charts ", waiting(app), area, buffer);
    };
    if let Some(metric) = app.look.chart.only {
        return chart(app, stage, metric, true, area, buffer);
    }
    let has = |metric: &Metric| !stage.curve(*metric).is_empty();
    let metrics: Vec<Metric> = Metric::ALL.into_iter().filter(has).collect();
    if metrics.is_empty() {
        return nothing(" charts ", "no step yet", area, buffer);
    }
    let is_measured = |stage: &StageView| stage.perplexity_ratio.is_some();
    // The curves of the stage, and at the end that of the run.
    let mut shown: Vec<Option<Metric>> = metrics.into_iter().map(Some).collect();
    shown.extend(app.stages.iter().any(is_measured).then_some(None));
    let (columns, rows) = grid(shown.len(), area);
    let heights = Layout::vertical(vec![Constraint::Fill(1); rows]).split(area);
    // What there is no room for: Enter shows one after another.
    for (row, of_row) in shown.chunks(columns).take(rows).enumerate() {
        let widths = Layout::horizontal(vec![Constraint::Fill(1); of_row.len()]);
        for (index, metric) in of_row.iter().enumerate() {
            let area = widths.split(heights[row])[index];
            match metric {
                Some(metric) => chart(app, stage, *metric, row + index == 0, area, buffer),
                None => perplexity(app, area, buffer),
            }
        }
    }
}

/// Tokens a second.
pub(super) fn speed(app: &App, stage: &StageView, area: Rect, buffer: &mut Buffer) {
    chart(app, stage, Metric::TokensPerS, false, area, buffer);
}

/// Columns and rows for so many charts: as few columns as leave every chart its height.
fn grid(count: usize, area: Rect) -> (usize, usize) {
    let most_columns = usize::from(area.width / LEAST.0).max(1);
    let most_rows = usize::from(area.height / LEAST.1).max(1);
    let columns = count
        .div_ceil(most_rows)
        .max(usize::from(area.width / MOST.0))
        .clamp(1, most_columns);
    let rows = count.div_ceil(columns).min(most_rows);
    (columns, rows)
}

fn waiting(app: &App) -> &'static str {
    match app.is_reading() {
        true => "reading the log",
        false => "no step yet",
    }
}

/// A line of a chart.
struct Drawn {
    name: String,
    points: Vec<(f64, f64)>,
    colour: Color,
}

/// The stages that are drawn together, with their names: the one shown, and with an overlay those of its kind, here and in
/// other runs.
fn together<'a>(app: &'a App, stage: &'a StageView) -> Vec<(String, &'a StageView)> {
    if !app.look.chart.is_overlay && app.others.is_empty() {
        return vec![(String::new(), stage)];
    }
    let short = |stage: &StageView| {
        let arm = stage.arm.strip_prefix("control-").unwrap_or(&stage.arm);
        format!("{} % {arm}", percent(stage.attention_ratio))
    };
    let is_drawn = |other: &&StageView| {
        let is_same = other.arm == stage.arm && other.attention_ratio == stage.attention_ratio;
        other.kind == stage.kind && (app.look.chart.is_overlay || is_same)
    };
    let own = app.stages.iter().filter(is_drawn);
    let mut stages: Vec<_> = own.map(|stage| (short(stage), stage)).collect();
    for (index, run) in app.others.iter().enumerate() {
        let of_run = run.stages.iter().filter(is_drawn);
        stages.extend(of_run.map(|stage| (format!("run {}: {}", index + 2, short(stage)), stage)));
    }
    stages
}

fn chart(
    app: &App,
    stage: &StageView,
    metric: Metric,
    is_first: bool,
    area: Rect,
    buffer: &mut Buffer,
) {
    let look = app.look.chart;
    let title = match is_first {
        true => format!(" {} \u{2014} {} ", metric.title(), name(stage)),
        false => format!(" {} ", metric.title()),
    };
    let window = look.window(stage.steps);
    let height = |y: f64| if look.is_log { y.log10() } else { y };
    let columns = usize::from(area.width);
    let drawn: Vec<Drawn> = together(app, stage)
        .into_iter()
        .enumerate()
        .map(|(index, (name, stage))| {
            let curve = stage.curve(metric);
            let points = curve.points(window, columns, look.smoothing_share());
            let points = points.into_iter().map(|(x, y)| (x, height(y)));
            Drawn {
                name,
                points: points.filter(|(_, y)| y.is_finite()).collect(),
                colour: match index {
                    0 if metric != Metric::Loss => Color::Magenta,
                    index => COLOURS[index % COLOURS.len()],
                },
            }
        })
        .filter(|drawn| !drawn.points.is_empty())
        .collect();
    let now = stage.curve(metric).last();
    let mut below = now.map_or(String::new(), |(_, y)| {
        format!(" now {} ", number(y).trim())
    });
    if look.is_log {
        below.insert_str(0, " log");
    }
    if look.smoothing > 0 {
        below.insert_str(0, " smoothed");
    }
    plot(app, (&title, &below), &drawn, window, area, buffer);
}

/// Perplexity over the teacher's after each stage that is measured, a line an arm.
fn perplexity(app: &App, area: Rect, buffer: &mut Buffer) {
    let is_log = app.look.chart.is_log;
    let mut drawn: Vec<Drawn> = Vec::new();
    for (run, of_run) in [app].into_iter().chain(&app.others).enumerate() {
        for (index, stage) in of_run.stages.iter().enumerate() {
            let Some(ratio) = stage.perplexity_ratio else {
                continue;
            };
            let arm = stage.arm.strip_prefix("control-").unwrap_or(&stage.arm);
            let name = match run {
                0 => arm.to_string(),
                run => format!("run {}: {arm}", run + 1),
            };
            let point = (
                (index + 1) as f64,
                if is_log { ratio.log10() } else { ratio },
            );
            match drawn.last_mut().filter(|line| line.name == name) {
                Some(line) => line.points.push(point),
                None => drawn.push(Drawn {
                    name,
                    points: vec![point],
                    colour: COLOURS[drawn.len() % COLOURS.len()],
                }),
            }
        }
    }
    let last = app.stages.len().max(2) as f64;
    let titles = (
        " perplexity over the teacher's, stage by stage ",
        if is_log { " log " } else { "" },
    );
    plot(app, titles, &drawn, (1.0, last), area, buffer);
}

/// Lines over common axes, with a title above and words below.
fn plot(
    app: &App,
    (title, below): (&str, &str),
    drawn: &[Drawn],
    window: (f64, f64),
    area: Rect,
    buffer: &mut Buffer,
) {
    let is_log = app.look.chart.is_log;
    let points = drawn.iter().flat_map(|drawn| &drawn.points);
    let values = points.map(|(_, y)| *y);
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), y| {
        (low.min(y), high.max(y))
    });
    if low > high {
        return nothing(title, "no step yet", area, buffer);
    }
    let margin = match is_log {
        true => ((high - low) * 0.05).max(0.01),
        false => ((high - low) * 0.05).max(high.abs() * 0.01).max(1e-9),
    };
    let bounds = [low - margin, high + margin];
    let label = |bound: f64| number(if is_log { 10_f64.powf(bound) } else { bound });
    let dot = if app.theme.is_ascii {
        Marker::Custom('*')
    } else {
        Marker::Braille
    };
    let datasets = drawn.iter().map(|drawn| {
        let set = Dataset::default()
            .marker(dot)
            .graph_type(GraphType::Line)
            .style(colour(app, drawn.colour))
            .data(&drawn.points);
        match drawn.name.is_empty() {
            true => set,
            false => set.name(drawn.name.as_str()),
        }
    });
    let x = Axis::default()
        .style(dim())
        .bounds([window.0, window.1])
        .labels([format!("{:.0}", window.0), format!("{:.0}", window.1)]);
    let y = Axis::default()
        .style(dim())
        .bounds(bounds)
        .labels(bounds.map(label));
    Chart::new(datasets.collect())
        .block(block(title).title_bottom(Line::raw(below.to_string()).right_aligned()))
        .x_axis(x)
        .y_axis(y)
        .hidden_legend_constraints((Constraint::Percentage(60), Constraint::Percentage(70)))
        .render(area, buffer);
}

/// Seven characters with about four digits.
fn number(value: f64) -> String {
    let size = value.abs();
    let text = match size {
        _ if size != 0.0 && size < 1e-3 => format!("{value:.1e}"),
        _ if size < 10.0 => format!("{value:.4}"),
        _ if size < 1000.0 => format!("{value:.2}"),
        _ => format!("{value:.0}"),
    };
    format!("{text:>7}")
}
