//! Seeded prompts for data that the teacher writes: templates filled from word lists.
//!
//! Every prompt asks for a short and simple reply, because a very small model has to learn the text.

use std::collections::HashSet;

use rand::{Rng, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::words;

/// What kind of text a prompt asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum PromptKind {
    /// Very short stories for children with given characters and things
    Stories,
    /// Everyday questions, short explanations, small talk, descriptions and advice
    Dialogues,
    /// Both, half and half
    All,
}

/// Story templates. `{slot}` draws a word, `{a slot}` a word with its article.
const STORIES: &[&str] = &[
    "Write a very short story about {a trait} {animal} named {name} who finds {a object}.",
    "Tell me a short story about {a animal} and {a animal2} in the {place}.",
    "Write a short story about {name}, who loses {a object} in the {place}.",
    "Tell a story about {a trait} {animal} who wants {a object}.",
    "Write a story for a small child about {event}.",
    "Write a very short story about {name} and {name2} at the {place}.",
    "Tell me a story about {name} and {a trait} {animal}.",
    "Write a short bedtime story about {a animal} who lives near the {place}.",
    "Write a short story with the words \"{thing}\", \"{place}\" and \"{animal}\".",
    "Tell a short story in which {name} shares {a object} with {a animal}.",
    "Write a short story about {event}. The main character is named {name}.",
    "Write a short story about {a trait} {animal}. It should show that {lesson}.",
    "Tell me a happy story about {a animal} and {a object}.",
    "Write a story about {name}, who makes {a object} for {name2}.",
    "Write a tiny story that starts in the {place} and ends with {a object}.",
    "Tell a story about {a animal} that learns that {lesson}.",
];

/// Dialogue templates.
const DIALOGUES: &[&str] = &[
    "Tell me in simple words why {why}.",
    "Can you explain why {why}?",
    "Please tell me why {why}.",
    "What is {a thing}?",
    "What is {a thing} used for or good for?",
    "Describe {a thing}.",
    "Describe {a thing} to someone who has never seen one.",
    "Where can I see {a thing}, and what does it look like?",
    "How do I {task}?",
    "How can I {task}? Give me one simple tip.",
    "What is the first thing to do if I want to {task}?",
    "What is the difference between {pair}?",
    "Which do you like more, {pair_or}, and why?",
    "I {problem}. What should I do?",
    "I {problem}. Can you give me some advice?",
    "My friend said: \"I {problem}.\" What can I say to help?",
    "Hello! I {news}. How are you?",
    "Hi, my name is {name} and I like {hobby}. What do you like?",
    "I {news}. What should I do next?",
    "It is {weather} today. What can I do?",
    "It is {weather} and I {news}. What do you think?",
    "Do you think {hobby} is a good hobby?",
    "Tell me something nice about {hobby}.",
    "Tell me one simple fact about {topic}.",
    "Ask me one question about {topic}.",
    "What is the best thing about {topic}?",
    "What is {stuff}?",
    "What is {stuff} good for?",
    "Describe {stuff} in simple words.",
    "Say something kind to {name}, who feels {trait}.",
    "Write a short message to {name} about {event}.",
    "Write one sentence with the words \"{thing}\" and \"{place}\".",
    "What would {a trait} {animal} say about {topic}?",
    "Name two things you can find in {a place}.",
    "What can I do with {a object}?",
];

/// Requests for a short reply, put after a story prompt.
const SHORT_STORY: &[&str] = &[
    " Use three short sentences.",
    " Use only simple words and at most four sentences.",
    " Make it three or four sentences long.",
    " Keep it very short, with easy words.",
    " Write only four short sentences.",
    " Tell it in three sentences.",
];

/// Requests for a short reply, put after a dialogue prompt.
const SHORT_REPLY: &[&str] = &[
    " Answer in one sentence.",
    " Answer in two short sentences.",
    " Keep it short.",
    " Use simple words and one or two sentences.",
    " Please be brief.",
    " Answer in a few easy words.",
    " Two sentences are enough.",
];

/// Whether a prompt is among the tenth that is kept for measuring: `bench speculative` asks these, drafters are not trained on them.
pub fn is_for_measuring(prompt: &str) -> bool {
    Sha256::digest(prompt)[0] < 26
}

/// An endless iterator over distinct prompts, the same for the same kind and seed.
///
/// It ends only when no new prompt turns up for a long time, that is when the templates are used up.
pub struct Prompts {
    kind: PromptKind,
    rng: ChaCha8Rng,
    seen: HashSet<String>,
}

impl Prompts {
    /// Prompts of `kind`, drawn with `seed`.
    pub fn new(kind: PromptKind, seed: u64) -> Self {
        Self {
            kind,
            rng: ChaCha8Rng::seed_from_u64(seed),
            seen: HashSet::new(),
        }
    }

