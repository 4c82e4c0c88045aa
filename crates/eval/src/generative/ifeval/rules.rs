//! The rules of IFEval's instructions.
use crate::fields::{FieldProblem, Fields};

/// Whether `reply` keeps the instruction `id` with its `arguments`; `None` for one that no rule here can check (the language of
/// a reply).
///
/// # Errors
/// An unknown instruction (an empty field), or the argument that is missing or wrong.
pub(super) fn check(
    id: &str,
    arguments: Fields,
    prompt: &str,
    reply: &str,
) -> Result<Option<bool>, FieldProblem> {
    let lower = reply.to_lowercase();
    let trimmed = reply.trim();
    let kept = match id {
        "language:response_language" => return Ok(None),
        "punctuation:no_comma" => !reply.contains(','),
        "keywords:existence" => {
            let words = arguments.texts("keywords", 1)?;
            words
                .iter()
                .all(|word| lower.contains(&word.to_lowercase()))
        }
        "keywords:forbidden_words" => {
            let words = arguments.texts("forbidden_words", 1)?;
            let all = self::words(&lower);
            !words
                .iter()
                .any(|word| all.contains(&word.to_lowercase().as_str()))
        }
        "keywords:frequency" => {
            let word = arguments.text("keyword")?.to_lowercase();
            compared(
                arguments,
                "frequency",
                "relation",
                lower.matches(&word).count(),
            )?
        }
        "keywords:letter_frequency" => {
            let letter = arguments.text("letter")?.to_lowercase();
            let count = lower.matches(&letter).count();
            compared(arguments, "let_frequency", "let_relation", count)?
        }
        "length_constraints:number_words" => {
            compared(arguments, "num_words", "relation", words(reply).len())?
        }
        "length_constraints:number_sentences" => {
            compared(arguments, "num_sentences", "relation", sentences(reply))?
        }
        "length_constraints:number_paragraphs" => {
            let paragraphs = parts(reply, "***");
            paragraphs.iter().all(|text| !text.is_empty())
                && paragraphs.len() == arguments.count("num_paragraphs")?
        }
        "length_constraints:nth_paragraph_first_word" => {
            let paragraphs: Vec<&str> = parts(reply, "\n\n")
                .into_iter()
                .filter(|text| !text.is_empty())
                .collect();
            let nth = arguments.count("nth_paragraph")?;
            let first = arguments.text("first_word")?.to_lowercase();
            let wanted = paragraphs.get(nth.wrapping_sub(1));
            let begins =
                wanted.and_then(|text| words(text).first().map(|word| word.to_lowercase()));
            paragraphs.len() == arguments.count("num_paragraphs")? && begins == Some(first)
        }
        "detectable_content:number_placeholders" => {
            let least = arguments.count("num_placeholders")?;
            let open = reply.match_indices('[');
            open.filter(|(at, _)| reply[*at..].contains(']')).count() >= least
        }
        "detectable_content:postscript" => {
            lower.contains(&arguments.text("postscript_marker")?.to_lowercase())
        }
        "detectable_format:number_bullet_lists" => {
            let is_bullet = |line: &&str| {
                let line = line.trim_start();
                (line.starts_with("* ") || line.starts_with("- ")) && !line.starts_with("**")
            };
            reply.lines().filter(is_bullet).count() == arguments.count("num_bullets")?
        }
        "detectable_format:constrained_response" => [
            "My answer is yes.",
            "My answer is no.",
            "My answer is maybe.",
        ]
        .iter()
        .any(|answer| reply.contains(answer)),
        "detectable_format:number_highlighted_sections" => {
            highlights(reply) >= arguments.count("num_highlights")?
        }
        "detectable_format:multiple_sections" => {
            let splitter = arguments.text("section_spliter")?;
            let is_section = |line: &&str| {
                let rest = line.trim_start().strip_prefix(splitter);
                rest.is_some_and(|rest| rest.trim_start().starts_with(|c: char| c.is_ascii_digit()))
            };
            reply.lines().filter(is_section).count() >= arguments.count("num_sections")?
        }
        "detectable_format:json_format" => {
            let inner = trimmed
                .trim_start_matches("```json")
                .trim_start_matches("```");
            let inner = inner.trim_end_matches("```").trim();
            serde_json::from_str::<serde_json::Value>(inner).is_ok()
        }
        "detectable_format:title" => reply.split("<<").skip(1).any(|rest| {
            rest.split_once(">>")
                .is_some_and(|(title, _)| !title.trim().is_empty() && !title.contains('\n'))
        }),
        "combination:two_responses" => {
            let both = parts(reply, "******");
            both.len() == 2 && both[0] != both[1] && both.iter().all(|text| !text.is_empty())
        }
        "combination:repeat_prompt" => {
            let repeated = arguments.text("prompt_to_repeat").unwrap_or(prompt);
            lower
                .trim_start()
                .starts_with(&repeated.trim().to_lowercase())
        }
        "startend:end_checker" => {
            let end = arguments.text("end_phrase")?.trim().to_lowercase();
            lower.trim().trim_matches('"').ends_with(&end)
        }
        "startend:quotation" => {
            trimmed.len() > 1 && trimmed.starts_with('"') && trimmed.ends_with('"')
        }
        "change_case:english_capital" => {
            !reply.chars().any(char::is_lowercase) && has_letters(reply)
        }
        "change_case:english_lowercase" => {
            !reply.chars().any(char::is_uppercase) && has_letters(reply)
        }
        "change_case:capital_word_frequency" => {
            let is_capital =
                |word: &&&str| has_letters(word) && !word.chars().any(char::is_lowercase);
            let count = words(reply).iter().filter(is_capital).count();
            compared(arguments, "capital_frequency", "capital_relation", count)?
        }
        _ => {
            return Err(FieldProblem::new(
                "",
                format!("`{id}`"),
                "an instruction of IFEval",
            ));
        }
    };
    Ok(Some(kept))
}

