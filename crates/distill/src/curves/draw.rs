//! The picture as SVG.

use anyhow::anyhow;
use plotters::coord::Shift;
use plotters::prelude::*;

use super::axis::Axis;
use super::panel::{Panel, Picture};
use super::{Metric, StageHistory};

/// Size of a panel, pixels.
const PANEL: (u32, u32) = (470, 280);
const COLUMNS: usize = 2;
/// Height of the title, and of a row of names.
const TITLE: u32 = 34;
const NAMES: u32 = 20;
/// Room of a name beside its own letters, and of a letter.
const SWATCH: i32 = 46;
const LETTER: i32 = 7;

/// Text, axes and, faintly, grid: of middle lightness as the lines are, and nothing is painted behind them.
const INK: RGBColor = RGBColor(110, 119, 129);
const GRID_OPACITY: f64 = 0.3;

/// Colours of lines, which show on white and on black.
const COLORS: [RGBColor; 10] = [
    RGBColor(60, 130, 215),
    RGBColor(38, 166, 154),
    RGBColor(120, 170, 40),
    RGBColor(200, 150, 20),
    RGBColor(225, 110, 40),
    RGBColor(215, 75, 75),
    RGBColor(205, 85, 150),
    RGBColor(150, 105, 215),
    RGBColor(140, 145, 155),
    RGBColor(160, 110, 70),
];

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// An SVG with the curves of `stages` under a title; `None` when there is nothing to draw yet.
///
/// # Errors
/// When the drawing library fails.
pub fn draw(title: &str, stages: &[StageHistory]) -> anyhow::Result<Option<String>> {
    let picture = Picture::of(stages, &[Metric::Loss, Metric::Kl]);
    if picture.panels.is_empty() {
        return Ok(None);
    }
    let rows = picture.panels.len().div_ceil(COLUMNS);
    let width = COLUMNS as u32 * PANEL.0;
    let names = name_places(&picture.names, width as i32);
    let name_rows = names.last().map_or(0, |(_, row)| row + 1) as u32;
    let head = TITLE + NAMES * name_rows;
    let mut svg = String::new();
    {
        let size = (width, head + rows as u32 * PANEL.1);
        let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        let (top, panels) = root.split_vertically(head);
        failed(draw_head(&top, title, &picture.names, &names))?;
        for (area, panel) in panels
            .split_evenly((rows, COLUMNS))
            .iter()
            .zip(&picture.panels)
        {
            failed(draw_panel(area, panel))?;
        }
        failed(root.present())?;
    }
    Ok(Some(svg))
}

/// Charts as SVGs of their own, and what their lines are called.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Charts {
    /// Names and colours, as CSS writes them.
    pub names: Vec<(String, String)>,
    /// Titles and SVGs.
    pub svgs: Vec<(String, String)>,
}

/// `metrics` of `stages` and their perplexity, a chart each.
///
/// # Errors
/// When the drawing library fails.
pub fn charts(stages: &[StageHistory], metrics: &[Metric]) -> anyhow::Result<Charts> {
    let picture = Picture::of(stages, metrics);
    let css = |index| {
        let RGBColor(r, g, b) = color(index);
        format!("rgb({r},{g},{b})")
    };
    let names = picture.names.iter().enumerate();
    let mut charts = Charts {
        names: names
            .map(|(index, name)| (name.clone(), css(index)))
            .collect(),
        svgs: Vec::new(),
    };
    for panel in &picture.panels {
        let mut svg = String::new();
        {
            let root = SVGBackend::with_string(&mut svg, PANEL).into_drawing_area();
            failed(draw_panel(&root, panel))?;
            failed(root.present())?;
        }
        charts.svgs.push((panel.title.clone(), svg));
    }
    Ok(charts)
}

/// The library's errors borrow from the drawing.
fn failed<T>(result: Result<T, impl std::fmt::Display>) -> anyhow::Result<T> {
    result.map_err(|error| anyhow!("could not draw: {error}"))
}

type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

fn draw_head(area: &Area, title: &str, names: &[String], places: &[(i32, usize)]) -> Drawn {
    let style = ("sans-serif", 16).into_font().color(&INK);
    area.draw(&Text::new(title.to_owned(), (12, 10), style))?;
    let style = ("sans-serif", 12).into_font().color(&INK);
    for (index, (name, (x, row))) in names.iter().zip(places).enumerate() {
        let y = (TITLE + NAMES * *row as u32) as i32;
        let swatch = vec![(*x, y + 7), (x + 22, y + 7)];
        area.draw(&PathElement::new(swatch, color(index).stroke_width(3)))?;
        area.draw(&Text::new(name.clone(), (x + 28, y), style.clone()))?;
    }
    Ok(())
}