    fn draw(&mut self) -> String {
        let stories = match self.kind {
            PromptKind::Stories => true,
            PromptKind::Dialogues => false,
            PromptKind::All => self.rng.random_bool(0.5),
        };
        let (templates, ask) = if stories {
            (STORIES, SHORT_STORY)
        } else {
            (DIALOGUES, SHORT_REPLY)
        };
        let mut text = fill(pick(&mut self.rng, templates), &mut self.rng);
        text.push_str(pick(&mut self.rng, ask));
        text
    }
}

impl Iterator for Prompts {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        for _ in 0..1000 {
            let text = self.draw();
            if self.seen.insert(text.clone()) {
                return Some(text);
            }
        }
        None
    }
}

fn pick<'a>(rng: &mut ChaCha8Rng, list: &[&'a str]) -> &'a str {
    list.choose(rng).copied().unwrap_or_default()
}

/// Replaces each `{slot}` of a template by a random word.
fn fill(template: &str, rng: &mut ChaCha8Rng) -> String {
    let mut out = String::with_capacity(template.len() + 32);
    let mut rest = template;
    while let Some(open) = rest.find('{') {
        let Some(close) = rest[open..].find('}') else {
            break;
        };
        out.push_str(&rest[..open]);
        let slot = &rest[open + 1..open + close];
        match slot.strip_prefix("a ") {
            Some(slot) => out.push_str(&with_article(&word(slot, rng))),
            None => out.push_str(&word(slot, rng)),
        }
        rest = &rest[open + close + 1..];
    }
    out.push_str(rest);
    out
}

fn word(slot: &str, rng: &mut ChaCha8Rng) -> String {
    let list = match slot.trim_end_matches('2') {
        "name" => words::NAMES,
        "animal" => words::ANIMALS,
        "trait" => words::TRAITS,
        "object" => words::OBJECTS,
        "place" => words::PLACES,
        "event" => words::EVENTS,
        "lesson" => words::LESSONS,
        "thing" => words::THINGS,
        "why" => words::WHYS,
        "task" => words::TASKS,
        "problem" => words::PROBLEMS,
        "hobby" => words::HOBBIES,
        "news" => words::NEWS,
        "weather" => words::WEATHER,
        "topic" => words::TOPICS,
        "stuff" => words::STUFF,
        "pair" | "pair_or" => {
            let (left, right) = words::PAIRS[rng.random_range(0..words::PAIRS.len())];
            return if slot == "pair" {
                format!("{left} and {right}")
            } else {
                format!("{left} or {right}")
            };
        }
        _ => &[],
    };
    pick(rng, list).to_owned()
}

fn with_article(word: &str) -> String {
    let vowel = word.starts_with(['a', 'e', 'i', 'o', 'u'])
        && !word.starts_with("uni")
        && !word.starts_with("use");
    format!("{} {word}", if vowel { "an" } else { "a" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_distinct_prompts() {
        let first: Vec<_> = Prompts::new(PromptKind::All, 7).take(5000).collect();
        let second: Vec<_> = Prompts::new(PromptKind::All, 7).take(5000).collect();
        assert_eq!(first, second);
        assert_eq!(first.len(), 5000);
        assert_eq!(first.iter().collect::<HashSet<_>>().len(), 5000);
        assert_ne!(
            first[..20],
            Prompts::new(PromptKind::All, 8)
                .take(20)
                .collect::<Vec<_>>()[..]
        );
    }

    #[test]
    fn each_kind_has_thousands_of_prompts_and_no_open_slot() {
        for kind in [PromptKind::Stories, PromptKind::Dialogues] {
            let prompts: Vec<_> = Prompts::new(kind, 1).take(6000).collect();
            assert_eq!(prompts.len(), 6000);
            for prompt in prompts {
                assert!(
                    !prompt.contains(['{', '}']) && !prompt.contains("  ") && prompt.is_ascii(),
                    "{prompt}"
                );
            }
        }
    }

    #[test]
    fn every_slot_has_words() {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        for template in STORIES.iter().chain(DIALOGUES) {
            for slot in template
                .split('{')
                .skip(1)
                .filter_map(|part| part.split('}').next())
            {
                assert!(
                    !word(slot.trim_start_matches("a "), &mut rng).is_empty(),
                    "{slot} in {template}"
                );
            }
        }
    }

    #[test]
    fn articles_follow_the_sound() {
        assert_eq!(with_article("owl"), "an owl");
        assert_eq!(with_article("red ball"), "a red ball");
        assert_eq!(with_article("uniform"), "a uniform");
    }
}
