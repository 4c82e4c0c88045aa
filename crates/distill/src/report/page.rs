//! The page: one HTML file that needs nothing else.
use minijinja::Environment;
use minijinja::value::Serde;
use serde::Serialize;

use super::heat::heat_map;
use super::students::{StudentLayers, students};
use super::{RunFacts, shape_checks};
use crate::ablation::{CheckResult, Verdict, check_line};
use crate::curves::{Metric, StageHistory, charts, student};
use crate::dashboard::{duration, stage_label};
use crate::recipe::PlanDifference;
use crate::sweep::{self, LEGEND, teacher_name};

/// What is drawn.
const METRICS: [Metric; 7] = [
    Metric::Loss,
    Metric::CrossEntropy,
    Metric::Kl,
    Metric::Margin,
    Metric::Accuracy,
    Metric::Lr,
    Metric::GradNorm,
];

#[derive(Serialize)]
struct Page<'a> {
    title: String,
    runs: Vec<RunPart<'a>>,
    legend: &'static str,
    differences: Vec<[String; 3]>,
    charts: Vec<(String, String)>,
    names: Vec<(String, String)>,
}

#[derive(Serialize)]
struct RunPart<'a> {
    label: String,
    folder: &'a str,
    facts: Vec<(&'static str, String)>,
    titles: Vec<(String, bool)>,
    rows: Vec<Vec<String>>,
    checks: Vec<Check>,
    layers: Vec<StudentLayers>,
    stages: Vec<StagePart>,
    samples: Vec<Said<'a>>,
    plan_stages: Vec<Vec<String>>,
    plan: String,
}

/// What everybody says to a prompt.
#[derive(Serialize)]
struct Said<'a> {
    prompt: &'a str,
    teacher: &'a str,
    /// Student and stage, and the reply.
    students: Vec<(String, &'a str)>,
}

#[derive(Serialize)]
struct Check {
    verdict: &'static str,
    claim: String,
    found: String,
}

/// What the closer looks at a stage found.
#[derive(Serialize)]
struct StagePart {
    name: String,
    parts: Vec<(&'static str, String, String)>,
    step_ms: String,
    share_of_peak: String,
    host_peak: String,
    heat: Option<String>,
}

/// The page of a run, beside that of another where one is given.
///
/// # Errors
/// When the charts cannot be drawn or the template fails, which would be a mistake of ours.
pub fn page(run: &RunFacts, other: Option<&RunFacts>) -> anyhow::Result<String> {
    let runs: Vec<&RunFacts> = [run].into_iter().chain(other).collect();
    let mut stages: Vec<StageHistory> = Vec::new();
    for (label, facts) in labels(&runs).into_iter().zip(&runs) {
        let of_run = facts.history.stages.iter().cloned();
        stages.extend(of_run.map(|stage| StageHistory {
            run: label.clone(),
            ..stage
        }));
    }
    let drawn = charts(&stages, &METRICS)?;
    let labels = labels(&runs);
    let page = Page {
        title: match other {
            None => run.manifest.plan.name.clone(),
            Some(other) => format!("{} and {}", run.folder, other.folder),
        },
        runs: labels
            .into_iter()
            .zip(&runs)
            .map(|(label, facts)| part(label, facts))
            .collect(),
        legend: LEGEND,
        differences: other.map_or_else(Vec::new, |other| {
            let found = run.manifest.plan.differences(&other.manifest.plan);
            found.into_iter().map(difference).collect()
        }),
        charts: drawn.svgs,
        names: drawn.names,
    };
    let mut environment = Environment::new();
    environment.add_template("report.html", include_str!("../../assets/report.html"))?;
    Ok(environment
        .get_template("report.html")?
        .render(Serde(page))?)
}

/// `A` and `B` for two runs, nothing for one.
fn labels(runs: &[&RunFacts]) -> Vec<String> {
    match runs.len() {
        1 => vec![String::new()],
        _ => vec!["A".into(), "B".into()],
    }
}

fn difference(difference: PlanDifference) -> [String; 3] {
    let PlanDifference { path, run, other } = difference;
    [path, run.to_string(), other.to_string()]
}

fn part(label: String, facts: &RunFacts) -> RunPart<'_> {
    let table = sweep::table(&facts.rows);
    let titles = table.titles().into_iter();
    let shown = table.shown();
    let rows = shown.iter();
    let stages = &facts.history.stages;
    RunPart {
        label,
        folder: &facts.folder,
        facts: summary(facts),
        titles: titles
            .map(|(title, is_number)| (title.to_string(), is_number))
            .collect(),
        rows: rows
            .map(|row| row.iter().map(|cell| (*cell).to_string()).collect())
            .collect(),
        checks: checks(facts),
        layers: students(facts),
        stages: stages
            .iter()
            .filter_map(|stage| stage_part(facts, stage))
            .collect(),
        samples: said(stages),
        plan_stages: facts.manifest.plan.stages().map(plan_stage).collect(),
        plan: serde_json::to_string_pretty(&facts.manifest.plan).unwrap_or_default(),
    }
}

