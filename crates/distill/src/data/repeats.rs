//! Rows that repeat others, and the side of the split that each prompt is on.

use std::collections::{HashMap, HashSet};

use model::Message;
use sha2::{Digest, Sha256};

use super::split;

/// Hash of turns or tokens, by which they are recognised again.
pub(crate) type Key = [u8; 32];

/// What makes a row the same as another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Name for the split, of the first row with this prompt.
    pub id: String,
    /// What comes before the reply.
    pub prompt: Key,
    /// All of it.
    pub whole: Key,
}

/// Rows that were there before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Repeats {
    /// Equal to an earlier row: left out.
    pub rows: usize,
    /// With the prompt of an earlier row and another reply: kept, on that row's side of the split.
    pub prompts: usize,
}

/// The rows seen so far.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    prompts: HashSet<Key>,
    rows: HashSet<Key>,
    /// Rows that repeat earlier ones.
    pub repeats: Repeats,
}

impl Seen {
    /// Counts a row; `false` when it equals an earlier one.
    pub fn insert(&mut self, prompt: Key, whole: Key) -> bool {
        if !self.rows.insert(whole) {
            self.repeats.rows += 1;
            return false;
        }
        self.repeats.prompts += usize::from(!self.prompts.insert(prompt));
        true
    }
}

/// The split of several files, in which a prompt is on one side, whichever rows and files ask it.
#[derive(Debug, Default)]
pub(crate) struct Sides {
    seen: Seen,
    held_out: HashMap<Key, bool>,
}

impl Sides {
    /// The rows of a file as `(training, held out)`, each once. Prompts of earlier files are where they were put then; the
    /// new ones are split by the id of their first row, as [`split`] does.
    pub fn split<T>(
        &mut self,
        rows: Vec<T>,
        held_out_share: f64,
        identity: impl Fn(&T) -> Identity,
    ) -> (Vec<T>, Vec<T>) {
        let mut first_ids: HashMap<Key, String> = HashMap::new();
        let mut new = Vec::new();
        let (mut known_train, mut known_held_out) = (Vec::new(), Vec::new());
        for row in rows {
            let Identity { id, prompt, whole } = identity(&row);
            if !self.seen.insert(prompt, whole) {
                continue;
            }
            match self.held_out.get(&prompt) {
                Some(true) => known_held_out.push(row),
                Some(false) => known_train.push(row),
                None => {
                    let id = first_ids.entry(prompt).or_insert(id).clone();
                    new.push((id, prompt, row));
                }
            }
        }
        let (train, held_out) = split(new, held_out_share, |(id, ..)| id.clone());
        let mut place = |rows: Vec<(String, Key, T)>, is_held_out: bool| {
            let rows = rows.into_iter().map(|(_, prompt, row)| {
                self.held_out.insert(prompt, is_held_out);
                row
            });
            rows.collect::<Vec<_>>()
        };
        let (mut train, mut held_out) = (place(train, false), place(held_out, true));
        train.extend(known_train);
        held_out.extend(known_held_out);
        (train, held_out)
    }

    /// Whether a prompt is held out.
    pub fn is_held_out(&self, prompt: &Key) -> bool {
        self.held_out.get(prompt) == Some(&true)
    }

    /// Rows that repeat others, of all files.
    pub fn repeats(&self) -> Repeats {
        self.seen.repeats
    }
}

impl std::fmt::Display for Repeats {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} repeated; {} with the prompt of another row, on the same side of the split",
            self.rows, self.prompts
        )
    }
}

/// Key of turns.
pub(crate) fn key_of_turns<'a>(turns: impl IntoIterator<Item = &'a Message>) -> Key {
    let mut hash = Sha256::new();
    for turn in turns {
        for part in [turn.role.name(), &turn.content] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
    }
    hash.finalize().into()
}

