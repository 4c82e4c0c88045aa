//! What was measured of the models of a run, side by side.
use eval::fidelity::{Agreement, perplexity_ratio};
use eval::generative::GenerativeScore;
use eval::report::{Cell, Table};
use eval::statistics::{Estimate, Interval, bootstrap_ratio};
use eval::synthetic::{DistanceScore, TaskKind};
use eval::zero_shot::{MetricValue, TaskScore};
use serde::Serialize;

use super::{Measured, Subject};

/// How near two models are on some text.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Nearness {
    /// Texts.
    pub count: usize,
    /// Tokens scored.
    pub tokens: usize,
    /// `KL(teacher || student)` a token, nats.
    pub kl: Option<Interval>,
    /// Share of tokens whose likeliest candidate is the same.
    pub top1: f64,
    /// Perplexity over the teacher's.
    pub perplexity_ratio: Option<Interval>,
}

impl Nearness {
    fn of(texts: &[Agreement]) -> Self {
        let total: Agreement = texts.iter().copied().sum();
        let of = |value: fn(&Agreement) -> f64| texts.iter().map(value).collect::<Vec<_>>();
        Self {
            count: texts.len(),
            tokens: total.tokens,
            kl: bootstrap_ratio(&of(|text| text.kl), &of(|text| text.tokens as f64)),
            top1: total.top1(),
            perplexity_ratio: perplexity_ratio(texts),
        }
    }
}

/// What a student writes, beside what its teacher writes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Writing {
    /// Both models on the student's replies.
    pub nearness: Nearness,
    /// Leading tokens of a reply that are the teacher's.
    pub matched_tokens: Estimate,
    /// The same over the tokens of the teacher's reply.
    pub matched_share: Estimate,
    /// Share of replies of which the teacher finds a token likelier than one of the reference.
    pub win: Estimate,
    /// Share of a reply's runs of four tokens that were in it before.
    pub repeated: Estimate,
    /// Tokens of a reply.
    pub length: Estimate,
}

/// A benchmark without its single questions.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TaskSummary {
    /// Name.
    pub task: String,
    /// Version of its definition.
    pub version: String,
    /// Examples before each question.
    pub n_shot: usize,
    /// Questions.
    pub count: usize,
    /// Questions that lost their start.
    pub truncated: usize,
    /// Questions with two likeliest choices.
    pub tied: usize,
    /// Hash of everything that was asked.
    pub prompt_sha256: String,
    /// What came of it.
    pub metrics: Vec<MetricValue>,
}

impl From<&TaskScore> for TaskSummary {
    fn from(score: &TaskScore) -> Self {
        Self {
            task: score.task.clone(),
            version: score.version.clone(),
            n_shot: score.n_shot,
            count: score.count,
            truncated: score.truncated,
            tied: score.tied,
            prompt_sha256: score.prompt_sha256.clone(),
            metrics: score.metrics.clone(),
        }
    }
}

/// A benchmark of replies without the replies.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GenerativeSummary {
    /// Name.
    pub task: String,
    /// Version of its prompt and grade.
    pub version: String,
    /// Questions.
    pub count: usize,
    /// Questions that lost their start.
    pub truncated: usize,
    /// Replies that were cut.
    pub unended: usize,
    /// Replies without anything to grade.
    pub unanswered: usize,
    /// Hash of everything that was asked.
    pub prompt_sha256: String,
    /// Mean of what was graded.
    pub score: Estimate,
}

impl From<&GenerativeScore> for GenerativeSummary {
    fn from(score: &GenerativeScore) -> Self {
        Self {
            task: score.task.clone(),
            version: score.version.clone(),
            count: score.count,
            truncated: score.truncated,
            unended: score.unended,
            unanswered: score.unanswered,
            prompt_sha256: score.prompt_sha256.clone(),
            score: score.score,
        }
    }
}

/// One model of the report.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Which.
    #[serde(flatten)]
    pub subject: Subject,
    /// On held-out replies.
    pub held_out: Nearness,
    /// On its own replies.
    pub own_text: Writing,
    /// Recall and look-up by distance.
    pub distances: Vec<DistanceScore>,
    /// Benchmarks.
    pub tasks: Vec<TaskSummary>,
    /// Benchmarks of replies.
    pub generative: Vec<GenerativeSummary>,
}

