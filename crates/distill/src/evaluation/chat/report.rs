//! What a judge made of a model's answers, as a table and as JSON.
use eval::judge::length_controlled::{Comparison, LengthControlled, length_controlled};
use eval::judge::score::{ChatScore, Group, Judged, Outcomes, score};
use eval::judge::{ChatAnswer, Said};
use eval::report::{Cell, Table};
use eval::statistics::Estimate;
use serde::{Deserialize, Serialize};

use super::{Answered, Judge, Questions};

/// How answers are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Each for itself, from 1 to 10.
    Rating,
    /// Beside a baseline's, in both orders.
    Pairwise,
}

impl Mode {
    /// Name of the report's file without its extension.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rating => "rating",
            Self::Pairwise => "pairwise",
        }
    }
}

/// Who judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JudgeName {
    /// Model of the endpoint, or the local model.
    pub name: String,
    /// Whether it is a local stand-in, whose numbers are compared with no one else's.
    pub is_proxy: bool,
}

impl JudgeName {
    /// Of a judge.
    pub fn of(judge: &dyn Judge) -> Self {
        Self {
            name: judge.name().into(),
            is_proxy: judge.is_proxy(),
        }
    }

    /// How tables call it.
    pub fn shown(&self) -> String {
        match self.is_proxy {
            true => format!("{} (proxy)", self.name),
            false => self.name.clone(),
        }
    }
}

/// What came of one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChatReport {
    /// What was asked, by name; of our own questions it says that they are not the published ones.
    pub benchmark: String,
    /// Whether the questions are our own.
    pub is_builtin: bool,
    /// Hash of all questions.
    pub questions_sha256: String,
    /// Hash of the prompts that judges get.
    pub prompt_sha256: String,
    /// Who judged.
    pub judge: JudgeName,
    /// How.
    pub mode: Mode,
    /// Whose answers.
    pub model: String,
    /// With whose they were compared.
    pub baseline: Option<String>,
    /// Ratings from 1 to 10, or shares of wins with a tie as half of one.
    pub score: ChatScore,
    /// Wins, ties and losses against the baseline.
    pub outcomes: Option<Outcomes>,
    /// Share of wins at equal length, of benchmarks with one turn.
    pub length_controlled: Option<LengthControlled>,
    /// Questions answered.
    pub questions: usize,
    /// Turns of the model whose prompt lost its start.
    pub truncated: usize,
    /// Turns of the model that were cut at the most tokens of a reply.
    pub unended: usize,
    /// Characters of an answer.
    pub characters: Estimate,
    /// Requests to the judge that lost their start.
    pub cut_requests: usize,
}

/// Answers of one model with what the judge said of them.
pub struct Verdicts<'a> {
    /// What was asked.
    pub questions: &'a Questions,
    /// The answers, in the order of the questions.
    pub answered: &'a [Answered],
    /// Those that they were compared with.
    pub baseline: Option<&'a [ChatAnswer]>,
    /// What the judge said, a reply a request.
    pub said: &'a [Said],
    /// What it is worth, a value a request.
    pub values: &'a [Option<f64>],
    /// The same by turn.
    pub judged: &'a [Judged],
}

impl Verdicts<'_> {
    /// The comparisons of benchmarks with one turn; a difficulty of a question that has none of its own is that in `difficulties`.
    pub fn comparisons(&self, difficulties: Option<&[f64]>) -> Vec<Comparison> {
        let Some(baseline) = self.baseline else {
            return Vec::new();
        };
        let characters = |answer: &ChatAnswer| answer.turns[0].chars().count() as f64;
        let comparison = |one: &Judged| {
            let index = one.question;
            Some(Comparison {
                question: index,
                preference: one.value?,
                longer: characters(&self.answered[index].answer) - characters(&baseline[index]),
                difficulty: self.questions.items[index]
                    .difficulty
                    .or_else(|| difficulties.map(|known| known[index])),
            })
        };
        self.judged.iter().filter_map(comparison).collect()
    }

    /// What came of it, with the parts of `named` that only the caller knows.
    pub fn report(&self, named: Named, difficulties: Option<&[f64]>) -> ChatReport {
        let has_one_turn = self
            .questions
            .items
            .iter()
            .all(|question| question.turns.len() == 1);
        let characters: Vec<f64> = self
            .answered
            .iter()
            .flat_map(|one| &one.answer.turns)
            .map(|turn| turn.chars().count() as f64)
            .collect();
        let of_answers = |count: fn(&Answered) -> usize| self.answered.iter().map(count).sum();
        ChatReport {
            benchmark: self.questions.name.clone(),
            is_builtin: self.questions.is_builtin,
            questions_sha256: self.questions.sha256.clone(),
            prompt_sha256: named.prompt_sha256,
            judge: named.judge,
            mode: named.mode,
            model: named.model,
            baseline: self
                .baseline
                .and_then(|all| Some(all.first()?.model.clone())),
            score: score(&self.questions.items, self.judged, self.values),
            outcomes: self.baseline.map(|_| Outcomes::of(self.judged)),
            length_controlled: match has_one_turn {
                true => length_controlled(&self.comparisons(difficulties)),
                false => None,
            },
            questions: self.questions.items.len(),
            truncated: of_answers(|one| one.truncated),
            unended: of_answers(|one| one.unended),
            characters: Estimate::of(&characters),
            cut_requests: self.said.iter().filter(|said| said.is_cut).count(),
        }
    }
}

