//! Which teacher replies are kept: plain English, short, not looping, complete.

use std::collections::{HashMap, HashSet};

/// Limits on a kept reply.
#[derive(Debug, Clone)]
pub struct ReplyFilter {
    /// Fewest characters.
    pub min_chars: usize,
    /// Most characters.
    pub max_chars: usize,
    seen: HashSet<String>,
}

/// Why a reply was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rejected {
    /// The reply hit the token limit before its end token.
    Unfinished,
    /// Shorter or longer than allowed.
    Length,
    /// Characters outside plain ASCII text, or mark-up.
    NotPlain,
    /// Too few common English words.
    NotEnglish,
    /// A phrase or sentence comes back again and again.
    Loop,
    /// No sentence end at the end.
    NoEnd,
    /// The same reply was kept before.
    Duplicate,
}

impl Rejected {
    /// A word for reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unfinished => "unfinished",
            Self::Length => "length",
            Self::NotPlain => "not plain",
            Self::NotEnglish => "not English",
            Self::Loop => "loop",
            Self::NoEnd => "no end",
            Self::Duplicate => "duplicate",
        }
    }
}

const COMMON: &[&str] = &[
    "the", "a", "an", "and", "to", "of", "in", "is", "it", "you", "i", "was", "that", "he", "she",
    "they", "for", "with", "on", "are", "be", "as", "can", "his", "her", "my", "your", "we",
    "this", "have", "has", "had", "or", "not", "but", "at", "from", "so", "when", "their", "by",
    "one", "there", "were", "them", "if", "what", "do", "like", "us", "our",
];

impl ReplyFilter {
    /// A filter that keeps replies of `min_chars..=max_chars` characters.
    pub fn new(min_chars: usize, max_chars: usize) -> Self {
        Self {
            min_chars,
            max_chars,
            seen: HashSet::new(),
        }
    }

    /// Cleans a reply and decides whether to keep it.
    ///
    /// Typographic quotes and dashes become ASCII; white space is trimmed and paragraphs are joined by one line break.
    ///
    /// # Errors
    /// The first rule that the reply breaks.
    pub fn accept(&mut self, reply: &str, ended: bool) -> Result<String, Rejected> {
        if !ended {
            return Err(Rejected::Unfinished);
        }
        let text = normalise(reply);
        if !(self.min_chars..=self.max_chars).contains(&text.chars().count()) {
            return Err(Rejected::Length);
        }
        if !is_plain(&text) {
            return Err(Rejected::NotPlain);
        }
        let words = words(&text);
        let common = words
            .iter()
            .filter(|word| COMMON.contains(&word.as_str()))
            .count();
        if words.len() >= 8 && common * 5 < words.len() {
            return Err(Rejected::NotEnglish);
        }
        if loops(&text, &words) {
            return Err(Rejected::Loop);
        }
        if !text.ends_with(['.', '!', '?', '"']) {
            return Err(Rejected::NoEnd);
        }
        if !self.seen.insert(words.join(" ")) {
            return Err(Rejected::Duplicate);
        }
        Ok(text)
    }
}

fn normalise(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\u{2018}' | '\u{2019}' => out.push('\''),
            '\u{201c}' | '\u{201d}' => out.push('"'),
            '\u{2013}' | '\u{2014}' => out.push('-'),
            '\u{2026}' => out.push_str("..."),
            '\u{a0}' => out.push(' '),
            c => out.push(c),
        }
    }
    let lines: Vec<_> = out
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|line| !line.is_empty())
        .collect();
    lines.join("\n")
}

fn is_plain(text: &str) -> bool {
    const MARKS: &[char] = &[
        '*', '#', '|', '`', '<', '>', '{', '}', '[', ']', '\\', '_', '=', '@', '~', '^', '$',
    ];
    let letters = text
        .chars()
        .filter(|c| c.is_ascii_alphabetic() || *c == ' ')
        .count();
    text.chars()
        .all(|c| c == '\n' || (c.is_ascii() && !c.is_ascii_control()))
        && !text.contains(MARKS)
        && !text.contains("http")
        && letters * 10 >= text.len() * 8
}

fn words(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '\'')
        .filter(|word| !word.is_empty())
        .map(str::to_ascii_lowercase)
        .collect()
}

fn loops(text: &str, words: &[String]) -> bool {
    let mut grams: HashMap<&[String], usize> = HashMap::new();
    for gram in words.windows(4) {
        let count = grams.entry(gram).or_default();
        *count += 1;
        if *count >= 3 {
            return true;
        }
    }
    let mut sentences = HashSet::new();
    let repeated = text
        .split(['.', '!', '?', '\n'])
        .map(|sentence| sentence.trim().to_ascii_lowercase())
        .filter(|sentence| sentence.split(' ').count() >= 3)
        .any(|sentence| !sentences.insert(sentence));
    let distinct: HashSet<_> = words.iter().collect();
    repeated || (words.len() >= 40 && distinct.len() * 5 < words.len() * 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter() -> ReplyFilter {
        ReplyFilter::new(10, 200)
    }

    #[test]
    fn a_plain_short_reply_is_kept_and_cleaned() {
        let kept = filter().accept("  The fox\u{2019}s kite is red.\n\n It flies  high! ", true);
        assert_eq!(
            kept.as_deref(),
            Ok("The fox's kite is red.\nIt flies high!")
        );
    }

    #[test]
    fn each_rule_rejects_its_case() {
        let long = "a ".repeat(300);
        let cases = [
            ("The fox is red.", false, Rejected::Unfinished),
            ("Hi.", true, Rejected::Length),
            (&long, true, Rejected::Length),
            ("- **The** fox is red.", true, Rejected::NotPlain),
            (
                "Der Fuchs ist rot und der Himmel sehr blau heute.",
                true,
                Rejected::NotEnglish,
            ),
            ("He is happy. He is sad. He is happy.", true, Rejected::Loop),
            (
                "the cat sat on the cat sat on the cat sat on it.",
                true,
                Rejected::Loop,
            ),
            ("The fox is red and", true, Rejected::NoEnd),
        ];
        for (text, ended, why) in cases {
            assert_eq!(filter().accept(text, ended), Err(why), "{text}");
        }
    }

    #[test]
    fn a_second_equal_reply_is_a_duplicate() {
        let mut filter = filter();
        assert!(filter.accept("The fox is red.", true).is_ok());
        assert_eq!(
            filter.accept("the fox, is red!", true),
            Err(Rejected::Duplicate)
        );
    }
}
