//! Copying: a list of words, to be said again in order.
use rand::Rng;
use rand_chacha::ChaCha12Rng;

use super::words::{ANIMALS, NAMES, OBJECTS};
use super::{SyntheticTask, TaskKind, distinct, pick, two_of};

const REQUESTS: [&str; 4] = [
    "Repeat this list:",
    "Say these words again:",
    "Copy these words:",
    "Write this list again:",
];

/// `n_words` different words; the distractor has two of them swapped.
pub(super) fn draw(n_words: usize, rng: &mut ChaCha12Rng) -> SyntheticTask {
    let list: &[&str] = match rng.random_range(0..4) {
        0 => &NAMES,
        1 => &ANIMALS,
        _ => &OBJECTS,
    };
    let words = distinct(list, n_words, rng);
    let (first, second) = two_of(n_words, rng);
    let mut swapped = words.clone();
    swapped.swap(first, second);
    SyntheticTask {
        kind: TaskKind::Copy,
        prompt: format!("{} {}.", pick(&REQUESTS, rng), words.join(", ")),
        answer: format!("The list is {}.", words.join(", ")),
        distractor: format!("The list is {}.", swapped.join(", ")),
        n_pairs: n_words,
    }
}