/// What a report calls things.
#[derive(Debug, Clone)]
pub struct Named {
    /// Hash of the prompts that judges get.
    pub prompt_sha256: String,
    /// Who judged.
    pub judge: JudgeName,
    /// How.
    pub mode: Mode,
    /// Whose answers.
    pub model: String,
}

/// One row a model, and one a model and category.
fn tables(reports: &[ChatReport]) -> [Table; 2] {
    let is_rating = reports.iter().all(|report| report.mode == Mode::Rating);
    let mut table = Table::new()
        .text_column("model", "model")
        .text_column("judge", "judge");
    table = match is_rating {
        true => table
            .number_column("turn_1", "turn 1")
            .number_column("turn_2", "turn 2")
            .number_column("mean", "mean"),
        false => table
            .number_column("win", "win")
            .number_column("standard_error", "+/-")
            .number_column("wins", "wins")
            .number_column("ties", "ties")
            .number_column("losses", "losses")
            .number_column("length_controlled", "LC win"),
    };
    table = table
        .number_column("standard_error", "+/-")
        .number_column("count", "scored")
        .number_column("unscored", "unscored")
        .number_column("unparsable", "unparsable")
        .number_column("unended", "cut")
        .number_column("truncated", "truncated")
        .number_column("characters", "characters")
        .text_column("prompt_sha256", "prompts");
    let mut categories = Table::new().text_column("model", "model");
    for group in reports
        .first()
        .into_iter()
        .flat_map(|report| &report.score.categories)
    {
        categories = categories.number_column("score", group.name.as_str());
    }
    for report in reports {
        let score = &report.score;
        let rated = |value: f64| {
            if is_rating {
                Cell::number(value, 2)
            } else {
                Cell::percent(value)
            }
        };
        let of = |estimate: &Estimate| {
            if estimate.count == 0 {
                Cell::missing()
            } else {
                rated(estimate.mean)
            }
        };
        let turn = |turn: usize| {
            score
                .turns
                .get(turn - 1)
                .map_or_else(Cell::missing, |group| of(&group.score))
        };
        let error = match score.overall.count {
            0 => Cell::missing(),
            _ => rated(score.overall.standard_error),
        };
        let mut cells = vec![
            Cell::text(report.model.as_str()),
            Cell::text(report.judge.shown()),
        ];
        match (is_rating, report.outcomes) {
            (false, Some(outcomes)) => {
                let equal = report.length_controlled;
                cells.extend([of(&score.overall), error]);
                cells.extend([outcomes.wins, outcomes.ties, outcomes.losses].map(Cell::count));
                cells.push(Cell::from(equal.map(|equal| Cell::percent(equal.win))));
                cells.push(Cell::from(
                    equal.map(|equal| Cell::percent(equal.standard_error)),
                ));
            }
            _ => cells.extend([turn(1), turn(2), of(&score.overall), error]),
        }
        cells.extend([
            Cell::count(score.overall.count),
            Cell::count(score.unscored),
            Cell::count(score.unparsable),
            Cell::count(report.unended),
            Cell::count(report.truncated + report.cut_requests),
            Cell::number(report.characters.mean, 0),
            Cell::text(&report.prompt_sha256[..12]),
        ]);
        table.push(cells);
        let by_category = score.categories.iter().map(|Group { score, .. }| of(score));
        categories.push(
            [Cell::text(report.model.as_str())]
                .into_iter()
                .chain(by_category),
        );
    }
    [table, categories]
}

/// What was asked and how it was judged, and what there is to know of it.
fn heading(report: &ChatReport) -> String {
    let how = match &report.baseline {
        Some(baseline) => {
            format!("compared with {baseline} in both orders, orders that disagree are a tie")
        }
        None => "rated from 1 to 10".into(),
    };
    let proxy = match report.judge.is_proxy {
        true => {
            "; the judge is a proxy, a local model whose numbers are compared with no published ones"
        }
        false => "",
    };
    format!(
        "{}, {} questions, {how}{proxy}",
        report.benchmark, report.questions
    )
}

/// For a terminal.
pub fn text(reports: &[ChatReport]) -> String {
    let [table, categories] = tables(reports);
    let first = reports.first().map(heading).unwrap_or_default();
    format!("{first}\n\n{}\n{}", table.to_text(), categories.to_text())
}

/// A Markdown page.
pub fn markdown(reports: &[ChatReport]) -> String {
    let [table, categories] = tables(reports);
    let first = reports.first().map(heading).unwrap_or_default();
    format!(
        "{first}\n\n{}\n{}",
        table.to_markdown(),
        categories.to_markdown()
    )
}
