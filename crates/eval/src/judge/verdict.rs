//! What a judge said, as a number.
use serde::{Deserialize, Serialize};

use super::Order;

/// What a judge is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// `[[rating]]`, from 1 to 10.
    Rating,
    /// `[[A]]`, `[[B]]` or `[[C]]` for a tie.
    Verdict,
    /// `m` for the first output, `M` for the second; how likely each is counts where the judge says so.
    Token,
}

/// What a judge said.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Said {
    /// Its reply.
    pub text: String,
    /// Candidates for the first token with their log-probabilities, if it tells them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub first_token: Vec<(String, f64)>,
    /// Whether the request lost its start, because it was longer than the judge's context.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_cut: bool,
}

impl Kind {
    /// The rating, or how much the judge prefers the answer to the baseline: from 0 to 1. None for what cannot be read.
    pub fn value(self, order: Order, said: &Said) -> Option<f64> {
        let prefers_first = match self {
            Self::Rating => return rating(&said.text),
            Self::Verdict => verdict(&said.text)?,
            Self::Token => token(said)?,
        };
        Some(match order {
            Order::AnswerFirst => prefers_first,
            Order::BaselineFirst => 1.0 - prefers_first,
        })
    }

    /// One value of those in both orders: their mean where they are shares of a judge's mind, and where they are verdicts
    /// what both say, or a tie where they say different things. None unless both can be read.
    pub fn both_orders(self, values: [Option<f64>; 2]) -> Option<f64> {
        let [Some(first), Some(second)] = values else {
            return None;
        };
        Some(match self {
            Self::Token => (first + second) / 2.0,
            Self::Rating | Self::Verdict if first == second => first,
            Self::Rating | Self::Verdict => 0.5,
        })
    }
}

/// The first number in double brackets, else in single ones, if it is from 1 to 10.
fn rating(text: &str) -> Option<f64> {
    let number = bracketed(text, "[[", "]]").or_else(|| bracketed(text, "[", "]"))?;
    (1.0..=10.0).contains(&number).then_some(number)
}

fn bracketed(text: &str, open: &str, close: &str) -> Option<f64> {
    text.match_indices(open).find_map(|(at, _)| {
        let inner = text[at + open.len()..].split_once(close)?.0;
        let is_number = inner.starts_with(|first: char| first.is_ascii_digit())
            && inner
                .chars()
                .all(|char| char.is_ascii_digit() || char == '.');
        is_number.then(|| inner.parse().ok())?
    })
}

/// 1 for the first answer, 0 for the second, one half for a tie; none for no verdict or several different ones.
fn verdict(text: &str) -> Option<f64> {
    let marks = [("[[A]]", 1.0), ("[[B]]", 0.0), ("[[C]]", 0.5)];
    let mut found = marks.iter().filter(|(mark, _)| text.contains(mark));
    let (_, value) = found.next()?;
    found.next().is_none().then_some(*value)
}

/// Share of `m` in what `m` and `M` have together; by the reply's first letter where the judge tells no probabilities.
fn token(said: &Said) -> Option<f64> {
    let mass = |letter: &str| -> f64 {
        let of_letter = said
            .first_token
            .iter()
            .filter(|(token, _)| token.trim() == letter);
        of_letter.map(|(_, log_prob)| log_prob.exp()).sum()
    };
    let (first, second) = (mass("m"), mass("M"));
    if first + second > 0.0 {
        return Some(first / (first + second));
    }
    let word = said
        .text
        .split(|char: char| !char.is_alphanumeric())
        .find(|word| !word.is_empty());
    match word {
        Some("m") => Some(1.0),
        Some("M") => Some(0.0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Said {
        Said {
            text: text.into(),
            ..Said::default()
        }
    }

    #[test]
    fn ratings_are_found_in_brackets() {
        for (text, expected) in [
            ("Good. Rating: [[7]]", Some(7.0)),
            ("[[8.5]] of 10, not [[3]]", Some(8.5)),
            ("See [1]. Rating: [[10]]", Some(10.0)),
            ("Rating: [6]", Some(6.0)),
            ("Rating: [[rating]] is [[4]]", Some(4.0)),
            ("[[0]]", None),
            ("[[11]]", None),
            ("[[1.2.3]]", None),
            ("Rating: 7", None),
            ("", None),
        ] {
            assert_eq!(rating(text), expected, "{text}");
        }
    }

    #[test]
    fn a_verdict_counts_for_the_answer_in_either_place() {
        let value = |order, text: &str| Kind::Verdict.value(order, &said(text));
        assert_eq!(value(Order::AnswerFirst, "so [[A]]"), Some(1.0));
        assert_eq!(value(Order::BaselineFirst, "so [[A]]"), Some(0.0));
        assert_eq!(value(Order::BaselineFirst, "so [[B]]"), Some(1.0));
        assert_eq!(value(Order::BaselineFirst, "so [[C]]"), Some(0.5));
        assert_eq!(value(Order::AnswerFirst, "[[A]] or [[B]]?"), None);
        assert_eq!(value(Order::AnswerFirst, "A"), None);
    }

    #[test]
    fn a_judge_that_follows_the_place_ties() {
        let combine = |first: &str, second: &str| {
            let first = Kind::Verdict.value(Order::AnswerFirst, &said(first));
            let second = Kind::Verdict.value(Order::BaselineFirst, &said(second));
            Kind::Verdict.both_orders([first, second])
        };
        assert_eq!(combine("[[A]]", "[[A]]"), Some(0.5));
        assert_eq!(combine("[[A]]", "[[B]]"), Some(1.0));
        assert_eq!(combine("[[B]]", "[[A]]"), Some(0.0));
        assert_eq!(combine("[[C]]", "[[B]]"), Some(0.5));
        assert_eq!(combine("[[A]]", "nothing"), None);
    }

    #[test]
    fn probabilities_of_both_letters_are_a_preference() {
        let mut heard = said("M");
        assert_eq!(Kind::Token.value(Order::AnswerFirst, &heard), Some(0.0));
        assert_eq!(Kind::Token.value(Order::BaselineFirst, &heard), Some(1.0));
        heard.first_token = vec![
            ("M".into(), 0.6_f64.ln()),
            (" m".into(), 0.2_f64.ln()),
            ("x".into(), -3.0),
        ];
        let value = Kind::Token.value(Order::AnswerFirst, &heard).unwrap();
        assert!((value - 0.25).abs() < 1e-12, "{value}");
        assert_eq!(Kind::Token.both_orders([Some(0.25), Some(0.75)]), Some(0.5));
        assert_eq!(
            Kind::Token.value(Order::AnswerFirst, &said("Model m")),
            None
        );
        assert_eq!(
            Kind::Token.value(Order::AnswerFirst, &said("**m** is better")),
            Some(1.0)
        );
    }
}
