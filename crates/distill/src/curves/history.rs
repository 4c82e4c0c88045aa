//! What the logs of a run say of each stage.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use crate::error::DistillError;
use crate::recipe::{Plan, StageKind};
use crate::run::{Event, EventLog, LogReader};

/// Numbers of one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepValues {
    /// What was minimised.
    pub loss: f64,
    /// Divergence from the teacher, where the stage has it.
    pub kl: Option<f64>,
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
}

/// The stages of `plan` in its order, with what all logs in the run folder say of them.
///
/// # Errors
/// [`DistillError::Io`] when a log cannot be read.
pub fn history(plan: &Plan, run_dir: &Path) -> Result<Vec<StageHistory>, DistillError> {
    let mut events = Vec::new();
    for file in EventLog::files(run_dir)? {
        // Of one process each: stages of different ones are not mixed up.
        events.push(
            LogReader::open_file(file)?
                .poll()?
                .into_iter()
                .map(|timed| timed.event),
        );
    }
    Ok(fold(plan, events))
}

/// Names a stage: arm, bits of its ratio, kind.
type Name = (String, u64, StageKind);

fn fold(
    plan: &Plan,
    logs: impl IntoIterator<Item = impl Iterator<Item = Event>>,
) -> Vec<StageHistory> {
    let name = |arm: &str, ratio: f64, kind| -> Name { (arm.into(), ratio.to_bits(), kind) };
    let mut stages: Vec<StageHistory> = Vec::new();
    let mut places: HashMap<Name, usize> = HashMap::new();
    for stage in plan.stages() {
        places.insert(
            name(&stage.arm, stage.attention_ratio, stage.kind),
            stages.len(),
        );
        stages.push(StageHistory {
            arm: stage.arm.clone(),
            attention_ratio: stage.attention_ratio,
            kind: stage.kind,
            planned_steps: stage.steps,
            steps: BTreeMap::new(),
            perplexity_ratio: None,
        });
    }
    for log in logs {
        let mut current = None;
        for event in log {
            match event {
                Event::StageStarted {
                    arm,
                    attention_ratio,
                    stage,
                    ..
                } => {
                    current = places.get(&name(&arm, attention_ratio, stage)).copied();
                }
                Event::Step { step, loss, kl, .. } => {
                    if let Some(place) = current {
                        let steps = &mut stages[place].steps;
                        steps.insert(step, StepValues { loss, kl });
                    }
                }
                Event::Rewound { to_step, .. } => {
                    if let Some(place) = current {
                        stages[place].steps.split_off(&(to_step + 1));
                    }
                }
                Event::Evaluated {
                    arm,
                    attention_ratio,
                    stage: Some(kind),
                    perplexity_ratio,
                    ..
                } => {
                    if let Some(place) = places.get(&name(&arm, attention_ratio, kind)) {
                        stages[*place].perplexity_ratio = Some(perplexity_ratio);
                    }
                }
                _ => {}
            }
        }
    }
    stages
}

#[cfg(test)]
mod tests {
    use super::*;
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
        let stages = fold(&plan, [first.into_iter(), second.into_iter()]);
        assert_eq!(stages.len(), plan.stages().count());
        let losses = |stage: &StageHistory| -> Vec<(usize, f64)> {
            let steps = stage.steps.iter();
            steps.map(|(step, values)| (*step, values.loss)).collect()
        };
        assert_eq!(losses(&stages[0]), [(1, 5.0), (2, 4.5), (3, 3.0)]);
        assert_eq!(stages[0].steps[&3].kl, Some(1.5));
        assert_eq!(stages[0].perplexity_ratio, Some(2.0));
        let quarter = |stage: &&StageHistory| stage.attention_ratio == 0.25 && stage.kind == kind;
        let quarter = stages.iter().find(quarter).unwrap();
        assert_eq!(losses(quarter), [(1, 8.0)]);
        let all: usize = stages.iter().map(|stage| stage.steps.len()).sum();
        assert_eq!(all, 4, "steps of no stage of the plan are left out");
    }
}
