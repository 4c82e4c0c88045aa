//! Whether a stage is still learning, and how often it was taken back.
use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::recipe::GuardPlan;
use crate::trainer::StepReport;

/// Losses whose median a new one is compared with.
const WINDOW: usize = 64;
/// Losses below which there is no median to compare with.
const FEWEST: usize = 8;

/// What a guard counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuardCounts {
    /// Steps left out just now, in a row.
    pub bad_steps: usize,
    /// Losses that were too high just now, in a row.
    pub high_losses: usize,
    /// How often the stage was taken back.
    pub rewinds: usize,
}

impl GuardCounts {
    /// Whether nothing is wrong just now: a checkpoint is worth going back to.
    pub fn is_calm(&self) -> bool {
        self.bad_steps == 0 && self.high_losses == 0
    }
}

/// Watches the losses of a stage.
#[derive(Debug, Clone)]
pub(super) struct Guard {
    /// When it complains.
    pub plan: GuardPlan,
    /// What it counts.
    pub counts: GuardCounts,
    /// The last losses that were not too high.
    losses: VecDeque<f64>,
}

impl Guard {
    /// Before the first step.
    pub fn new(plan: GuardPlan) -> Self {
        Self {
            plan,
            counts: GuardCounts::default(),
            losses: VecDeque::new(),
        }
    }

    /// The losses that the median is taken of.
    pub fn losses(&self) -> Vec<f64> {
        self.losses.iter().copied().collect()
    }

    /// Goes to where another guard stood.
    pub fn restore(&mut self, counts: GuardCounts, losses: Vec<f64>) {
        self.counts = counts;
        self.losses = losses.into();
    }

    /// Counts a step; says what is wrong when the stage has to be taken back.
    pub fn judge(&mut self, report: &StepReport) -> Option<String> {
        let (counts, plan) = (&mut self.counts, &self.plan);
        if let Some(not_finite) = report.not_finite {
            counts.bad_steps += 1;
            return (counts.bad_steps >= plan.max_bad_steps).then(|| {
                let (loss, norm) = (report.loss, report.grad_norm);
                let times = counts.bad_steps;
                format!(
                    "the loss is {loss} and the gradient norm {norm}, {not_finite}, {times} steps in a row"
                )
            });
        }
        counts.bad_steps = 0;
        let (loss, factor) = (report.loss, plan.divergence_factor);
        let median = median(&self.losses).filter(|median| *median > 0.0 && loss > factor * median);
        let Some(median) = median else {
            counts.high_losses = 0;
            self.losses.push_back(loss);
            if self.losses.len() > WINDOW {
                self.losses.pop_front();
            }
            return None;
        };
        counts.high_losses += 1;
        (counts.high_losses >= plan.divergence_patience).then(|| {
            let times = counts.high_losses;
            format!(
                "the loss {loss:.4} is above {factor} x its median {median:.4}, {times} steps in a row"
            )
        })
    }
}

fn median(losses: &VecDeque<f64>) -> Option<f64> {
    let mut sorted: Vec<f64> = losses.iter().copied().collect();
    sorted.sort_by(f64::total_cmp);
    (sorted.len() >= FEWEST).then(|| sorted[sorted.len() / 2])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trainer::NotFinite;

    fn guard() -> Guard {
        Guard::new(GuardPlan {
            max_bad_steps: 2,
            divergence_factor: 3.0,
            divergence_patience: 3,
            max_rewinds: 1,
        })
    }

    /// Judges steps of these losses, NaN for one that was left out; returns the first complaint and its index.
    fn judge(guard: &mut Guard, losses: &[f64]) -> Option<(usize, String)> {
        let mut steps = losses.iter().enumerate();
        steps.find_map(|(index, loss)| {
            let report = StepReport {
                loss: *loss,
                metrics: Vec::new(),
                grad_norm: 1.0,
                lr: 1e-3,
                not_finite: (!loss.is_finite()).then_some(NotFinite::Loss),
            };
            Some((index, guard.judge(&report)?))
        })
    }

    #[test]
    fn only_bad_steps_in_a_row_count() {
        let bad = f64::NAN;
        let mut guard = guard();
        assert_eq!(judge(&mut guard, &[1.0, bad, 1.0, bad, 1.0]), None);
        assert!(guard.counts.is_calm());
        let (index, text) = judge(&mut guard, &[bad, bad]).unwrap();
        assert!(index == 1 && text.contains("NaN"), "{text}");
        assert!(!guard.counts.is_calm());
    }

    #[test]
    fn high_losses_in_a_row_are_divergence_and_do_not_move_the_median() {
        let calm = [2.0; 8];
        // Too few losses to judge by, then outliers that come alone.
        let mut guard = guard();
        assert_eq!(judge(&mut guard, &[1.0, 50.0, 50.0, 50.0]), None);
        let mut guard = self::guard();
        assert_eq!(judge(&mut guard, &calm), None);
        assert_eq!(judge(&mut guard, &[7.0, 7.0, 5.9, 7.0, 7.0]), None);
        let (index, text) = judge(&mut guard, &[6.5]).unwrap();
        assert!(
            index == 0 && text.contains("above 3 x its median 2.0000"),
            "{text}"
        );
        // A loss that falls below zero has no factor to be judged by.
        let mut guard = self::guard();
        assert_eq!(judge(&mut guard, &[-1.0; 9]), None);
        assert_eq!(judge(&mut guard, &[5.0; 9]), None);
    }
}