/// Key of tokens.
pub(crate) fn key_of_tokens(ids: impl IntoIterator<Item = u32>) -> Key {
    let mut hash = Sha256::new();
    ids.into_iter().for_each(|id| hash.update(id.to_le_bytes()));
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows `prompt/reply`, named by their place.
    fn split_of(sides: &mut Sides, rows: &[String]) -> (Vec<String>, Vec<String>) {
        let rows: Vec<(usize, String)> = rows.iter().cloned().enumerate().collect();
        let key = |text: &str| key_of_turns([&Message::user(text)]);
        let (train, held_out) = sides.split(rows, 0.25, |(index, row)| Identity {
            id: index.to_string(),
            prompt: key(row.split('/').next().expect("a prompt")),
            whole: key(row),
        });
        let strip = |rows: Vec<(usize, String)>| rows.into_iter().map(|(_, row)| row).collect();
        (strip(train), strip(held_out))
    }

    fn prompts(rows: &[String]) -> HashSet<&str> {
        let prompts = rows.iter().map(|row| row.split('/').next().expect("one"));
        prompts.collect()
    }

    #[test]
    fn no_prompt_is_on_both_sides_in_one_file_or_over_files() {
        let mut sides = Sides::default();
        // Every third prompt has a second reply, every fourth row is there twice.
        let rows: Vec<String> = (0..60)
            .flat_map(|i| {
                let mut rows = vec![format!("p{i}/a")];
                rows.extend((i % 3 == 0).then(|| format!("p{i}/b")));
                rows.extend((i % 4 == 0).then(|| format!("p{i}/a")));
                rows
            })
            .collect();
        let (train, held_out) = split_of(&mut sides, &rows);
        assert_eq!((train.len() + held_out.len(), rows.len()), (80, 95));
        assert_eq!(
            sides.repeats(),
            Repeats {
                rows: 15,
                prompts: 20
            }
        );
        assert!(prompts(&train).is_disjoint(&prompts(&held_out)));
        assert_eq!(prompts(&held_out).len(), 15);

        let other: Vec<String> = (50..100).map(|i| format!("p{i}/c")).collect();
        let (train_2, held_out_2) = split_of(&mut sides, &other);
        assert_eq!(train_2.len() + held_out_2.len(), 50);
        let train = [train, train_2].concat();
        let held_out = [held_out, held_out_2].concat();
        assert!(prompts(&train).is_disjoint(&prompts(&held_out)));
        // A quarter of the 40 new ones, beside those that were known.
        assert_eq!(prompts(&held_out).len(), 15 + 10);
        let held = |prompt: &str| sides.is_held_out(&key_of_turns([&Message::user(prompt)]));
        assert!((0..100).all(|i| {
            let prompt = format!("p{i}");
            held(&prompt) == prompts(&held_out).contains(prompt.as_str())
        }));
    }

    #[test]
    fn rows_without_repeats_are_split_as_before() {
        let rows: Vec<String> = (0..40).map(|i| format!("p{i}/a")).collect();
        let plain = split((0..40).collect(), 0.25, |i: &usize| i.to_string());
        let named = |ids: Vec<usize>| ids.into_iter().map(|i| rows[i].clone()).collect();
        let plain: (Vec<String>, Vec<String>) = (named(plain.0), named(plain.1));
        assert_eq!(split_of(&mut Sides::default(), &rows), plain);
    }

    #[test]
    fn keys_tell_turns_apart_wherever_their_border_is() {
        let turns = |turns: &[(&str, bool)]| {
            let turns = turns.iter().map(|(text, is_user)| match is_user {
                true => Message::user(*text),
                false => Message::assistant(*text),
            });
            key_of_turns(&turns.collect::<Vec<_>>())
        };
        let keys = [
            turns(&[("ab", true), ("c", false)]),
            turns(&[("a", true), ("bc", false)]),
            turns(&[("ab", false), ("c", true)]),
            turns(&[("ab", true)]),
        ];
        assert_eq!(keys.iter().collect::<HashSet<_>>().len(), 4);
    }
}
