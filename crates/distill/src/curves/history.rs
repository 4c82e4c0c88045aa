//! What the logs of a run say of each stage.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use super::StepValues;
use crate::error::DistillError;
use crate::recipe::{MixerKind, Plan, StageKind};
use crate::run::{Event, EventLog, LogReader, MemoryUse, Sample, StepParts, TimedEvent};

/// What a run's logs say of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunHistory {
    /// The stages of the plan in its order.
    pub stages: Vec<StageHistory>,
    /// What it was computed on: the device's name, and what it does in matrix products, operations a second.
    pub device: Option<(String, f64)>,
    /// First and last event, milliseconds since the Unix epoch.
    pub times_ms: Option<(u64, u64)>,
    /// Processes that worked on it.
    pub processes: usize,
    /// How the process that wrote last ended: `finished`, `interrupted`, or why it failed; `None` while it goes on.
    pub ending: Option<String>,
    /// Lines of the logs that are no events of this version.
    pub skipped_lines: usize,
}

/// A step looked at closely.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// The step.
    pub step: usize,
    /// Where its time went.
    pub parts: StepParts,
    /// Gradient norm of each layer.
    pub layer_grad_norms: Vec<f64>,
    /// Memory in use.
    pub memory: MemoryUse,
}

/// The student of a stage.
#[derive(Debug, Clone, PartialEq)]
pub struct StudentHistory {
    /// What its other layers have in place of attention.
    pub mixer: MixerKind,
    /// Layers that keep attention.
    pub attn_layers: Vec<usize>,
    /// All layers.
    pub n_layers: usize,
    /// Floating-point operations that a token takes.
    pub flops_per_token: f64,
}

/// One stage of a student.
#[derive(Debug, Clone, PartialEq)]
pub struct StageHistory {
    /// Arm of the plan.
    pub arm: String,
    /// Share of layers that keep attention, as asked for.
    pub attention_ratio: f64,
    /// Which stage.
    pub kind: StageKind,
    /// Steps that it takes.
    pub planned_steps: usize,
    /// Steps taken, by number. What was taken back by a rewind or taken again after a crash counts once, as it was last.
    pub steps: BTreeMap<usize, StepValues>,
    /// Perplexity over the teacher's after it.
    pub perplexity_ratio: Option<f64>,
    /// What it trains.
    pub student: Option<StudentHistory>,
    /// Steps looked at closely.
    pub profiles: Vec<Profile>,
    /// What teacher and student say after it.
    pub samples: Vec<Sample>,
    /// Times it was taken back to a checkpoint.
    pub rewinds: usize,
    /// Steps left out.
    pub skipped: usize,
    /// Label of the run where several are drawn together; empty for one.
    pub run: String,
}

impl StageHistory {
    /// A stage of which nothing is known.
    pub fn empty(arm: &str, attention_ratio: f64, kind: StageKind, planned_steps: usize) -> Self {
        Self {
            arm: arm.into(),
            attention_ratio,
            kind,
            planned_steps,
            steps: BTreeMap::new(),
            perplexity_ratio: None,
            student: None,
            profiles: Vec::new(),
            samples: Vec::new(),
            rewinds: 0,
            skipped: 0,
            run: String::new(),
        }
    }
}

/// What all logs in the run folder say of the stages of `plan`.
///
/// # Errors
/// [`DistillError::Io`] when a log cannot be read.
pub fn history(plan: &Plan, run_dir: &Path) -> Result<RunHistory, DistillError> {
    let mut logs = Vec::new();
    let mut skipped_lines = 0;
    for file in EventLog::files(run_dir)? {
        // Of one process each: stages of different ones are not mixed up.
        let mut reader = LogReader::open_file(file)?;
        logs.push(reader.poll()?);
        skipped_lines += reader.skipped();
    }
    Ok(RunHistory {
        skipped_lines,
        ..fold(plan, logs)
    })
}

/// Names a stage: arm, bits of its ratio, kind.
type Name = (String, u64, StageKind);

fn name(arm: &str, ratio: f64, kind: StageKind) -> Name {
    (arm.into(), ratio.to_bits(), kind)
}

fn fold(plan: &Plan, logs: Vec<Vec<TimedEvent>>) -> RunHistory {
    let mut history = RunHistory::default();
    let mut places: HashMap<Name, usize> = HashMap::new();
    for stage in plan.stages() {
        let (arm, ratio) = (&stage.arm, stage.attention_ratio);
        places.insert(name(arm, ratio, stage.kind), history.stages.len());
        let empty = StageHistory::empty(arm, ratio, stage.kind, stage.steps);
        history.stages.push(empty);
    }
    let mut last_ms = 0;
    for log in logs {
        let mut current = None;
        for TimedEvent { time_ms, event } in log {
            let (first, last) = history.times_ms.unwrap_or((time_ms, time_ms));
            history.times_ms = Some((first.min(time_ms), last.max(time_ms)));
            if let Event::StageStarted {
                arm,
                attention_ratio,
                stage,
                ..
            } = &event
            {
                current = places.get(&name(arm, *attention_ratio, *stage)).copied();
            }
            if time_ms >= last_ms {
                last_ms = time_ms;
                history.ending = ending(&event);
            }
            match event {
                Event::RunStarted { .. } => history.processes += 1,
                Event::Device {
                    name,
                    peak_flops_per_s,
                    ..
                } => history.device = Some((name, peak_flops_per_s)),
                Event::Evaluated {
                    arm,
                    attention_ratio,
                    stage: Some(kind),
                    perplexity_ratio,
                    ..
                } => {
                    if let Some(place) = places.get(&name(&arm, attention_ratio, kind)) {
                        history.stages[*place].perplexity_ratio = Some(perplexity_ratio);
                    }
                }
                event => {
                    if let Some(place) = current {
                        history.stages[place].apply(time_ms, event);
                    }
                }
            }
        }
    }
    history
}

