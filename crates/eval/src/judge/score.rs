//! Means of what a judge said, by turn and category.
use serde::{Deserialize, Serialize};

use super::{Ask, ChatQuestion, Kind};
use crate::statistics::Estimate;

/// What came of one turn of one question.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judged {
    /// Which question, in the order of its file.
    pub question: usize,
    /// Which turn, from 1.
    pub turn: usize,
    /// Rating or preference, of both orders where there are two; none where one could not be read.
    pub value: Option<f64>,
}

/// The mean of some turns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// `turn 1`, or a category.
    pub name: String,
    /// Mean, standard error, number of values.
    pub score: Estimate,
}

/// What a judge made of a model's answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChatScore {
    /// Over all turns. The standard error is that of the means of questions, whose turns hang together.
    pub overall: Estimate,
    /// By turn.
    pub turns: Vec<Group>,
    /// By category, in the order of the questions.
    pub categories: Vec<Group>,
    /// Turns that the judge was asked about.
    pub asked: usize,
    /// Replies of the judge that could not be read.
    pub unparsable: usize,
    /// Turns without a value for that reason.
    pub unscored: usize,
}

/// Values of requests, one a request, as values of turns: requests of both orders stand one after the other.
pub fn combine(asks: &[Ask], values: &[Option<f64>]) -> Vec<Judged> {
    let step = |ask: &Ask| if ask.kind == Kind::Rating { 1 } else { 2 };
    let mut judged = Vec::new();
    let mut at = 0;
    while let Some(ask) = asks.get(at) {
        let value = match step(ask) {
            1 => values[at],
            _ => ask.kind.both_orders([values[at], values[at + 1]]),
        };
        judged.push(Judged {
            question: ask.question,
            turn: ask.turn,
            value,
        });
        at += step(ask);
    }
    judged
}

/// Means of `judged`; `values` are those of the single requests.
pub fn score(questions: &[ChatQuestion], judged: &[Judged], values: &[Option<f64>]) -> ChatScore {
    let of = |is_wanted: &dyn Fn(&Judged) -> bool| -> Estimate {
        let wanted = judged.iter().filter(|one| is_wanted(one));
        Estimate::of(&wanted.filter_map(|one| one.value).collect::<Vec<f64>>())
    };
    let n_turns = judged.iter().map(|one| one.turn).max().unwrap_or(0);
    let turn = |turn: usize| Group {
        name: format!("turn {turn}"),
        score: of(&|one| one.turn == turn),
    };
    let mut names: Vec<&str> = Vec::new();
    for question in questions {
        if !names.contains(&question.category.as_str()) {
            names.push(&question.category);
        }
    }
    let category = |name: &str| Group {
        name: name.into(),
        score: of(&|one| questions[one.question].category == name),
    };
    let means: Vec<f64> = (0..questions.len())
        .map(|question| of(&|one| one.question == question))
        .filter(|mean| mean.count > 0)
        .map(|mean| mean.mean)
        .collect();
    ChatScore {
        overall: Estimate {
            standard_error: Estimate::of(&means).standard_error,
            ..of(&|_| true)
        },
        turns: (1..=n_turns).map(turn).collect(),
        categories: names.into_iter().map(category).collect(),
        asked: judged.len(),
        unparsable: values.iter().filter(|value| value.is_none()).count(),
        unscored: judged.iter().filter(|one| one.value.is_none()).count(),
    }
}

/// Comparisons won, tied and lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcomes {
    /// Preferred to the baseline.
    pub wins: usize,
    /// Neither.
    pub ties: usize,
    /// The baseline is preferred.
    pub losses: usize,
}

impl Outcomes {
    /// Of preferences from 0 to 1.
    pub fn of(judged: &[Judged]) -> Self {
        let count = |is_counted: fn(f64) -> bool| {
            let values = judged.iter().filter_map(|one| one.value);
            values.filter(|value| is_counted(*value)).count()
        };
        Self {
            wins: count(|value| value > 0.5),
            ties: count(|value| value == 0.5),
            losses: count(|value| value < 0.5),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::{ChatAnswer, JudgePrompts, Protocol, pairwise_asks, single_asks};

    fn question(category: &str) -> ChatQuestion {
        ChatQuestion {
            id: category.into(),
            category: category.into(),
            turns: vec!["a".into(), "b".into()],
            reference: vec![],
            difficulty: None,
        }
    }

    fn answer(text: &str) -> ChatAnswer {
        ChatAnswer {
            question: String::new(),
            turns: vec![text.into(), text.into()],
            model: text.into(),
        }
    }

    #[test]
    fn ratings_are_averaged_by_turn_category_and_question() {
        let questions = [question("writing"), question("math"), question("writing")];
        let prompts = JudgePrompts::default();
        let asks: Vec<Ask> = questions
            .iter()
            .enumerate()
            .flat_map(|(index, question)| single_asks(&prompts, index, question, &answer("x")))
            .collect();
        // Turns 1 and 2 of each question.
        let values = [Some(8.0), Some(6.0), Some(4.0), None, Some(2.0), Some(4.0)];
        let judged = combine(&asks, &values);
        let score = score(&questions, &judged, &values);
        assert_eq!((score.asked, score.unparsable, score.unscored), (6, 1, 1));
        assert_eq!((score.overall.mean, score.overall.count), (4.8, 5));
        // Questions have 7, 4 and 3: deviation sqrt(13/3), by the root of 3.
        assert!((score.overall.standard_error - (13.0_f64 / 9.0).sqrt()).abs() < 1e-12);
        let means = |groups: &[Group]| -> Vec<(String, f64, usize)> {
            let of = |group: &Group| (group.name.clone(), group.score.mean, group.score.count);
            groups.iter().map(of).collect()
        };
        assert_eq!(
            means(&score.turns),
            [("turn 1".into(), 14.0 / 3.0, 3), ("turn 2".into(), 5.0, 2)]
        );
        assert_eq!(
            means(&score.categories),
            [("writing".into(), 5.0, 4), ("math".into(), 4.0, 1)]
        );
    }

    #[test]
    fn orders_that_disagree_tie() {
        let questions = [question("writing"), question("math")];
        let prompts = JudgePrompts::default();
        let pair = [&answer("mine"), &answer("base")];
        let asks: Vec<Ask> = questions
            .iter()
            .enumerate()
            .flat_map(|(index, question)| {
                pairwise_asks(Protocol::MtBench, &prompts, index, question, pair)
            })
            .collect();
        let both = |first, second| [Some(first), Some(second)];
        let values = [
            both(1.0, 1.0),
            both(1.0, 0.0),
            both(0.0, 0.0),
            [Some(1.0), None],
        ]
        .concat();
        let judged = combine(&asks, &values);
        let found: Vec<Option<f64>> = judged.iter().map(|one| one.value).collect();
        assert_eq!(found, [Some(1.0), Some(0.5), Some(0.0), None]);
        assert_eq!(
            Outcomes::of(&judged),
            Outcomes {
                wins: 1,
                ties: 1,
                losses: 1
            }
        );
        assert_eq!(score(&questions, &judged, &values).unscored, 1);
    }
}