/// Left end and row of each name.
fn name_places(names: &[String], width: i32) -> Vec<(i32, usize)> {
    let (mut x, mut row) = (12, 0);
    let place = |name: &String| {
        let room = SWATCH + LETTER * name.chars().count() as i32;
        if x > 12 && x + room > width {
            (x, row) = (12, row + 1);
        }
        let at = (x, row);
        x += room;
        at
    };
    names.iter().map(place).collect()
}

fn color(index: usize) -> RGBColor {
    COLORS[index % COLORS.len()]
}

fn draw_panel(area: &Area, panel: &Panel) -> Drawn {
    let points = || panel.lines.iter().flat_map(|line| &line.points);
    let Some(axis) = Axis::over(points().map(|(_, y)| *y)) else {
        return Ok(());
    };
    let end = points().map(|(x, _)| *x).fold(1.0, f64::max);
    // Nothing happens before the first measurement.
    let start = match panel.has_marks {
        true => points().map(|(x, _)| *x).fold(end, f64::min) * 0.97,
        false => 0.0,
    };
    let text = |size: i32| ("sans-serif", size).into_font().color(&INK);
    let mut chart = ChartBuilder::on(area)
        .margin(10)
        .margin_right(18)
        .caption(&panel.title, text(14))
        .x_label_area_size(38)
        .y_label_area_size(44)
        .build_cartesian_2d(start..end * 1.02, axis)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .bold_line_style(INK.mix(GRID_OPACITY))
        .light_line_style(TRANSPARENT)
        .axis_style(INK)
        .label_style(text(11))
        .axis_desc_style(text(11))
        .x_desc(&panel.x_label)
        .x_labels(6)
        .x_label_formatter(&|x| format!("{x:.0}"))
        .draw()?;
    for line in &panel.lines {
        let color = color(line.name);
        let points = line.points.iter().copied();
        if panel.has_marks {
            let marks = points
                .clone()
                .map(|point| Circle::new(point, 4, color.filled()));
            chart.draw_series(marks)?;
        }
        chart.draw_series(LineSeries::new(points, color.stroke_width(2)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::curves::StepValues;
    use crate::recipe::StageKind;
    use crate::run::Event;

    fn stage(arm: &str, attention_ratio: f64) -> StageHistory {
        let values = |step: usize| {
            let event = Event::Step {
                step,
                loss: 8.0 / step as f64,
                ce: None,
                kl: Some(1.0 / step as f64),
                margin: None,
                accuracy: None,
                lr: 1e-3,
                grad_norm: 1.0,
                tokens: 1,
                tokens_per_s: 1.0,
            };
            StepValues::of(0, &event).expect("a step")
        };
        StageHistory {
            steps: (1..=40).map(values).collect(),
            perplexity_ratio: Some(2.0 - attention_ratio),
            ..StageHistory::empty(arm, attention_ratio, StageKind::Distillation, 40)
        }
    }

    #[test]
    fn every_curve_of_every_student_is_drawn_with_its_name() {
        let stages = [
            stage("chain", 0.5),
            stage("chain", 0.0),
            stage("control-random-mixer", 0.5),
        ];
        let svg = draw("a <run>", &stages).unwrap().unwrap();
        for RGBColor(r, g, b) in &COLORS[..3] {
            let line = format!("stroke=\"#{r:02X}{g:02X}{b:02X}\" stroke-width=\"2\"");
            // Loss and KL; perplexity has one point each.
            assert!(svg.matches(&line).count() >= 2, "{line}");
        }
        assert_eq!(svg.matches("<circle").count(), 3);
        for text in [
            "50 %",
            "0 %",
            "50 % random-mixer",
            "distillation: loss",
            "a &lt;run&gt;",
        ] {
            assert!(svg.contains(text), "{text}");
        }
        assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"));
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }

    #[test]
    fn nothing_is_drawn_of_a_run_without_steps() {
        let mut empty = stage("chain", 0.5);
        (empty.steps, empty.perplexity_ratio) = (BTreeMap::new(), None);
        assert!(draw("empty", &[empty]).unwrap().is_none());
    }

    #[test]
    fn names_that_have_no_room_go_to_the_next_row() {
        let names: Vec<String> = (0..12).map(|i| format!("{i} % random-mixer")).collect();
        let places = name_places(&names, 900);
        for (name, (x, _)) in names.iter().zip(&places) {
            assert!(x + LETTER * name.len() as i32 <= 900);
        }
        assert!(places.last().unwrap().1 >= 1);
    }
}
