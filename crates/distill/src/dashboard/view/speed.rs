//! Throughput, where the time of a step goes, and memory.
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Color;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Widget};

use super::{block, charts, colour, fact, name, nothing};
use crate::dashboard::App;
use crate::dashboard::app::{ProfileView, StageView};

/// Looks that the parts of a step are averaged over.
const LOOKS: usize = 10;
/// Colours of the parts.
const COLOURS: [Color; 5] = [
    Color::Yellow,
    Color::Blue,
    Color::Cyan,
    Color::Magenta,
    Color::Green,
];

/// Draws the page.
pub(super) fn speed(app: &App, area: Rect, buffer: &mut Buffer) {
    let Some(stage) = app.shown() else {
        return nothing(" speed ", "no step yet", area, buffer);
    };
    let [upper, lower] = Layout::vertical([Constraint::Length(9), Constraint::Min(6)]).areas(area);
    let [parts, facts] =
        Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).areas(upper);
    step(app, stage, parts, buffer);
    surroundings(app, stage, facts, buffer);
    charts::speed(app, stage, lower, buffer);
}

/// The parts of a step as bars.
fn step(app: &App, stage: &StageView, area: Rect, buffer: &mut Buffer) {
    let looks: Vec<&ProfileView> = stage.profiles.iter().rev().take(LOOKS).collect();
    if looks.is_empty() {
        return nothing(" a step ", "no step was looked at", area, buffer);
    }
    let total: f64 = looks.iter().map(|look| look.parts.total_ms()).sum();
    let title = format!(
        " a step: {:.1} ms \u{2014} {} ",
        total / looks.len() as f64,
        name(stage)
    );
    let block = block(&title);
    let inner = block.inner(area);
    let width = f64::from(inner.width.saturating_sub(28));
    let names = looks[0].parts.named().map(|(name, _)| name);
    let lines = names.into_iter().enumerate().map(|(index, name)| {
        let sum: f64 = looks.iter().map(|look| look.parts.named()[index].1).sum();
        let share = sum / total.max(1e-9);
        let bar = "\u{2588}".repeat((share * width).round() as usize);
        Line::from(vec![
            Span::raw(format!(
                "{name:<10}{:>8.1} {:>4.0} % ",
                sum / looks.len() as f64,
                share * 100.0
            )),
            Span::styled(bar, colour(app, COLOURS[index])),
        ])
    });
    Paragraph::new(lines.collect::<Vec<_>>())
        .block(block)
        .render(area, buffer);
}

/// Speed against the device's, memory, disk.
fn surroundings(app: &App, stage: &StageView, area: Rect, buffer: &mut Buffer) {
    let mib = |bytes: u64| match bytes {
        0..10_737_418_240 => format!("{} MiB", bytes >> 20),
        bytes => format!("{} GiB", bytes >> 30),
    };
    let memory = stage.profiles.last().map(|look| look.memory);
    let mut lines = vec![fact("tokens/s", format!("{:.0}", app.last.tokens_per_s))];
    if let (Some(device), Some(student)) = (&app.device, &stage.student) {
        let now = app.last.tokens_per_s * student.flops_per_token;
        let share = 100.0 * now / device.peak_flops_per_s.max(1.0);
        lines.push(fact(
            "of the peak",
            format!(
                "{share:.0} % of {:.0} GFLOP/s",
                device.peak_flops_per_s / 1e9
            ),
        ));
        lines.push(fact("device", device.name.clone()));
        let (all, trained) = student.parameters;
        lines.push(fact(
            "parameters",
            format!(
                "{:.2} M, {:.2} M trained",
                all as f64 / 1e6,
                trained as f64 / 1e6
            ),
        ));
    }
    let total = app
        .device
        .as_ref()
        .and_then(|device| device.host_total_bytes);
    if let Some(held) = memory.and_then(|memory| memory.host_bytes) {
        let of = total.map_or(String::new(), |total| format!(" of {}", mib(total)));
        lines.push(fact("host memory", format!("{}{of}", mib(held))));
    }
    if let Some(peak) = memory.and_then(|memory| memory.host_peak_bytes) {
        lines.push(fact("at most", mib(peak)));
    }
    if let Some(held) = memory.and_then(|memory| memory.device_bytes) {
        let kept = memory.and_then(|memory| memory.device_reserved_bytes);
        let kept = kept.map_or(String::new(), |kept| format!(", {} reserved", mib(kept)));
        lines.push(fact("device memory", format!("{}{kept}", mib(held))));
    }
    if let Some((free, all)) = app.vitals.disk {
        lines.push(fact("disk", format!("{} free of {}", mib(free), mib(all))));
    }
    Paragraph::new(lines)
        .block(block(" throughput and memory "))
        .render(area, buffer);
}
