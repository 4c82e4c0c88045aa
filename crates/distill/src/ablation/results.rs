//! What the students of an ablation scored, and whether the paper's findings hold.
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::losses::{Losses, mean_of_last_tenth};
use crate::error::DistillError;
use crate::recipe::{
    AblationPlan, AblationRow, Metric, Operand, Plan, RungPlan, ShapeCheck, StageKind,
};
use crate::run::{RunFolder, RunState};

/// One student: a row of the table with one of its seeds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeedResult {
    /// The seed.
    pub seed: u64,
    /// Held-out perplexity over the teacher's.
    pub perplexity: f64,
    /// Exact match, mean over the tasks, 0 to 1.
    pub tasks: Option<f64>,
    /// Loss of the first step of stage 1.
    pub start_loss: Option<f64>,
    /// Mean loss of the last tenth of the steps of stage 1.
    pub end_loss: Option<f64>,
    /// Share of pairs ranked as they should be over the last tenth of DPO.
    pub preference_accuracy: Option<f64>,
    /// Reward margin over the same steps.
    pub preference_margin: Option<f64>,
}

impl SeedResult {
    /// A measure by name.
    pub fn metric(&self, metric: Metric) -> Option<f64> {
        match metric {
            Metric::Perplexity => Some(self.perplexity),
            Metric::Tasks => self.tasks,
            Metric::StartLoss => self.start_loss,
            Metric::EndLoss => self.end_loss,
            Metric::PreferenceAccuracy => self.preference_accuracy,
            Metric::PreferenceMargin => self.preference_margin,
        }
    }
}

/// One row of the table: what is finished of its seeds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RowResult {
    /// The arm.
    pub arm: String,
    /// Share of layers that keep attention, as asked for.
    pub attention_ratio: f64,
    /// The paper's numbers.
    pub paper: Option<String>,
    /// One for each finished seed.
    pub seeds: Vec<SeedResult>,
}

/// Mean and spread over seeds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// Mean.
    pub mean: f64,
    /// Standard deviation of the sample; `None` for one seed.
    pub spread: Option<f64>,
}

impl RowResult {
    /// Mean and spread of a measure over the seeds that have it.
    pub fn summary(&self, metric: Metric) -> Option<Summary> {
        let values: Vec<f64> = self
            .seeds
            .iter()
            .filter_map(|seed| seed.metric(metric))
            .collect();
        let count = values.len() as f64;
        if values.is_empty() {
            return None;
        }
        let mean = values.iter().sum::<f64>() / count;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        Some(Summary {
            mean,
            spread: (values.len() > 1).then(|| (squares / (count - 1.0)).sqrt()),
        })
    }
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Both sides are measured and as the paper has them.
    Pass,
    /// Both sides are measured and are not.
    Fail,
    /// A side is not measured yet.
    Open,
}

/// A check with what was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckResult {
    /// The check.
    pub check: ShapeCheck,
    /// Mean of the side that should be smaller, before its factor.
    pub less: Option<f64>,
    /// Mean of the side that should be larger.
    pub than: Option<f64>,
    /// How it ended.
    pub verdict: Verdict,
}

/// An ablation as far as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// What was asked.
    pub ablation: AblationPlan,
    /// Perplexity of the teacher, if it is measured.
    pub teacher_perplexity: Option<f64>,
    /// The table.
    pub rows: Vec<RowResult>,
    /// What the paper found.
    pub checks: Vec<CheckResult>,
}

/// Gathers what a run folder holds of an ablation; `None` for a plan that is none.
///
/// # Errors
/// If state or logs of the run cannot be read.
pub fn compare(plan: &Plan, run: &Path) -> Result<Option<Comparison>, DistillError> {
    let Some(ablation) = &plan.ablation else {
        return Ok(None);
    };
    let state = RunFolder::state_of(run)?;
    let losses = Losses::read(run)?;
    Ok(Some(comparison(plan, ablation, &state, &losses)))
}

fn comparison(
    plan: &Plan,
    ablation: &AblationPlan,
    state: &RunState,
    losses: &Losses,
) -> Comparison {
    let row = |row: &AblationRow| RowResult {
        arm: row.arm.clone(),
        attention_ratio: row.attention_ratio,
        paper: row.paper.clone(),
        seeds: ablation
            .seeds
            .iter()
            .filter_map(|seed| seed_result(plan, row, *seed, state, losses))
            .collect(),
    };
    let rows: Vec<RowResult> = ablation.rows.iter().map(row).collect();
    let names: Vec<String> = ablation.rows.iter().map(AblationRow::name).collect();
    let checks = ablation.checks.iter().map(|check| {
        let side = |operand: &Operand| match operand {
            Operand::Value(value) => Some(*value),
            Operand::Row(name) => {
                let index = names.iter().position(|known| known == name)?;
                // Of all seeds: a mean over fewer could be that of the lucky ones.
                let row = rows.get(index)?;
                let is_whole = row.seeds.len() == ablation.seeds.len();
                row.summary(check.metric)
                    .filter(|_| is_whole)
                    .map(|found| found.mean)
            }
        };
        let (less, than) = (side(&check.less), side(&check.than));
        let verdict = match less.zip(than) {
            None => Verdict::Open,
            Some((less, than)) if check.factor * less < than => Verdict::Pass,
            Some(_) => Verdict::Fail,
        };
        CheckResult {
            check: check.clone(),
            less,
            than,
            verdict,
        }
    });
    Comparison {
        ablation: ablation.clone(),
        teacher_perplexity: state.teacher.as_ref().map(|scores| scores.perplexity),
        checks: checks.collect(),
        rows,
    }
}