/// Every prompt with its replies, in the order of the stages.
fn said(stages: &[StageHistory]) -> Vec<Said<'_>> {
    let mut all: Vec<Said> = Vec::new();
    for stage in stages {
        for sample in &stage.samples {
            let reply = (name(stage), sample.student.as_str());
            match all.iter_mut().find(|said| said.prompt == sample.prompt) {
                Some(said) => said.students.push(reply),
                None => all.push(Said {
                    prompt: &sample.prompt,
                    teacher: &sample.teacher,
                    students: vec![reply],
                }),
            }
        }
    }
    all
}

fn name(stage: &StageHistory) -> String {
    format!("{}, {}", student(stage), stage.kind.name())
}

fn plan_stage(stage: &crate::recipe::StagePlan) -> Vec<String> {
    vec![
        format!(
            "{} {}",
            stage.arm,
            stage_label(stage.attention_ratio, stage.kind)
        ),
        stage.steps.to_string(),
        format!("{} x {}", stage.batch_size, stage.grad_accumulation.max(1)),
        format!("{:.1e}", stage.lr_peak),
        stage.warmup_steps.to_string(),
        format!("{:?}", stage.trainable).to_lowercase(),
        stage.loss.ce_weight.to_string(),
        stage.loss.kl_weight.to_string(),
    ]
}

fn checks(facts: &RunFacts) -> Vec<Check> {
    let word = |verdict| match verdict {
        Verdict::Pass => "PASS",
        Verdict::Fail => "FAIL",
        Verdict::Open => "OPEN",
    };
    if let Some(comparison) = &facts.comparison {
        let check = |result: &CheckResult| Check {
            verdict: word(result.verdict),
            claim: result.check.claim.clone(),
            found: check_line(result),
        };
        return comparison.checks.iter().map(check).collect();
    }
    let of_gate = facts.gate.iter().flat_map(|gate| {
        gate.results.iter().map(|result| Check {
            verdict: word(match result.is_passed {
                true => Verdict::Pass,
                false => Verdict::Fail,
            }),
            claim: gate.claim(result),
            found: result.found(),
        })
    });
    let results = shape_checks(&facts.rows).into_iter();
    let of_shape = results.map(|result| Check {
        verdict: word(result.verdict),
        claim: result.claim,
        found: result.found,
    });
    of_gate.chain(of_shape).collect()
}