/// What there is to say of each model.
pub fn summaries(measured: &[(Subject, Measured)]) -> Vec<Summary> {
    let summary = |(subject, measured): &(Subject, Measured)| {
        let judged = &measured.own_text;
        let of = |value: &dyn Fn(usize) -> f64| {
            Estimate::of(&(0..judged.len()).map(value).collect::<Vec<_>>())
        };
        let texts: Vec<Agreement> = judged.iter().map(|reply| reply.agreement).collect();
        Summary {
            subject: subject.clone(),
            held_out: Nearness::of(&measured.held_out),
            own_text: Writing {
                nearness: Nearness::of(&texts),
                matched_tokens: of(&|index| judged[index].matched as f64),
                matched_share: of(&|index| {
                    let reply = &judged[index];
                    match (reply.teacher_tokens, reply.student_tokens) {
                        (0, 0) => 1.0,
                        (teacher, _) => reply.matched as f64 / teacher.max(1) as f64,
                    }
                }),
                win: of(&|index| judged[index].win),
                repeated: of(&|index| judged[index].repeated),
                length: of(&|index| judged[index].student_tokens as f64),
            },
            distances: measured.distances.clone(),
            tasks: measured.tasks.iter().map(TaskSummary::from).collect(),
            generative: measured
                .generative
                .iter()
                .map(GenerativeSummary::from)
                .collect(),
        }
    };
    measured.iter().map(summary).collect()
}

/// What the columns mean.
const LEGEND: &str = "\
KL, top-1, ppl: KL(teacher || student) in nats a token, tokens with the same likeliest candidate, and perplexity over the teacher's with its
95 % interval (paired bootstrap), on held-out replies. Own text: the student's greedy replies to held-out prompts; their KL; leading tokens
that are the teacher's, as share of its reply; win: replies of which the teacher finds a token likelier than one of the held-out reply;
loops: runs of four tokens said before. Recall and look-up over all distances: ll by likelihood against one wrong answer (chance 50 %), gen by what is written.";

/// All models, one a row.
fn table(rows: &[Summary]) -> Table {
    let mut table = Table::new()
        .text_column("attention", "attention")
        .text_column("stage", "stage")
        .number_column("attn_layers", "layers")
        .number_column("kl", "KL")
        .number_column("top1", "top-1")
        .number_column("perplexity_ratio", "ppl")
        .text_column("interval", "95 %")
        .number_column("own_kl", "own KL")
        .number_column("matched_share", "match")
        .number_column("win", "win")
        .number_column("repeated", "loops")
        .number_column("recall_choice", "recall ll")
        .number_column("recall_generated", "gen")
        .number_column("lookup_choice", "look-up ll")
        .number_column("lookup_generated", "gen");
    for task in rows.first().into_iter().flat_map(|row| &row.tasks) {
        if let Some(value) = task.metrics.first() {
            table = table.number_column("task", format!("{} {}", task.task, value.metric.name()));
        }
    }
    for task in rows.first().into_iter().flat_map(|row| &row.generative) {
        table = table.number_column("task", format!("{} gen", task.task));
    }
    for row in rows {
        let subject = &row.subject;
        let value = |interval: Option<Interval>| {
            interval.map_or_else(Cell::missing, |interval| Cell::number(interval.value, 3))
        };
        let interval = row
            .held_out
            .perplexity_ratio
            .map(|interval| Cell::text(format!("{:.3} to {:.3}", interval.low, interval.high)));
        let mut cells = vec![
            Cell::text(subject.label()),
            Cell::text(subject.stage_name()),
            Cell::count(subject.attn_layers),
            value(row.held_out.kl),
            Cell::percent(row.held_out.top1),
            value(row.held_out.perplexity_ratio),
            Cell::from(interval),
            value(row.own_text.nearness.kl),
            Cell::percent(row.own_text.matched_share.mean),
            Cell::percent(row.own_text.win.mean),
            Cell::percent(row.own_text.repeated.mean),
        ];
        for kind in [TaskKind::Recall, TaskKind::Lookup] {
            let of_kind = || row.distances.iter().filter(|score| score.kind == kind);
            let share = |right: usize, count: usize| match count {
                0 => Cell::missing(),
                _ => Cell::percent(right as f64 / count as f64),
            };
            let count = of_kind().map(|score| score.choice.count).sum();
            cells.push(share(
                of_kind().map(|score| score.choice.correct).sum(),
                count,
            ));
            cells.push(share(
                of_kind().map(|score| score.generated.correct).sum(),
                count,
            ));
        }
        cells.extend(row.tasks.iter().map(|task| {
            let value = task.metrics.first();
            value.map_or_else(Cell::missing, |value| metric_cell(*value))
        }));
        cells.extend(row.generative.iter().map(|task| match task.score.count {
            0 => Cell::missing(),
            _ => Cell::percent(task.score.mean),
        }));
        table.push(cells);
    }
    table
}