/// One student, if all its stages are finished.
fn seed_result(
    plan: &Plan,
    row: &AblationRow,
    seed: u64,
    state: &RunState,
    losses: &Losses,
) -> Option<SeedResult> {
    let name = AblationPlan::arm_name(&row.arm, seed);
    let arm = plan.arms.iter().find(|arm| arm.name == name)?;
    let ratio = row.attention_ratio;
    let is_of_row = |rung: &&RungPlan| rung.attention_ratio == ratio;
    let last = arm.rungs.iter().find(is_of_row)?.stages.last()?;
    let scores = &state.find(&name, ratio, last.kind)?.scores;
    let teacher = state.teacher.as_ref()?.perplexity;
    let count = scores.tasks.len() as f64;
    let total: f64 = scores.tasks.iter().map(|(_, share)| share).sum();
    let distillation = losses.of(&name, ratio, StageKind::Distillation);
    let dpo = losses.of(&name, ratio, StageKind::Dpo);
    Some(SeedResult {
        seed,
        perplexity: scores.perplexity / teacher,
        tasks: (!scores.tasks.is_empty()).then(|| total / count),
        start_loss: distillation
            .and_then(|steps| steps.get(&1))
            .map(|step| step.loss),
        end_loss: distillation.and_then(|steps| mean_of_last_tenth(steps, |step| Some(step.loss))),
        preference_accuracy: dpo.and_then(|steps| mean_of_last_tenth(steps, |step| step.accuracy)),
        preference_margin: dpo.and_then(|steps| mean_of_last_tenth(steps, |step| step.margin)),
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Two arms and two seeds, with a check that holds, one that does not and one that is open.
    pub(in crate::ablation) fn example() -> Comparison {
        let check = |claim: &str, less: &str, than: Operand, factor: f64| ShapeCheck {
            claim: claim.into(),
            metric: Metric::Perplexity,
            less: Operand::Row(less.into()),
            than,
            factor,
        };
        let row = |arm: &str, ratio: f64, paper: Option<&str>| AblationRow {
            arm: arm.into(),
            attention_ratio: ratio,
            paper: paper.map(Into::into),
        };
        let ablation = AblationPlan {
            command: "ablate example".into(),
            question: "Does it matter?".into(),
            paper: "Table 0".into(),
            seeds: vec![42, 43],
            budget_sequences: 96,
            rows: vec![
                row("with", 0.5, Some("2.09")),
                row("without", 0.5, None),
                row("late", 0.0, None),
            ],
            checks: vec![
                check(
                    "with is better",
                    "with@50",
                    Operand::Row("without@50".into()),
                    1.0,
                ),
                check(
                    "twice as good",
                    "with@50",
                    Operand::Row("without@50".into()),
                    2.0,
                ),
                check("close to the teacher", "with@50", Operand::Value(1.1), 1.0),
                check("late is bounded", "late@0", Operand::Value(9.0), 1.0),
            ],
        };
        let text = crate::recipe::default_ablation_recipe();
        let recipe = crate::recipe::Recipe::parse(text, "test", &[]).unwrap();
        let mut plan = Plan::resolve(&recipe, "test").unwrap();
        let chain = plan.arms[0].clone();
        plan.arms.clear();
        let mut state = RunState::default();
        let scores = |perplexity: f64| crate::run::Scores {
            perplexity,
            tasks: vec![("copy".into(), 0.25), ("recall".into(), 0.75)],
            tokens_per_s: None,
            state_bytes: 1,
            attn_layers: 1,
        };
        state.teacher = Some(scores(2.0));
        let found = [
            ("with", 0.5, [3.0, 3.4]),
            ("without", 0.5, [4.0, 4.8]),
            ("late", 0.0, [8.0, 8.0]),
        ];
        for (arm, ratio, perplexities) in found {
            for (seed, perplexity) in [42, 43].into_iter().zip(perplexities) {
                let mut rung = chain.rungs[0].clone();
                rung.attention_ratio = ratio;
                rung.stages.truncate(1);
                let kind = rung.stages[0].kind;
                let name = AblationPlan::arm_name(arm, seed);
                plan.arms.push(crate::recipe::ArmPlan {
                    name: name.clone(),
                    rungs: vec![rung],
                    ..chain.clone()
                });
                if (arm, seed) != ("late", 43) {
                    state.finished.push(crate::run::FinishedStage {
                        arm: name,
                        attention_ratio: ratio,
                        stage: kind,
                        checkpoint: String::new(),
                        sha256: String::new(),
                        scores: scores(perplexity),
                    });
                }
            }
        }
        comparison(&plan, &ablation, &state, &Losses::default())
    }

    #[test]
    fn checks_pass_fail_and_stay_open() {
        let comparison = example();
        let verdicts: Vec<Verdict> = comparison
            .checks
            .iter()
            .map(|check| check.verdict)
            .collect();
        assert_eq!(
            verdicts,
            [Verdict::Pass, Verdict::Fail, Verdict::Fail, Verdict::Open]
        );
        assert_eq!(comparison.checks[0].less, Some(1.6));
        assert!((comparison.checks[0].than.unwrap() - 2.2).abs() < 1e-12);
        assert_eq!(comparison.checks[3].less, None);
    }

    #[test]
    fn mean_and_spread_are_over_seeds() {
        let rows = example().rows;
        let with = rows[0].summary(Metric::Perplexity).unwrap();
        assert!((with.mean - 1.6).abs() < 1e-12);
        // Values 1.5 and 1.7.
        assert!((with.spread.unwrap() - 0.02_f64.sqrt()).abs() < 1e-12);
        assert_eq!(rows[2].summary(Metric::Perplexity).unwrap().spread, None);
        assert_eq!(rows[0].summary(Metric::Tasks).unwrap().mean, 0.5);
        assert_eq!(rows[0].summary(Metric::EndLoss), None);
    }
}
