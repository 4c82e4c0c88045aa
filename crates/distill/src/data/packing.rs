//! Several documents to a row of fixed length.

use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

/// Documents of the given lengths packed into rows of at most `seq_len` tokens, as indices in the order in which they stand
/// in the row.
///
/// First fit over a shuffled order: each document goes into the first row that has room for it, uncut. Every document is in
/// exactly one row; equal seeds give equal rows.
///
/// # Panics
/// When a document is longer than `seq_len`: examples are cut to it when they are read.
pub fn pack(lengths: &[usize], seq_len: usize, seed: u64) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    let mut room = Room::new(lengths.len(), seq_len);
    let mut rows: Vec<Vec<usize>> = Vec::new();
    for index in order {
        let length = lengths[index];
        assert!(
            length <= seq_len,
            "document {index} of {length} tokens is longer than a row of {seq_len}"
        );
        let row = room.take_first(length);
        if row == rows.len() {
            rows.push(Vec::new());
        }
        rows[row].push(index);
    }
    rows
}

/// Free tokens of rows, as a tree of maxima: the first row with enough room is found in logarithmic time.
struct Room {
    /// Node `i` has the children `2 i` and `2 i + 1`; the rows are the last half
    most: Vec<usize>,
}

impl Room {
    fn new(rows: usize, seq_len: usize) -> Self {
        Self {
            most: vec![seq_len; 2 * rows.next_power_of_two()],
        }
    }

    /// Takes `length` tokens from the first row that has them. There must be one.
    fn take_first(&mut self, length: usize) -> usize {
        let leaves = self.most.len() / 2;
        let mut node = 1;
        while node < leaves {
            node *= 2;
            if self.most[node] < length {
                node += 1;
            }
        }
        let row = node - leaves;
        self.most[node] -= length;
        while node > 1 {
            node /= 2;
            self.most[node] = self.most[2 * node].max(self.most[2 * node + 1]);
        }
        row
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// First fit as it is defined, row after row.
    fn first_fit(lengths: &[usize], seq_len: usize, order: &[usize]) -> Vec<Vec<usize>> {
        let mut rows: Vec<Vec<usize>> = Vec::new();
        for index in order {
            let used = |row: &Vec<usize>| row.iter().map(|i| lengths[*i]).sum::<usize>();
            match rows
                .iter()
                .position(|row| used(row) + lengths[*index] <= seq_len)
            {
                Some(row) => rows[row].push(*index),
                None => rows.push(vec![*index]),
            }
        }
        rows
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_document_is_in_one_row_and_no_row_is_too_long(
            lengths in proptest::collection::vec(1_usize..=50, 0..200),
            seed: u64,
        ) {
            let rows = pack(&lengths, 50, seed);
            let mut seen: Vec<usize> = rows.iter().flatten().copied().collect();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..lengths.len()).collect::<Vec<_>>());
            for row in &rows {
                prop_assert!((1..=50).contains(&row.iter().map(|i| lengths[*i]).sum::<usize>()));
            }
            prop_assert_eq!(&rows, &pack(&lengths, 50, seed));
            let mut order: Vec<usize> = (0..lengths.len()).collect();
            order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
            prop_assert_eq!(rows, first_fit(&lengths, 50, &order));
        }
    }

    #[test]
    fn another_seed_packs_otherwise() {
        let lengths: Vec<usize> = (0..100).map(|i| 3 + i % 17).collect();
        assert_ne!(pack(&lengths, 50, 1), pack(&lengths, 50, 2));
    }
}