/// What stands above everything else.
pub(super) fn summary(facts: &RunFacts) -> Vec<(&'static str, String)> {
    let (manifest, history) = (&facts.manifest, &facts.history);
    let (done, all) = facts.state.count(&manifest.plan);
    let versions = &manifest.versions;
    let mut lines = vec![
        ("teacher", teacher_name(&manifest.plan.teacher)),
        (
            "status",
            format!("{}; {done} of {all} stages", facts.status()),
        ),
    ];
    if let Some((first, last)) = history.times_ms {
        let wall = duration(last - first);
        let processes = match history.processes {
            0 | 1 => String::new(),
            count => format!(", {count} processes"),
        };
        lines.push(("begun", format!("{} UTC", utc(first))));
        lines.push(("first to last event", format!("{wall}{processes}")));
    }
    let device = history
        .device
        .as_ref()
        .map_or(String::new(), |(name, peak)| {
            format!(", {name}, {:.0} GFLOP/s in matrix products", peak / 1e9)
        });
    lines.push(("backend", format!("{}{device}", versions.backend)));
    lines.push(("precision", manifest.plan.precision.name().into()));
    if let Some(environment) = &manifest.environment {
        let cpu = environment.cpu.as_deref().unwrap_or("CPU unknown");
        let memory = environment
            .memory_bytes
            .map_or(String::new(), |bytes| format!(", {} GiB", bytes >> 30));
        let threads = environment.threads;
        lines.push((
            "machine",
            format!("{}, {cpu}, {threads} threads{memory}", environment.system),
        ));
    }
    let commit = versions.git_commit.as_deref().unwrap_or("unknown");
    lines.push(("distill", format!("{}, commit {commit}", versions.distill)));
    lines.push(("plan", format!("sha256 {}", manifest.plan_sha256)));
    lines.push((
        "teacher's weights",
        format!("sha256 {}", manifest.teacher_sha256),
    ));
    let rewinds: usize = history.stages.iter().map(|stage| stage.rewinds).sum();
    let skipped: usize = history.stages.iter().map(|stage| stage.skipped).sum();
    if rewinds + skipped > 0 {
        lines.push((
            "trouble",
            format!("{skipped} steps left out, {rewinds} rewinds"),
        ));
    }
    if history.skipped_lines > 0 {
        lines.push((
            "log",
            format!(
                "{} lines are torn or of a newer version",
                history.skipped_lines
            ),
        ));
    }
    lines
}

fn stage_part(facts: &RunFacts, stage: &StageHistory) -> Option<StagePart> {
    let profiles = &stage.profiles;
    let count = profiles.len() as f64;
    let step_ms: f64 = profiles
        .iter()
        .map(|look| look.parts.total_ms())
        .sum::<f64>()
        / count;
    let first = profiles.first()?;
    let parts = first.parts.named().into_iter().enumerate();
    let parts = parts.map(|(index, (name, _))| {
        let sum: f64 = profiles
            .iter()
            .map(|look| look.parts.named()[index].1)
            .sum();
        let ms = sum / count;
        (
            name,
            format!("{ms:.1}"),
            format!("{:.0}", 100.0 * ms / step_ms),
        )
    });
    let looks: Vec<(usize, &[f64])> = profiles
        .iter()
        .map(|look| (look.step, look.layer_grad_norms.as_slice()))
        .collect();
    let speeds = stage
        .steps
        .values()
        .filter_map(|step| step.get(Metric::TokensPerS));
    let mut speeds: Vec<f64> = speeds.collect();
    speeds.sort_by(f64::total_cmp);
    let median = speeds.get(speeds.len() / 2);
    let peak = facts.history.device.as_ref().map(|(_, peak)| *peak);
    let flops = stage
        .student
        .as_ref()
        .map(|student| student.flops_per_token);
    let share = median
        .zip(peak)
        .zip(flops)
        .map(|((speed, peak), flops)| format!("{:.0} %", 100.0 * speed * flops / peak));
    let host = profiles
        .iter()
        .filter_map(|look| look.memory.host_peak_bytes)
        .max();
    Some(StagePart {
        name: name(stage),
        parts: parts.collect(),
        step_ms: format!("{step_ms:.1}"),
        share_of_peak: share.unwrap_or_else(|| "-".into()),
        host_peak: host.map_or("-".into(), |bytes| format!("{} MiB", bytes >> 20)),
        heat: heat_map(&looks),
    })
}

/// `2026-11-26 08:17`, of milliseconds since the Unix epoch (days to civil date as H. Hinnant has it).
pub(super) fn utc(ms: u64) -> String {
    let minutes = ms / 60_000;
    let (hour, minute) = (minutes / 60 % 24, minutes % 60);
    let days = (minutes / 1440) as i64 + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(utc(0), "1970-01-01 00:00");
        // Leap days, a century that has one, and the end of a year.
        assert_eq!(utc(951_782_399_000), "2000-02-28 23:59");
        assert_eq!(utc(951_782_400_000), "2000-02-29 00:00");
        assert_eq!(utc(1_709_210_096_000), "2024-02-29 12:34");
        assert_eq!(utc(1_767_225_599_000), "2025-12-31 23:59");
    }
}
