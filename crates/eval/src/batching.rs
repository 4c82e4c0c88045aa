//! Sequences of like length together, so that little is padded.

/// How much runs through a model at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// Most sequences.
    pub rows: usize,
    /// Most tokens, padding included; a longer sequence runs alone.
    pub tokens: usize,
    /// Lengths are rounded up to a multiple of it: a GPU compiles and tunes for each new shape.
    pub pad_to: usize,
}

impl BatchLimits {
    /// For a CPU: no padding beyond the longest sequence of a batch.
    pub const HOST: Self = Self {
        rows: 64,
        tokens: 4096,
        pad_to: 1,
    };
    /// For a GPU.
    pub const DEVICE: Self = Self {
        rows: 256,
        tokens: 32_768,
        pad_to: 64,
    };

    /// Length that a batch is padded to whose longest sequence has `length` tokens.
    pub(crate) fn padded(&self, length: usize) -> usize {
        length.next_multiple_of(self.pad_to.max(1))
    }

    /// Indices of all sequences in batches, from the shortest to the longest; the last index of a batch is its longest.
    pub(crate) fn batches(&self, lengths: &[usize]) -> Vec<Vec<usize>> {
        let mut order: Vec<usize> = (0..lengths.len()).collect();
        order.sort_by_key(|index| lengths[*index]);
        let mut batches: Vec<Vec<usize>> = Vec::new();
        for index in order {
            let fits = |batch: &&mut Vec<usize>| {
                let rows = batch.len() + 1;
                rows <= self.rows && rows * self.padded(lengths[index]) <= self.tokens
            };
            match batches.last_mut().filter(fits) {
                Some(batch) => batch.push(index),
                None => batches.push(vec![index]),
            }
        }
        batches
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sequence_is_in_one_batch_within_the_limits() {
        let lengths = [5, 900, 17, 17, 64, 3, 500, 1, 130];
        let limits = BatchLimits {
            rows: 3,
            tokens: 200,
            pad_to: 16,
        };
        let batches = limits.batches(&lengths);
        let mut seen: Vec<usize> = batches.concat();
        let by_length: Vec<usize> = seen.iter().map(|index| lengths[*index]).collect();
        assert!(by_length.is_sorted());
        seen.sort_unstable();
        assert_eq!(seen, (0..lengths.len()).collect::<Vec<_>>());
        for batch in &batches {
            let longest = lengths[batch[batch.len() - 1]];
            assert!(batch.len() <= 3);
            assert!(batch.len() == 1 || batch.len() * limits.padded(longest) <= 200);
        }
    }
}
