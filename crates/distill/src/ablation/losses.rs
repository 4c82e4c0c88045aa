//! What the steps of each stage reported, from the logs of a run.
use std::collections::BTreeMap;
use std::path::Path;

use crate::error::DistillError;
use crate::recipe::StageKind;
use crate::run::{Event, EventLog, LogReader};

/// What one step reported.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepLosses {
    pub loss: f64,
    pub accuracy: Option<f64>,
    pub margin: Option<f64>,
}

/// Steps by number; of a step that was taken again after an interruption or a rewind, the last.
pub type Steps = BTreeMap<usize, StepLosses>;

/// Steps of every stage: by arm, bits of the ratio, and stage.
#[derive(Debug, Default)]
pub struct Losses(BTreeMap<(String, u64, &'static str), Steps>);

impl Losses {
    /// Reads all logs of a run folder.
    ///
    /// # Errors
    /// [`DistillError::Io`].
    pub fn read(run: &Path) -> Result<Self, DistillError> {
        let mut losses = Self::default();
        for file in EventLog::files(run)? {
            let events = LogReader::open_file(file)?.poll()?;
            losses.fold(events.into_iter().map(|timed| timed.event));
        }
        Ok(losses)
    }

    /// Adds one log.
    pub fn fold(&mut self, events: impl Iterator<Item = Event>) {
        let mut current = None;
        for event in events {
            match event {
                Event::StageStarted {
                    arm,
                    attention_ratio,
                    stage,
                    ..
                } => current = Some((arm, attention_ratio.to_bits(), stage.name())),
                Event::Step {
                    step,
                    loss,
                    accuracy,
                    margin,
                    ..
                } => {
                    if let Some(stage) = &current {
                        let losses = StepLosses {
                            loss,
                            accuracy,
                            margin,
                        };
                        let steps = self.0.entry(stage.clone()).or_default();
                        steps.insert(step, losses);
                    }
                }
                _ => {}
            }
        }
    }

    /// The steps of a stage.
    pub fn of(&self, arm: &str, attention_ratio: f64, stage: StageKind) -> Option<&Steps> {
        self.0
            .get(&(arm.to_string(), attention_ratio.to_bits(), stage.name()))
    }
}

/// Mean over the last tenth of the steps of those that have the value.
pub fn mean_of_last_tenth(
    steps: &Steps,
    value: impl Fn(&StepLosses) -> Option<f64>,
) -> Option<f64> {
    let count = steps.len().div_ceil(10);
    let values: Vec<f64> = steps.values().rev().take(count).filter_map(value).collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(step: usize, loss: f64) -> Event {
        Event::Step {
            step,
            loss,
            ce: None,
            kl: None,
            margin: None,
            accuracy: (loss < 1.0).then_some(loss),
            lr: 0.0,
            grad_norm: 0.0,
            tokens: 0,
            tokens_per_s: 0.0,
        }
    }

    #[test]
    fn a_step_taken_again_counts_once() {
        let start = Event::StageStarted {
            arm: "a".into(),
            attention_ratio: 0.5,
            stage: StageKind::Sft,
            steps: 20,
        };
        let mut losses = Losses::default();
        let first = (1..=12).map(|index| step(index, 9.0));
        losses.fold(std::iter::once(start.clone()).chain(first));
        let second = (11..=20).map(|index| step(index, index as f64));
        losses.fold(std::iter::once(start).chain(second));
        let steps = losses.of("a", 0.5, StageKind::Sft).unwrap();
        assert_eq!(steps.len(), 20);
        assert_eq!((steps[&10].loss, steps[&12].loss), (9.0, 12.0));
        assert_eq!(
            mean_of_last_tenth(steps, |step| Some(step.loss)),
            Some(19.5)
        );
        assert_eq!(mean_of_last_tenth(steps, |step| step.accuracy), None);
        assert!(losses.of("a", 0.25, StageKind::Sft).is_none());
    }
}