/// `count` against the number at `number` by the relation at `relation`: `less than`, else `at least`.
fn compared(
    arguments: Fields,
    number: &str,
    relation: &str,
    count: usize,
) -> Result<bool, FieldProblem> {
    let bound = arguments.count(number)?;
    let relations = ["less than", "at least"];
    Ok(match arguments.place(relation, &relations)? {
        0 => count < bound,
        _ => count >= bound,
    })
}

/// Runs of letters, digits and underscores.
fn words(text: &str) -> Vec<&str> {
    text.split(|letter: char| !letter.is_alphanumeric() && letter != '_')
        .filter(|word| !word.is_empty())
        .collect()
}

/// Pieces that end with a full stop, a question mark or an exclamation mark, and what follows the last.
fn sentences(text: &str) -> usize {
    let mut count = 0;
    let mut is_open = false;
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let ends = matches!(letter, '.' | '!' | '?');
        let is_last = letters.peek().is_none_or(|next| next.is_whitespace());
        if ends && is_last {
            count += usize::from(is_open);
            is_open = false;
        } else if letter.is_alphanumeric() {
            is_open = true;
        }
    }
    count + usize::from(is_open)
}

fn parts<'a>(text: &'a str, between: &str) -> Vec<&'a str> {
    text.split(between).map(str::trim).collect()
}

/// Texts between two single or two double asterisks.
fn highlights(text: &str) -> usize {
    let is_marked = |line: &str| {
        let pieces: Vec<&str> = line.split('*').collect();
        let inner = pieces
            .iter()
            .skip(1)
            .step_by(2)
            .take(pieces.len().saturating_sub(1) / 2);
        inner.filter(|piece| !piece.trim().is_empty()).count()
    };
    text.lines()
        .map(|line| is_marked(&line.replace("**", "*")))
        .sum()
}

