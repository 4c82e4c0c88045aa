//! Seeded chat tasks that cannot be solved without looking back: associative recall, copying, look-up in a passage.
//!
//! [`task`] is a pure function of seed, index and mix, so a data set needs no file. Whether a task may be trained on
//! is decided by its own prompt ([`Split`]): a held-out task is never made by the training split, whatever the seeds.
mod copy;
mod distance;
mod lookup;
mod recall;
mod words;

use rand::Rng;
use rand::SeedableRng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha12Rng;
use serde::{Deserialize, Serialize};

pub use distance::{DistanceOptions, DistanceScore, by_distance};

/// What a task asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TaskKind {
    /// Pairs of a key and a value, then the value of one key.
    Recall,
    /// A list of words, to be said again in order.
    Copy,
    /// Sentences about people and things, then one of the facts.
    Lookup,
}

impl TaskKind {
    /// All kinds, in the order of reports.
    pub const ALL: [Self; 3] = [Self::Recall, Self::Copy, Self::Lookup];

    /// The name in recipes, logs and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Recall => "recall",
            Self::Copy => "copy",
            Self::Lookup => "lookup",
        }
    }
}

impl std::fmt::Display for TaskKind {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.pad(self.name())
    }
}

/// Which half of all possible tasks is drawn from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// Tasks to train on: 7 of 8.
    #[default]
    Train,
    /// Tasks to measure with: 1 of 8, chosen by a hash of the prompt.
    HeldOut,
}

/// How often each kind occurs and how long the tasks are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TaskMix {
    /// Weight of [`TaskKind::Recall`]; only the proportions matter.
    pub recall: f64,
    /// Weight of [`TaskKind::Copy`].
    pub copy: f64,
    /// Weight of [`TaskKind::Lookup`].
    pub lookup: f64,
    /// Fewest pairs, words or facts; at least 2 are used.
    pub min_pairs: usize,
    /// Most pairs, words or facts; at most 32 are used.
    pub max_pairs: usize,
    /// Which tasks are drawn.
    pub split: Split,
}

impl Default for TaskMix {
    /// Half recall, a quarter each of the others, 2 to 6 pairs, the training split.
    fn default() -> Self {
        Self {
            recall: 0.5,
            copy: 0.25,
            lookup: 0.25,
            min_pairs: 2,
            max_pairs: 6,
            split: Split::Train,
        }
    }
}

impl TaskMix {
    /// Tasks of one kind with exactly `n_pairs` pairs, of the training split.
    pub fn only(kind: TaskKind, n_pairs: usize) -> Self {
        let weight = |other| f64::from(u8::from(kind == other));
        Self {
            recall: weight(TaskKind::Recall),
            copy: weight(TaskKind::Copy),
            lookup: weight(TaskKind::Lookup),
            min_pairs: n_pairs,
            max_pairs: n_pairs,
            split: Split::Train,
        }
    }

    /// The same mix, drawn from the tasks that are never trained on.
    pub fn held_out(&self) -> Self {
        Self {
            split: Split::HeldOut,
            ..self.clone()
        }
    }

    /// A kind by the weights; recall when no weight is positive.
    fn kind(&self, rng: &mut ChaCha12Rng) -> TaskKind {
        let weights = [self.recall, self.copy, self.lookup].map(|weight| weight.max(0.0));
        let mut left = rng.random::<f64>() * weights.iter().sum::<f64>();
        for (kind, weight) in TaskKind::ALL.into_iter().zip(weights) {
            if left < weight {
                return kind;
            }
            left -= weight;
        }
        TaskKind::Recall
    }
}

/// One task: a user turn, the only right assistant turn, and a tempting wrong one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyntheticTask {
    /// What is asked for.
    pub kind: TaskKind,
    /// User turn.
    pub prompt: String,
    /// Assistant turn; its value stands in the prompt.
    pub answer: String,
    /// Wrong assistant turn of the same form, made of values that stand in the prompt too.
    pub distractor: String,
    /// Pairs, words or facts in the prompt.
    pub n_pairs: usize,
}

/// The task number `index` of `seed`: the same arguments give the same task on every machine.
///
/// Kinds and lengths are drawn from `mix`; draws that belong to the other split are thrown away.
pub fn task(seed: u64, index: u64, mix: &TaskMix) -> SyntheticTask {
    let mut rng = ChaCha12Rng::seed_from_u64(seed);
    rng.set_stream(index);
    let low = mix.min_pairs.clamp(2, 32);
    let high = mix.max_pairs.clamp(low, 32);
    // Kind and length are drawn before the split is looked at, so both splits have the same proportions.
    let kind = mix.kind(&mut rng);
    let n_pairs = rng.random_range(low..=high);
    loop {
        let task = match kind {
            TaskKind::Recall => recall::draw(n_pairs, &mut rng),
            TaskKind::Copy => copy::draw(n_pairs, &mut rng),
            TaskKind::Lookup => lookup::draw(n_pairs, &mut rng),
        };
        if split_of(&task.prompt) == mix.split {
            return task;
        }
    }
}

/// The first `count` tasks of `seed`.
pub fn tasks(seed: u64, count: usize, mix: &TaskMix) -> Vec<SyntheticTask> {
    (0..count as u64)
        .map(|index| task(seed, index, mix))
        .collect()
}

/// The split a prompt belongs to: FNV-1a of its bytes, folded, modulo 8.
fn split_of(prompt: &str) -> Split {
    let hash = prompt
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    if (hash ^ (hash >> 32)).is_multiple_of(8) {
        Split::HeldOut
    } else {
        Split::Train
    }
}

/// `count` different entries of `list`, in random order.
fn distinct<'a>(list: &[&'a str], count: usize, rng: &mut ChaCha12Rng) -> Vec<&'a str> {
    use rand::seq::SliceRandom;
    let mut chosen: Vec<&str> = list.choose_multiple(rng, count).copied().collect();
    chosen.shuffle(rng);
    chosen
}

/// One entry of a list that is never empty.
fn pick<'a>(list: &[&'a str], rng: &mut ChaCha12Rng) -> &'a str {
    list.choose(rng).copied().unwrap_or_default()
}

/// Two different positions below `count`, which is at least 2.
fn two_of(count: usize, rng: &mut ChaCha12Rng) -> (usize, usize) {
    let first = rng.random_range(0..count);
    let second = (first + rng.random_range(1..count)) % count;
    (first, second)
}

#[cfg(test)]
mod tests;
