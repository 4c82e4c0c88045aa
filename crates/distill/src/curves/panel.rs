//! The panels of the picture as data.

use super::{Metric, StageHistory};
use crate::dashboard::percent;
use crate::recipe::{ArmPlan, StageKind};

/// Points of a line at most: a point is the mean of as many steps as that takes.
const POINTS: usize = 30;

/// A line.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Line {
    /// Place among the names of the picture.
    pub name: usize,
    /// `(x, y)`, `x` rising.
    pub points: Vec<(f64, f64)>,
}

/// Lines over common axes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Panel {
    pub title: String,
    pub x_label: String,
    pub lines: Vec<Line>,
    /// Whether every point is a measurement of its own, to be marked.
    pub has_marks: bool,
}

/// All panels, and the names that their lines have.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Picture {
    pub names: Vec<String>,
    pub panels: Vec<Panel>,
}

impl Picture {
    /// `metrics` of each kind of stage, where it has them, and perplexity over the stages of each arm.
    pub fn of(stages: &[StageHistory], metrics: &[Metric]) -> Self {
        let mut picture = Self::default();
        for kind in StageKind::ALL {
            let of_kind = || stages.iter().filter(move |stage| stage.kind == kind);
            let steps = of_kind().map(|stage| stage.steps.len()).max().unwrap_or(0);
            let per_point = steps.div_ceil(POINTS).max(1);
            for metric in metrics {
                let lines: Vec<Line> = of_kind()
                    .map(|stage| Line {
                        name: picture.name(student(stage)),
                        points: means(stage, per_point, *metric),
                    })
                    .filter(|line| !line.points.is_empty())
                    .collect();
                picture.add(Panel {
                    title: format!("{}: {}", kind.name(), metric.title()),
                    x_label: match per_point {
                        1 => "step".into(),
                        n => format!("step (means of {n})"),
                    },
                    lines,
                    has_marks: false,
                });
            }
        }
        let lines = picture.perplexity(stages);
        picture.add(Panel {
            title: "perplexity over the teacher's".into(),
            x_label: "steps of the student, at the end of each stage".into(),
            lines,
            has_marks: true,
        });
        picture
    }

    fn add(&mut self, panel: Panel) {
        if !panel.lines.is_empty() {
            self.panels.push(panel);
        }
    }

    /// One line a student, over its stages.
    fn perplexity(&mut self, stages: &[StageHistory]) -> Vec<Line> {
        let mut lines: Vec<Line> = Vec::new();
        let mut steps = 0;
        for stage in stages {
            let name = self.name(student(stage));
            if lines.last().is_none_or(|line| line.name != name) {
                lines.push(Line {
                    name,
                    points: Vec::new(),
                });
                steps = 0;
            }
            steps += stage.planned_steps;
            if let (Some(line), Some(ratio)) = (lines.last_mut(), stage.perplexity_ratio) {
                line.points.push((steps as f64, ratio));
            }
        }
        lines.retain(|line| !line.points.is_empty());
        lines
    }

    fn name(&mut self, name: String) -> usize {
        let known = self.names.iter().position(|known| *known == name);
        known.unwrap_or_else(|| {
            self.names.push(name);
            self.names.len() - 1
        })
    }
}

/// What a student is called: its ratio, and its arm unless that is the main one; before it its run, where there are several.
pub fn student(stage: &StageHistory) -> String {
    let attention = format!("{} %", percent(stage.attention_ratio));
    let name = match stage.arm.as_str() {
        ArmPlan::CHAIN => attention,
        arm => {
            let name = arm.strip_prefix("control-").unwrap_or(arm);
            format!("{attention} {name}")
        }
    };
    match stage.run.as_str() {
        "" => name,
        run => format!("{run}: {name}"),
    }
}

/// Means over `per_point` steps each, at the last of them.
fn means(stage: &StageHistory, per_point: usize, metric: Metric) -> Vec<(f64, f64)> {
    let values: Vec<(usize, f64)> = stage
        .steps
        .iter()
        .filter_map(|(step, values)| Some((*step, values.get(metric).filter(|v| v.is_finite())?)))
        .collect();
    let mean = |steps: &[(usize, f64)]| {
        let sum: f64 = steps.iter().map(|(_, value)| value).sum();
        let last = steps.last().expect("a chunk is not empty").0;
        (last as f64, sum / steps.len() as f64)
    };
    values.chunks(per_point).map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curves::StepValues;
    use crate::run::Event;

    fn stage(arm: &str, attention_ratio: f64, kind: StageKind, steps: usize) -> StageHistory {
        let has_kl = kind != StageKind::Dpo;
        let values = |step: usize| {
            let event = Event::Step {
                step,
                loss: step as f64,
                ce: None,
                kl: has_kl.then_some(2.0 * step as f64),
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
            steps: (1..=steps).map(values).collect(),
            perplexity_ratio: (steps > 0).then_some(1.0 + attention_ratio),
            ..StageHistory::empty(arm, attention_ratio, kind, steps)
        }
    }

    #[test]
    fn every_stage_has_its_panels_and_long_lines_are_means() {
        let stages = [
            stage("chain", 0.5, StageKind::Distillation, 300),
            stage("chain", 0.5, StageKind::Dpo, 3),
            stage("control-random-mixer", 0.5, StageKind::Distillation, 7),
            stage("control-random-mixer", 0.0, StageKind::Distillation, 0),
        ];
        let picture = Picture::of(&stages, &[Metric::Loss, Metric::Kl]);
        let titles: Vec<&str> = picture
            .panels
            .iter()
            .map(|panel| &panel.title[..])
            .collect();
        assert_eq!(
            titles,
            [
                "distillation: loss",
                "distillation: KL to the teacher",
                "dpo: loss",
                "perplexity over the teacher's"
            ]
        );
        let panel = &picture.panels[0];
        assert_eq!(panel.x_label, "step (means of 10)");
        let points = &panel.lines[0].points;
        assert_eq!(points.len(), 30);
        // Of steps 1 to 10 and of 291 to 300.
        assert_eq!((points[0], points[29]), ((10.0, 5.5), (300.0, 295.5)));
        assert_eq!(panel.lines[1].points, [(7.0, 4.0)]);
        assert_eq!(picture.names[panel.lines[1].name], "50 % random-mixer");
        let perplexity = &picture.panels[3].lines;
        assert_eq!(perplexity[0].points, [(300.0, 1.5), (303.0, 1.5)]);
        assert_eq!(perplexity.len(), 2, "nothing is drawn of what was not run");
    }
}