fn ending(event: &Event) -> Option<String> {
    match event {
        Event::RunFinished { .. } => Some("finished".into()),
        Event::RunInterrupted => Some("interrupted".into()),
        Event::RunFailed { message } => Some(format!("failed: {message}")),
        _ => None,
    }
}

impl StageHistory {
    /// Folds in an event of this stage.
    fn apply(&mut self, time_ms: u64, event: Event) {
        if let Some((step, values)) = StepValues::of(time_ms, &event) {
            self.steps.insert(step, values);
        }
        match event {
            Event::Student {
                mixer,
                attn_layers,
                n_layers,
                flops_per_token,
                ..
            } => {
                self.student = Some(StudentHistory {
                    mixer,
                    attn_layers,
                    n_layers,
                    flops_per_token,
                });
            }
            Event::Profile {
                step,
                parts,
                layer_grad_norms,
                memory,
            } => {
                self.profiles.retain(|profile| profile.step < step);
                self.profiles.push(Profile {
                    step,
                    parts,
                    layer_grad_norms,
                    memory,
                });
            }
            Event::Rewound { to_step, .. } => {
                self.rewinds += 1;
                self.steps.split_off(&(to_step + 1));
                self.profiles.retain(|profile| profile.step <= to_step);
            }
            Event::Skipped { .. } => self.skipped += 1,
            Event::Samples { samples, .. } => self.samples = samples,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curves::Metric;
    use crate::recipe::{Recipe, default_recipe};

    fn step(step: usize, loss: f64) -> Event {
        Event::Step {
            step,
            loss,
            ce: None,
            kl: Some(loss / 2.0),
            margin: None,
            accuracy: None,
            lr: 1e-3,
            grad_norm: 1.0,
            tokens: 1,
            tokens_per_s: 1.0,
        }
    }

    fn started(arm: &str, attention_ratio: f64, stage: StageKind) -> Event {
        Event::StageStarted {
            arm: arm.into(),
            attention_ratio,
            stage,
            steps: 9,
        }
    }

    #[test]
    fn steps_taken_again_count_once_and_logs_are_joined() {
        let recipe = Recipe::parse(default_recipe(None), "default", &[]).unwrap();
        let plan = Plan::resolve(&recipe, "default").unwrap();
        let kind = StageKind::Distillation;
        let rewound = Event::Rewound {
            step: 4,
            to_step: 1,
            rewind: 1,
            max_rewinds: 3,
            reason: "planted".into(),
        };
        let measured = Event::Evaluated {
            arm: "chain".into(),
            attention_ratio: 0.5,
            stage: Some(kind),
            perplexity: 12.0,
            perplexity_ratio: 2.0,
            tasks: Vec::new(),
            tokens_per_s: None,
        };
        let first = vec![
            step(1, 99.0),
            started("chain", 0.5, kind),
            step(1, 5.0),
            step(2, 50.0),
            step(3, 60.0),
            step(4, 70.0),
            rewound,
            step(2, 4.0),
            // Stopped, and continued from step 1.
            started("chain", 0.5, kind),
            step(2, 4.5),
            step(3, 3.0),
            measured,
            started("of another plan", 0.5, kind),
            step(1, 77.0),
        ];
        let second = vec![started("chain", 0.25, kind), step(1, 8.0)];
        let timed = |events: Vec<Event>| {
            let events = events.into_iter().zip(1..);
            events
                .map(|(event, time_ms)| TimedEvent { time_ms, event })
                .collect()
        };
        let history = fold(&plan, vec![timed(first), timed(second)]);
        assert_eq!(history.times_ms, Some((1, 14)));
        let stages = history.stages;
        assert_eq!(stages[0].rewinds, 1);
        assert_eq!(stages.len(), plan.stages().count());
        let losses = |stage: &StageHistory| -> Vec<(usize, f64)> {
            let steps = stage.steps.iter();
            steps
                .map(|(step, values)| (*step, values.get(Metric::Loss).unwrap()))
                .collect()
        };
        assert_eq!(losses(&stages[0]), [(1, 5.0), (2, 4.5), (3, 3.0)]);
        assert_eq!(stages[0].steps[&3].get(Metric::Kl), Some(1.5));
        assert_eq!(stages[0].perplexity_ratio, Some(2.0));
        let quarter = |stage: &&StageHistory| stage.attention_ratio == 0.25 && stage.kind == kind;
        let quarter = stages.iter().find(quarter).unwrap();
        assert_eq!(losses(quarter), [(1, 8.0)]);
        let all: usize = stages.iter().map(|stage| stage.steps.len()).sum();
        assert_eq!(all, 4, "steps of no stage of the plan are left out");
    }
}
