//! The examples of a stage, in memory or in mapped shards.

use std::ops::Range;
use std::sync::Arc;

use super::prepared::Shard;
use super::{Example, PreferenceExample};

/// Examples in a fixed order: those held in memory, then those that are read from shards when they are asked for.
#[derive(Debug, Clone, Default)]
pub struct ExampleSet {
    held: Vec<Example>,
    shards: Vec<Arc<Shard>>,
    windows: Vec<Window>,
}

/// Tokens of a shard.
#[derive(Debug, Clone, Copy)]
struct Window {
    start: u64,
    length: u32,
    shard: u32,
}

/// One example of a prepared folder, still in its shard.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Where it is.
    pub shard: Arc<Shard>,
    /// Its tokens.
    pub tokens: Range<usize>,
}

impl ExampleSet {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.held.len() + self.windows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tokens of each.
    pub fn lengths(&self) -> Vec<usize> {
        let held = self.held.iter().map(|example| example.ids.len());
        let stored = self.windows.iter().map(|window| window.length as usize);
        held.chain(stored).collect()
    }

    /// One of them.
    ///
    /// # Errors
    /// When its shard is no longer the file that was opened.
    ///
    /// # Panics
    /// When `index` is not below [`len`](Self::len).
    pub fn get(&self, index: usize) -> anyhow::Result<Example> {
        if let Some(example) = self.held.get(index) {
            return Ok(example.clone());
        }
        let window = self.windows[index - self.held.len()];
        let start = window.start as usize;
        let tokens = start..start + window.length as usize;
        Ok(self.shards[window.shard as usize].example(tokens)?)
    }

    /// Some of them, in the order of `indices`.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_all(&self, indices: &[usize]) -> anyhow::Result<Vec<Example>> {
        indices.iter().map(|index| self.get(*index)).collect()
    }

    /// Adds those of another set.
    pub fn append(&mut self, other: &Self) {
        self.held.extend_from_slice(&other.held);
        for window in &other.windows {
            let start = window.start as usize;
            self.push(Stored {
                shard: Arc::clone(&other.shards[window.shard as usize]),
                tokens: start..start + window.length as usize,
            });
        }
    }

    /// Adds one that is in a shard.
    pub fn push(&mut self, stored: Stored) {
        // The split mixes shards; there are few of them.
        let is_its = |shard: &Arc<Shard>| Arc::ptr_eq(shard, &stored.shard);
        let shard = self.shards.iter().position(is_its).unwrap_or_else(|| {
            self.shards.push(Arc::clone(&stored.shard));
            self.shards.len() - 1
        });
        self.windows.push(Window {
            start: stored.tokens.start as u64,
            length: u32::try_from(stored.tokens.len()).expect("cut to `seq_len`"),
            shard: u32::try_from(shard).expect("shards are files of a folder"),
        });
    }
}

impl From<Vec<Example>> for ExampleSet {
    fn from(held: Vec<Example>) -> Self {
        Self {
            held,
            ..Self::default()
        }
    }
}

impl Extend<Stored> for ExampleSet {
    fn extend<I: IntoIterator<Item = Stored>>(&mut self, stored: I) {
        stored.into_iter().for_each(|stored| self.push(stored));
    }
}

impl Extend<Example> for ExampleSet {
    fn extend<I: IntoIterator<Item = Example>>(&mut self, examples: I) {
        self.held.extend(examples);
    }
}

/// Preference pairs, chosen and rejected in turn.
#[derive(Debug, Clone, Default)]
pub struct PairSet(ExampleSet);

impl PairSet {
    /// How many pairs there are.
    pub fn len(&self) -> usize {
        self.0.len() / 2
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tokens of the longer side of each.
    pub fn lengths(&self) -> Vec<usize> {
        let sides = self.0.lengths();
        sides
            .chunks_exact(2)
            .map(|pair| pair[0].max(pair[1]))
            .collect()
    }

    /// One of them.
    ///
    /// # Errors
    /// As [`ExampleSet::get`].
    pub fn get(&self, index: usize) -> anyhow::Result<PreferenceExample> {
        Ok(PreferenceExample {
            chosen: self.0.get(2 * index)?,
            rejected: self.0.get(2 * index + 1)?,
        })
    }

    /// Adds one that is in shards.
    pub fn push(&mut self, chosen: Stored, rejected: Stored) {
        self.0.push(chosen);
        self.0.push(rejected);
    }
}

impl Extend<PreferenceExample> for PairSet {
    fn extend<I: IntoIterator<Item = PreferenceExample>>(&mut self, pairs: I) {
        let sides = |pair: PreferenceExample| [pair.chosen, pair.rejected];
        self.0.extend(pairs.into_iter().flat_map(sides));
    }
}

impl From<Vec<PreferenceExample>> for PairSet {
    fn from(pairs: Vec<PreferenceExample>) -> Self {
        let mut set = Self::default();
        set.extend(pairs);
        set
    }
}
