//! What a judge is asked about the answers to one question.
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{ChatAnswer, ChatQuestion, JudgePrompts, Kind, Protocol};
use model::hex;

/// Which of two answers a judge sees first; of one alone it is `AnswerFirst`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// The model's.
    AnswerFirst,
    /// The baseline's.
    BaselineFirst,
}

/// One request to a judge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Which question, in the order of its file.
    pub question: usize,
    /// Which turn is judged, from 1.
    pub turn: usize,
    /// Which answer comes first.
    pub order: Order,
    /// What is asked for.
    pub kind: Kind,
    /// Name of the prompt.
    pub prompt: &'static str,
    /// System turn.
    pub system: String,
    /// User turn.
    pub user: String,
}

impl Ask {
    /// Hash of what the judge reads, hexadecimal.
    pub fn sha256(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(&self.system);
        hash.update([0]);
        hash.update(&self.user);
        hex(&hash.finalize())
    }
}

/// Categories of MT-Bench whose answers are right or wrong: judged beside the reference, where there is one.
const WITH_REFERENCE: [&str; 3] = ["math", "reasoning", "coding"];

fn has_reference(question: &ChatQuestion) -> bool {
    WITH_REFERENCE.contains(&question.category.as_str()) && !question.reference.is_empty()
}

/// A rating of every turn of an answer.
pub fn single_asks(
    prompts: &JudgePrompts,
    index: usize,
    question: &ChatQuestion,
    answer: &ChatAnswer,
) -> Vec<Ask> {
    let ask = |turn: usize| {
        let prompt = match (turn, has_reference(question)) {
            (1, false) => "single-v1",
            (1, true) => "single-math-v1",
            (_, false) => "single-v1-multi-turn",
            (_, true) => "single-math-v1-multi-turn",
        };
        let values = [
            ("answer", text(&answer.turns, 1)),
            ("answer_1", text(&answer.turns, 1)),
            ("answer_2", text(&answer.turns, 2)),
        ];
        let (system, user) = filled(prompts, prompt, question, &values);
        Ask {
            question: index,
            turn,
            order: Order::AnswerFirst,
            kind: Kind::Rating,
            prompt,
            system,
            user,
        }
    };
    (1..=question.turns.len()).map(ask).collect()
}

/// A comparison of every turn of an answer with the baseline's, in both orders one after the other.
pub fn pairwise_asks(
    protocol: Protocol,
    prompts: &JudgePrompts,
    index: usize,
    question: &ChatQuestion,
    [answer, baseline]: [&ChatAnswer; 2],
) -> Vec<Ask> {
    let ask = |(turn, order): (usize, Order)| {
        let (a, b) = match order {
            Order::AnswerFirst => (answer, baseline),
            Order::BaselineFirst => (baseline, answer),
        };
        let (kind, prompt) = match (protocol, turn, has_reference(question)) {
            (Protocol::AlpacaEval, ..) => (Kind::Token, "alpaca-eval"),
            (Protocol::MtBench, 1, false) => (Kind::Verdict, "pair-v2"),
            (Protocol::MtBench, 1, true) => (Kind::Verdict, "pair-math-v1"),
            (Protocol::MtBench, _, false) => (Kind::Verdict, "pair-v2-multi-turn"),
            (Protocol::MtBench, _, true) => (Kind::Verdict, "pair-math-v1-multi-turn"),
        };
        let values = [
            ("answer_a", text(&a.turns, 1)),
            ("answer_b", text(&b.turns, 1)),
            ("answer_a_1", text(&a.turns, 1)),
            ("answer_b_1", text(&b.turns, 1)),
            ("answer_a_2", text(&a.turns, 2)),
            ("answer_b_2", text(&b.turns, 2)),
            ("output_1", text(&a.turns, 1)),
            ("output_2", text(&b.turns, 1)),
        ];
        let (system, user) = filled(prompts, prompt, question, &values);
        Ask {
            question: index,
            turn,
            order,
            kind,
            prompt,
            system,
            user,
        }
    };
    (1..=question.turns.len())
        .flat_map(|turn| [(turn, Order::AnswerFirst), (turn, Order::BaselineFirst)])
        .map(ask)
        .collect()
}

/// System and user turn of a prompt, with what every one may show of a question beside `answers`.
fn filled<'a>(
    prompts: &JudgePrompts,
    prompt: &str,
    question: &'a ChatQuestion,
    answers: &[(&'a str, &'a str)],
) -> (String, String) {
    let of_question = [
        ("question", text(&question.turns, 1)),
        ("question_1", text(&question.turns, 1)),
        ("question_2", text(&question.turns, 2)),
        ("ref_answer_1", text(&question.reference, 1)),
        ("ref_answer_2", text(&question.reference, 2)),
    ];
    prompts.fill(prompt, &[answers, &of_question].concat())
}

/// The text of a turn from 1, or nothing.
fn text(turns: &[String], turn: usize) -> &str {
    turns.get(turn - 1).map_or("", String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(name: &str) -> ChatAnswer {
        let turns = [1, 2].map(|turn| format!("{name} says {turn}"));
        ChatAnswer {
            question: "q".into(),
            turns: turns.into(),
            model: name.into(),
        }
    }

    fn question(category: &str, reference: &[&str]) -> ChatQuestion {
        ChatQuestion {
            id: "q".into(),
            category: category.into(),
            turns: vec!["first?".into(), "second?".into()],
            reference: reference.iter().map(|text| String::from(*text)).collect(),
            difficulty: None,
        }
    }

    #[test]
    fn each_turn_is_rated_and_references_are_shown_where_they_count() {
        let prompts = JudgePrompts::default();
        let names = |question: &ChatQuestion| -> Vec<&str> {
            let asks = single_asks(&prompts, 0, question, &answer("x"));
            asks.iter().map(|ask| ask.prompt).collect()
        };
        assert_eq!(
            names(&question("writing", &["r", "s"])),
            ["single-v1", "single-v1-multi-turn"]
        );
        assert_eq!(
            names(&question("math", &[])),
            ["single-v1", "single-v1-multi-turn"]
        );
        let with_reference = question("math", &["ref one", "ref two"]);
        assert_eq!(
            names(&with_reference),
            ["single-math-v1", "single-math-v1-multi-turn"]
        );
        let asks = single_asks(&prompts, 3, &with_reference, &answer("x"));
        assert!(
            asks[0].user.contains("ref one") && !asks[0].user.contains("says 2"),
            "{}",
            asks[0].user
        );
        let second = &asks[1];
        assert!(
            ["ref two", "x says 1", "x says 2", "second?"]
                .iter()
                .all(|text| second.user.contains(text))
        );
        assert_eq!((second.question, second.turn), (3, 2));
    }

    #[test]
    fn both_orders_show_the_answers_in_both_places() {
        let prompts = JudgePrompts::default();
        let question = question("writing", &[]);
        let pair = [&answer("mine"), &answer("base")];
        let asks = pairwise_asks(Protocol::MtBench, &prompts, 0, &question, pair);
        let places: Vec<(usize, Order, bool)> = asks
            .iter()
            .map(|ask| {
                (
                    ask.turn,
                    ask.order,
                    ask.user.find("mine says 1") < ask.user.find("base says 1"),
                )
            })
            .collect();
        assert_eq!(
            places,
            [
                (1, Order::AnswerFirst, true),
                (1, Order::BaselineFirst, false),
                (2, Order::AnswerFirst, true),
                (2, Order::BaselineFirst, false),
            ]
        );
        assert_ne!(asks[0].sha256(), asks[1].sha256());
    }
}