fn has_letters(text: &str) -> bool {
    text.chars().any(char::is_alphabetic)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_rule_tells_a_kept_instruction_from_a_broken_one() {
        for (id, arguments, kept, broken) in [
            ("punctuation:no_comma", json!({}), "a b", "a, b"),
            (
                "keywords:existence",
                json!({"keywords": ["Sun", "sea"]}),
                "the sun by the sea",
                "the sun",
            ),
            (
                "keywords:forbidden_words",
                json!({"forbidden_words": ["sun"]}),
                "sunny",
                "the Sun.",
            ),
            (
                "keywords:frequency",
                json!({"keyword": "sun", "frequency": 2, "relation": "at least"}),
                "sun Sun",
                "sun",
            ),
            (
                "keywords:frequency",
                json!({"keyword": "sun", "frequency": 2, "relation": "less than"}),
                "sun",
                "sun sun",
            ),
            (
                "keywords:letter_frequency",
                json!({"letter": "q", "let_frequency": 1, "let_relation": "at least"}),
                "Q",
                "o",
            ),
            (
                "length_constraints:number_words",
                json!({"num_words": 3, "relation": "at least"}),
                "one two, three",
                "one two",
            ),
            (
                "length_constraints:number_sentences",
                json!({"num_sentences": 2, "relation": "less than"}),
                "One 1.5 is.",
                "One. Two!",
            ),
            (
                "length_constraints:number_paragraphs",
                json!({"num_paragraphs": 2}),
                "a\n***\nb",
                "a\n***\n",
            ),
            (
                "length_constraints:nth_paragraph_first_word",
                json!({"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "Then"}),
                "a\n\n\"then\" b",
                "a\n\nb",
            ),
            (
                "detectable_content:number_placeholders",
                json!({"num_placeholders": 2}),
                "[name] at [place]",
                "[name",
            ),
            (
                "detectable_content:postscript",
                json!({"postscript_marker": "P.S."}),
                "x\nP.S. y",
                "x",
            ),
            (
                "detectable_format:number_bullet_lists",
                json!({"num_bullets": 2}),
                "* a\n - b",
                "* a",
            ),
            (
                "detectable_format:constrained_response",
                json!({}),
                "My answer is no.",
                "No.",
            ),
            (
                "detectable_format:number_highlighted_sections",
                json!({"num_highlights": 2}),
                "*a* and **b**",
                "*a* and *b",
            ),
            (
                "detectable_format:multiple_sections",
                json!({"section_spliter": "Section", "num_sections": 2}),
                "Section 1\na\nSection 2",
                "Section 1\nSection x",
            ),
            (
                "detectable_format:json_format",
                json!({}),
                "```json\n{\"a\": 1}\n```",
                "{a}",
            ),
            (
                "detectable_format:title",
                json!({}),
                "<<A title>>\ntext",
                "<<>>",
            ),
            (
                "combination:two_responses",
                json!({}),
                "a\n******\nb",
                "a\n******\na",
            ),
            (
                "combination:repeat_prompt",
                json!({"prompt_to_repeat": "Say it."}),
                "say it. It.",
                "It. Say it.",
            ),
            (
                "startend:end_checker",
                json!({"end_phrase": "The end."}),
                "x the end. ",
                "The end. x",
            ),
            ("startend:quotation", json!({}), "\"a\"", "\"a"),
            ("change_case:english_capital", json!({}), "A B!", "A b!"),
            ("change_case:english_lowercase", json!({}), "a b", "A b"),
            (
                "change_case:capital_word_frequency",
                json!({"capital_frequency": 2, "capital_relation": "at least"}),
                "ONE TWO 3",
                "ONE Two",
            ),
        ] {
            let of = |reply| check(id, Fields(&arguments), "prompt", reply).unwrap();
            assert_eq!(
                (of(kept), of(broken)),
                (Some(true), Some(false)),
                "{id} {arguments}"
            );
        }
    }
}