/// A share in percent, a perplexity as it is.
pub(crate) fn metric_cell(value: MetricValue) -> Cell {
    match value.metric {
        eval::zero_shot::Metric::Perplexity => Cell::number(value.value, 2),
        _ => Cell::percent(value.value),
    }
}

/// The teacher and the last checkpoint of each ratio, recall and look-up at each distance: by likelihood / written.
fn distance_table(rows: &[Summary]) -> Table {
    let mut table = Table::new()
        .text_column("attention", "attention")
        .text_column("task", "task");
    let distances = rows.first().into_iter().flat_map(|row| &row.distances);
    for score in distances.filter(|score| score.kind == TaskKind::Recall) {
        table = table.number_column("distance", format!("{} tokens", score.distance));
    }
    for row in rows
        .iter()
        .filter(|row| row.subject.stage.is_none() || row.subject.is_result())
    {
        for kind in [TaskKind::Recall, TaskKind::Lookup] {
            let mut cells = vec![Cell::text(row.subject.label()), Cell::text(kind.name())];
            for score in row.distances.iter().filter(|score| score.kind == kind) {
                let percent = |share: f64| format!("{:.0}", 100.0 * share);
                cells.push(match score.choice.count {
                    0 => Cell::missing(),
                    _ => Cell::text(format!(
                        "{} / {} %",
                        percent(score.choice.share()),
                        percent(score.generated.share())
                    )),
                });
            }
            table.push(cells);
        }
    }
    table
}

/// What the run shows, by paired bootstraps over held-out replies: whether each ratio is farther from the teacher than the
/// one before it.
fn verdicts(measured: &[(Subject, Measured)]) -> Vec<String> {
    let results: Vec<&(Subject, Measured)> = measured
        .iter()
        .filter(|(subject, _)| subject.is_result())
        .collect();
    let mut lines = Vec::new();
    for pair in results.windows(2) {
        let [(more, near), (less, far)] = pair else {
            continue;
        };
        let differences: Vec<f64> = far
            .held_out
            .iter()
            .zip(&near.held_out)
            .map(|(far, near)| far.kl - near.kl)
            .collect();
        let tokens: Vec<f64> = near
            .held_out
            .iter()
            .map(|text| text.tokens as f64)
            .collect();
        let Some(Interval { value, low, high }) = bootstrap_ratio(&differences, &tokens) else {
            continue;
        };
        let verdict = match (low > 0.0, high < 0.0) {
            (true, _) => "farther from the teacher than",
            (_, true) => "nearer to the teacher than",
            _ => "not told apart from",
        };
        lines.push(format!(
            "{} is {verdict} {}: KL {value:+.4} a token, 95 % {low:+.4} to {high:+.4}",
            less.label(),
            more.label()
        ));
    }
    lines
}

/// The report as text for a terminal.
pub fn text_report(measured: &[(Subject, Measured)]) -> String {
    let rows = summaries(measured);
    let mut text = format!(
        "{}\n{LEGEND}\n\n{}",
        table(&rows).to_text(),
        distance_table(&rows).to_text()
    );
    for line in verdicts(measured) {
        text.push_str(&format!("\n{line}"));
    }
    text.push('\n');
    text
}

/// The report as a Markdown page.
pub fn markdown_report(name: &str, measured: &[(Subject, Measured)]) -> String {
    let rows = summaries(measured);
    let mut page = format!("# {name}\n\n{}\n{LEGEND}\n\n", table(&rows).to_markdown());
    page += &format!(
        "{}\nBy likelihood / written.\n",
        distance_table(&rows).to_markdown()
    );
    for line in verdicts(measured) {
        page.push_str(&format!("\n- {line}"));
    }
    page.push('\n');
    page
}

/// The report as JSON: every summary, and what the run shows.
pub fn json_report(measured: &[(Subject, Measured)]) -> serde_json::Value {
    serde_json::json!({ "models": summaries(measured), "verdicts": verdicts(measured) })
}
