//! What stands in a reply.
use serde_json::Value;

/// The last JSON object of a reply that has `key`, or what stands after the key where the object is not whole.
pub(super) fn json_answer(reply: &str, key: &str) -> Option<String> {
    for (start, _) in reply.rmatch_indices('{') {
        let mut values = serde_json::Deserializer::from_str(&reply[start..]).into_iter::<Value>();
        if let Some(Ok(value)) = values.next()
            && let Some(answer) = value.get(key)
        {
            return Some(match answer {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            });
        }
    }
    let quoted = format!("\"{key}\"");
    let after = &reply[reply.rfind(&quoted)? + quoted.len()..];
    let after = after.trim_start().strip_prefix(':')?.trim();
    let after = after.strip_prefix('"').unwrap_or(after);
    let end = after.find(['"', '\n', '}']).unwrap_or(after.len());
    let answer = after[..end].trim();
    (!answer.is_empty()).then(|| answer.to_string())
}

/// The numbers of a text as they are compared: without separators of thousands and units, whole ones without a point.
pub(super) fn numbers(text: &str) -> Vec<String> {
    let letters: Vec<char> = text.chars().collect();
    let is_digit = |at: usize| letters.get(at).is_some_and(char::is_ascii_digit);
    let mut numbers = Vec::new();
    let mut at = 0;
    while at < letters.len() {
        if !is_digit(at) {
            at += 1;
            continue;
        }
        let start = at;
        let is_negative = start > 0
            && letters[start - 1] == '-'
            && !(start > 1 && letters[start - 2].is_alphanumeric());
        let mut digits = String::new();
        while is_digit(at) || (letters.get(at) == Some(&',') && is_thousand(&letters[at..])) {
            if letters[at] != ',' {
                digits.push(letters[at]);
            }
            at += 1;
        }
        if letters.get(at) == Some(&'.') && is_digit(at + 1) {
            digits.push('.');
            at += 1;
            while is_digit(at) {
                digits.push(letters[at]);
                at += 1;
            }
        }
        numbers.push(normalised(&digits, is_negative));
    }
    numbers
}

/// Whether a comma with exactly three digits after it stands here.
fn is_thousand(letters: &[char]) -> bool {
    let digits = letters[1..]
        .iter()
        .take_while(|letter| letter.is_ascii_digit());
    digits.count() == 3
}

fn normalised(digits: &str, is_negative: bool) -> String {
    let digits = match digits.contains('.') {
        true => digits.trim_end_matches('0').trim_end_matches('.'),
        false => digits,
    };
    let digits = digits.trim_start_matches('0');
    let digits = match digits {
        "" => "0".to_string(),
        digits if digits.starts_with('.') => format!("0{digits}"),
        digits => digits.to_string(),
    };
    match is_negative && digits != "0" {
        true => format!("-{digits}"),
        false => digits,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_compared_without_commas_and_units() {
        for (text, expected) in [
            ("$1,234.50 and 7 kg", vec!["1234.5", "7"]),
            ("-3, 0.0, 007, 12.0%", vec!["-3", "0", "7", "12"]),
            ("1,2,3", vec!["1", "2", "3"]),
            ("1,000,000 or 1,0000", vec!["1000000", "1", "0"]),
            ("5-3=2.", vec!["5", "3", "2"]),
            ("x-1 .5", vec!["1", "5"]),
            ("none", vec![]),
        ] {
            assert_eq!(numbers(text), expected, "{text}");
        }
    }

    #[test]
    fn answers_are_found_in_whole_and_in_broken_objects() {
        for (reply, expected) in [
            (
                r#"So {"reasoning": "2 + {3}", "answer": "5"} it is"#,
                Some("5"),
            ),
            (r#"{"answer": 5}"#, Some("5")),
            (r#"{"answer": "4"} no, {"answer": "5"}"#, Some("5")),
            (
                r#"{"reasoning": "a "quoted" word", "answer": "5 eggs"}"#,
                Some("5 eggs"),
            ),
            (r#"{"reasoning": "long, "answer": 12"#, Some("12")),
            ("five", None),
        ] {
            assert_eq!(json_answer(reply, "answer").as_deref(), expected, "{reply}");
        }
    }
}
