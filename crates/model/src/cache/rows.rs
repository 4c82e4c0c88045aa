//! How many tokens each sequence of a cache has, and how many of them may still be dropped.

/// Tokens of each sequence of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rows {
    /// Tokens of each sequence before the last call
    before: Vec<usize>,
    /// Tokens of the last call if they may still be dropped, else 0
    open: usize,
    /// How many of these each sequence keeps
    kept: Vec<usize>,
}

impl Rows {
    pub(super) fn new(batch: usize) -> Self {
        Self::settled(vec![0; batch])
    }

    /// Tokens of each sequence, without those dropped.
    pub(super) fn lens(&self) -> Vec<usize> {
        let pairs = self.before.iter().zip(&self.kept);
        pairs.map(|(before, kept)| before + kept).collect()
    }

    /// Tokens of the longest sequence.
    pub(super) fn longest(&self) -> usize {
        self.lens().into_iter().max().unwrap_or(0)
    }

    pub(super) fn kept(&self) -> &[usize] {
        &self.kept
    }

    /// Whether no token of the last call was dropped.
    pub(super) fn keeps_all(&self) -> bool {
        self.kept.iter().all(|kept| *kept == self.open)
    }

    /// Adds `seq` tokens to each sequence, of which the last may be dropped if they are `open`.
    pub(super) fn advance(&mut self, seq: usize, open: bool) {
        self.before = self.lens();
        self.open = if open { seq } else { 0 };
        self.kept.fill(self.open);
        if !open {
            self.before.iter_mut().for_each(|before| *before += seq);
        }
    }

    /// Appends the sequences of `other`; no token of either may be dropped any more.
    pub(super) fn append(&mut self, other: &Self) {
        let lens = [self.lens(), other.lens()].concat();
        *self = Self::settled(lens);
    }

    /// Keeps the sequences at `indices`, in that order; none of their tokens may be dropped any more.
    pub(super) fn select(&mut self, indices: &[usize]) {
        let lens = self.lens();
        *self = Self::settled(indices.iter().map(|index| lens[*index]).collect());
    }

    fn settled(before: Vec<usize>) -> Self {
        Self {
            open: 0,
            kept: vec![0; before.len()],
            before,
        }
    }

    /// # Panics
    /// If there is not one count a sequence, or one is above the tokens of the last call.
    pub(super) fn keep(&mut self, counts: &[usize]) {
        assert_eq!(counts.len(), self.kept.len(), "one count for each sequence");
        assert!(
            counts.iter().all(|count| *count <= self.open),
            "{counts:?} tokens kept of a call with {}",
            self.open
        );
        self.kept.copy_from_slice(counts);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tokens_of_an_open_call_can_be_dropped() {
        let mut rows = Rows::new(2);
        rows.advance(5, false);
        assert_eq!((rows.lens(), rows.keeps_all()), (vec![5, 5], true));
        rows.advance(3, true);
        assert_eq!(rows.lens(), [8, 8]);
        rows.keep(&[3, 1]);
        assert_eq!((rows.lens(), rows.keeps_all()), (vec![8, 6], false));
        rows.keep(&[0, 2]);
        assert_eq!((rows.lens(), rows.longest()), (vec![5, 7], 7));
        rows.advance(1, false);
        assert_eq!((rows.lens(), rows.keeps_all()), (vec![6, 8], true));
        assert_eq!(rows.kept(), [0, 0]);
    }

    #[test]
    fn sequences_are_appended_and_selected_with_what_they_kept() {
        let mut rows = Rows::new(2);
        rows.advance(5, false);
        rows.advance(3, true);
        rows.keep(&[3, 1]);
        let mut others = Rows::new(1);
        others.advance(2, false);
        rows.append(&others);
        assert_eq!((rows.lens(), rows.keeps_all()), (vec![8, 6, 2], true));
        rows.select(&[2, 0]);
        rows.advance(1, false);
        assert_eq!(rows.lens(), [3, 9]);
    }

    #[test]
    #[should_panic(expected = "[1] tokens kept of a call with 0")]
    fn settled_tokens_stay() {
        let mut rows = Rows::new(1);
        rows.advance(4, false);
        rows.keep(&[1]);
    }
}
