//! Multi-query associative recall: key-value pairs, then the value of one key.
use rand::Rng;
use rand_chacha::ChaCha12Rng;

use super::words::{ANIMALS, NAMES, OBJECTS};
use super::{SyntheticTask, TaskKind, distinct, pick, two_of};

const OPENINGS: [&str; 4] = [
    "Remember these pairs:",
    "Here is a list:",
    "Read this list:",
    "Keep these pairs in mind:",
];
const QUESTIONS: [&str; 4] = [
    "What goes with KEY?",
    "Which word belongs to KEY?",
    "What is the value of KEY?",
    "What was given for KEY?",
];

/// `n_pairs` pairs with different keys and different values; the distractor is the value of another key.
pub(super) fn draw(n_pairs: usize, rng: &mut ChaCha12Rng) -> SyntheticTask {
    let keys = distinct(
        if rng.random_bool(0.6) {
            &NAMES
        } else {
            &ANIMALS
        },
        n_pairs,
        rng,
    );
    let values: Vec<String> = if rng.random_bool(0.75) {
        distinct(&OBJECTS, n_pairs, rng)
            .into_iter()
            .map(str::to_owned)
            .collect()
    } else {
        let numbers = rand::seq::index::sample(rng, 90, n_pairs);
        numbers
            .iter()
            .map(|number| (number + 10).to_string())
            .collect()
    };
    let pairs: Vec<String> = keys
        .iter()
        .zip(&values)
        .map(|(key, value)| format!("{key}: {value}"))
        .collect();
    let (asked, other) = two_of(n_pairs, rng);
    let question = pick(&QUESTIONS, rng).replace("KEY", keys[asked]);
    SyntheticTask {
        kind: TaskKind::Recall,
        prompt: format!("{} {}. {question}", pick(&OPENINGS, rng), pairs.join(", ")),
        answer: format!("The answer is {}.", values[asked]),
        distractor: format!("The answer is {}.", values[other]),
        n_pairs,
    }
}
