//! Whether the students of a run are near enough to their teacher: a bar for perplexity, by paired bootstraps.
use std::path::Path;

use eval::fidelity::{Agreement, perplexity_ratio};
use eval::statistics::Interval;
use serde::{Deserialize, Serialize};

use super::Subject;
use crate::error::DistillError;
use crate::run::{RunFolder, RunState};

/// What the last checkpoint of each ratio of the main arm came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gate {
    /// Most times the teacher's perplexity.
    pub bar: f64,
    /// In the order of the ratios.
    pub results: Vec<GateResult>,
}

/// One ratio beside the bar.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateResult {
    /// What the student is called.
    pub label: String,
    /// Hash of its weights.
    pub sha256: String,
    /// Perplexity over the teacher's on the held-out replies; none where nothing was scored.
    pub perplexity_ratio: Option<Interval>,
    /// Whether the upper end of the interval is at most the bar.
    pub is_passed: bool,
}

impl Gate {
    /// File name in the run folder.
    pub const FILE: &'static str = "gate.json";

    /// Holds the results of a run, each with what it and the teacher make of the same held-out replies, against `bar`.
    pub fn of<'a>(
        results: impl IntoIterator<Item = (&'a Subject, &'a [Agreement])>,
        bar: f64,
    ) -> Self {
        let result = |(subject, held_out): (&Subject, &[Agreement])| {
            let found = perplexity_ratio(held_out);
            GateResult {
                label: subject.label(),
                sha256: subject.sha256.clone(),
                perplexity_ratio: found,
                is_passed: found.is_some_and(|ratio| ratio.high <= bar),
            }
        };
        let results = results
            .into_iter()
            .filter(|(subject, _)| subject.is_result());
        Self {
            bar,
            results: results.map(result).collect(),
        }
    }

    /// The gate of a run, if it was held against one and its checkpoints are still those that were measured.
    ///
    /// # Errors
    /// [`DistillError::Io`] or [`DistillError::Malformed`].
    pub fn read(run_dir: &Path, state: &RunState) -> Result<Option<Self>, DistillError> {
        let gate: Option<Self> = RunFolder::read_sealed_of(run_dir, Self::FILE)?;
        let is_known = |result: &GateResult| {
            state
                .finished
                .iter()
                .any(|done| done.sha256 == result.sha256)
        };
        Ok(gate.filter(|gate| gate.results.iter().all(is_known)))
    }

    /// Ratios that are beyond the bar.
    pub fn failed(&self) -> usize {
        self.results
            .iter()
            .filter(|result| !result.is_passed)
            .count()
    }

    /// Nothing, if no ratio is beyond the bar.
    ///
    /// # Errors
    /// [`DistillError::Gate`].
    pub fn check(&self) -> Result<(), DistillError> {
        match self.failed() {
            0 => Ok(()),
            failed => Err(DistillError::Gate {
                failed,
                bar: self.bar,
            }),
        }
    }

    /// A line a ratio.
    pub fn lines(&self) -> Vec<String> {
        let line = |result: &GateResult| {
            let verdict = if result.is_passed { "PASS" } else { "FAIL" };
            format!("{verdict}: {}: {}", self.claim(result), result.found())
        };
        self.results.iter().map(line).collect()
    }

    /// What is asked of a ratio.
    pub fn claim(&self, result: &GateResult) -> String {
        format!(
            "{} has at most {} times the teacher's perplexity",
            result.label, self.bar
        )
    }
}

impl GateResult {
    /// What was measured of it.
    pub fn found(&self) -> String {
        self.perplexity_ratio
            .map_or("nothing was scored".into(), |ratio| {
                let Interval { value, low, high } = ratio;
                format!("{value:.3}, 95 % {low:.3} to {high:.3}")
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::{ArmPlan, StageKind};

    fn subject(arm: &str, is_last: bool) -> Subject {
        Subject {
            arm: arm.into(),
            attention_ratio: 0.5,
            attn_layers: 2,
            stage: Some(StageKind::Sft),
            is_last,
            sha256: "ab".into(),
            folder: None,
        }
    }

    /// Texts of ten tokens each, of which the student is `excess` nats a token less sure than the teacher.
    fn texts(excess: &[f64]) -> Vec<Agreement> {
        let text = |excess: &f64| Agreement {
            tokens: 10,
            teacher_nll: 20.0,
            student_nll: 20.0 + 10.0 * excess,
            ..Agreement::default()
        };
        excess.iter().map(text).collect()
    }

    #[test]
    fn the_upper_end_of_the_interval_decides() {
        let sure = texts(&[0.1; 20]);
        let mixed: Vec<f64> = (0..20)
            .map(|index| if index % 2 == 0 { -0.4 } else { 0.6 })
            .collect();
        let unsure = texts(&mixed);
        let chain = subject(ArmPlan::CHAIN, true);
        let bar = 0.15_f64.exp();
        // Both have exp(0.1) times the teacher's perplexity, one of them for certain.
        let gate = Gate::of(
            [
                (&chain, &sure[..]),
                (&chain, &unsure[..]),
                (&chain, &[][..]),
            ],
            bar,
        );
        let passed: Vec<bool> = gate.results.iter().map(|result| result.is_passed).collect();
        assert_eq!((passed, gate.failed()), (vec![true, false, false], 2));
        for result in &gate.results[..2] {
            assert!((result.perplexity_ratio.unwrap().value - 0.1_f64.exp()).abs() < 1e-9);
        }
        assert!(
            gate.check()
                .unwrap_err()
                .to_string()
                .starts_with("2 of the ratios")
        );
        assert!(
            gate.lines()[2].ends_with("nothing was scored"),
            "{:?}",
            gate.lines()
        );
        // Controls and earlier stages are not what a run is judged by.
        let others = [
            subject("control-random-mixer", true),
            subject(ArmPlan::CHAIN, false),
        ];
        let gate = Gate::of(others.iter().map(|subject| (subject, &unsure[..])), bar);
        assert!(gate.results.is_empty() && gate.check().is_ok());
    }
}
