//! Examples as rows of tokens: one a row, padded on the right, or several, packed.

use burn::backend::Autodiff;
use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, TensorData};
use kernels::SsmBackend;
use model::{Documents, HybridModel, TrainingPass};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use super::Example;

/// Rows of equal length, padded on the right, on the host.
///
/// Padding is token 0 and no target. It stands after every real token, and all mixers are causal, so it changes nothing
/// before it (method, section 2.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    seq: usize,
    tokens: Vec<i32>,
    targets: Vec<bool>,
    /// Tokens of each row that are not padding
    row_tokens: Vec<usize>,
    /// Lengths of the documents of each row, which are kept apart; padding is the last one
    documents: Option<Vec<Vec<usize>>>,
}

/// Batch lengths are rounded up to this, so that a GPU meets few distinct shapes.
const SEQ_GRID: usize = 16;

/// Padded length of a batch, tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowLength {
    /// The longest example, rounded up to 16, but not beyond the limit.
    UpTo(usize),
    /// Always the same: one set of shapes to compile and tune on a GPU.
    Exactly(usize),
}

impl Batch {
    /// Pads `examples`, one a row, to `length`, or to the longest of them where that is longer.
    pub fn new<'a>(examples: impl IntoIterator<Item = &'a Example>, length: RowLength) -> Self {
        let rows: Vec<_> = examples.into_iter().map(|example| [example]).collect();
        Self::concatenated(&rows, length)
    }

    /// Rows of `seq_len` tokens with the given documents, which see nothing of each other: the first token of each is no
    /// target.
    pub fn packed(rows: &[Vec<&Example>], seq_len: usize) -> Self {
        let mut batch = Self::concatenated(rows, RowLength::Exactly(seq_len));
        let mut documents = Vec::with_capacity(rows.len());
        for (row, examples) in rows.iter().enumerate() {
            let mut lengths: Vec<usize> =
                examples.iter().map(|example| example.ids.len()).collect();
            let mut start = row * batch.seq;
            for length in &lengths {
                batch.targets[start] = false;
                start += length;
            }
            let padding = (row + 1) * batch.seq - start;
            lengths.extend((padding > 0).then_some(padding));
            documents.push(lengths);
        }
        batch.documents = Some(documents);
        batch
    }

    /// Rows of `seq_len` tokens with the given documents one after another, as if each row were a single one (published,
    /// method 4.4).
    pub fn packed_without_boundaries(rows: &[Vec<&Example>], seq_len: usize) -> Self {
        Self::concatenated(rows, RowLength::Exactly(seq_len))
    }

    fn concatenated<'a>(rows: &[impl AsRef<[&'a Example]>], length: RowLength) -> Self {
        let row_tokens = |row: &[&Example]| row.iter().map(|example| example.ids.len()).sum();
        let longest = rows
            .iter()
            .map(|row| row_tokens(row.as_ref()))
            .max()
            .unwrap_or(0);
        let seq = match length {
            RowLength::UpTo(limit) => longest.next_multiple_of(SEQ_GRID).min(limit),
            RowLength::Exactly(seq) => seq,
        }
        .max(longest);
        let mut batch = Self {
            seq,
            tokens: vec![0; seq * rows.len()],
            targets: vec![false; seq * rows.len()],
            row_tokens: vec![0; rows.len()],
            documents: None,
        };
        for (row, examples) in rows.iter().enumerate() {
            let mut start = row * seq;
            for example in examples.as_ref() {
                for (t, (id, target)) in example.ids.iter().zip(&example.targets).enumerate() {
                    batch.tokens[start + t] = *id as i32;
                    batch.targets[start + t] = *target;
                }
                start += example.ids.len();
                batch.row_tokens[row] += example.ids.len();
            }
        }
        batch
    }

    /// Some of the rows as a batch of their own, padded as they are here.
    pub fn part(&self, rows: impl IntoIterator<Item = usize>) -> Self {
        let mut part = Self {
            seq: self.seq,
            tokens: Vec::new(),
            targets: Vec::new(),
            row_tokens: Vec::new(),
            documents: self.documents.is_some().then(Vec::new),
        };
        for row in rows {
            let places = row * self.seq..(row + 1) * self.seq;
            part.tokens.extend_from_slice(&self.tokens[places.clone()]);
            part.targets.extend_from_slice(&self.targets[places]);
            part.row_tokens.push(self.row_tokens[row]);
            if let (Some(into), Some(from)) = (&mut part.documents, &self.documents) {
                into.push(from[row].clone());
            }
        }
        part
    }

    /// Sequences.
    pub fn rows(&self) -> usize {
        self.row_tokens.len()
    }

    /// Padded length.
    pub fn seq(&self) -> usize {
        self.seq
    }

    /// Tokens that are not padding.
    pub fn real_tokens(&self) -> usize {
        self.row_tokens.iter().sum()
    }

    /// The token at `t` of `row`.
    pub fn token(&self, row: usize, t: usize) -> i32 {
        self.tokens[row * self.seq + t]
    }

    /// Whether the token at `t` of `row` is a target.
    pub fn is_target(&self, row: usize, t: usize) -> bool {
        self.targets[row * self.seq + t]
    }

    /// Targets with a token before them.
    pub fn target_count(&self) -> usize {
        (0..self.rows())
            .map(|row| (1..self.seq).filter(|t| self.is_target(row, *t)).count())
            .sum()
    }

    /// Token ids, `[batch, seq]`.
    pub fn tokens<B: Backend>(&self, device: &B::Device) -> Tensor<B, 2, Int> {
        Tensor::from_data(
            TensorData::new(self.tokens.clone(), [self.rows(), self.seq]),
            device,
        )
    }

    /// Hidden states of the batch under `model`, `[batch, seq, d_model]`; packed documents are kept apart.
    pub fn hidden<B: SsmBackend>(
        &self,
        model: &HybridModel<B>,
        device: &B::Device,
    ) -> Tensor<B, 3> {
        model.hidden_packed(self.tokens(device), self.documents(device).as_ref())
    }

    /// As [`Batch::hidden`] for a student in training, with what its backward pass needs beside the tape.
    pub fn training_pass<B: SsmBackend>(
        &self,
        student: &HybridModel<Autodiff<B>>,
        device: &B::Device,
    ) -> TrainingPass<B> {
        student.training_pass(self.tokens(device), self.documents(device))
    }

    /// Where packed documents start; none where a row is one sequence.
    pub fn documents<B: Backend>(&self, device: &B::Device) -> Option<Documents<B>> {
        let documents = self.documents.as_ref()?;
        let documents = Documents::from_lengths(documents, device);
        Some(documents.expect("no example is empty, and padding fills every row to `seq`"))
    }
}

/// Endless order of micro-batches: sequences of like length together, batches shuffled, a new shuffle each pass.
///
/// Equal seeds give equal orders; a pass takes each example once (the last, short batch is filled up from the pass's start).
#[derive(Debug, Clone)]
pub struct BatchOrder {
    lengths: Vec<usize>,
    batch_size: usize,
    rng: ChaCha8Rng,
    pending: Vec<Vec<usize>>,
    pass_start: u64,
}

/// Where a [`BatchOrder`] stands: what is pending follows from where its pass started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderPosition {
    /// Random numbers drawn before the pass under way, 32-bit words.
    pub pass_start: u64,
    /// Micro-batches of that pass that are still to come.
    pub pending: usize,
}

/// Batches among which sequences are sorted by length: enough to save padding, few enough to keep the order random.
const BATCHES_IN_BUCKET: usize = 16;

impl BatchOrder {
    /// Order over examples of the given lengths.
    pub fn new(lengths: Vec<usize>, batch_size: usize, seed: u64) -> Self {
        Self {
            lengths,
            batch_size: batch_size.max(1),
            rng: ChaCha8Rng::seed_from_u64(seed),
            pending: Vec::new(),
            pass_start: 0,
        }
    }

    /// Where the order stands.
    pub fn position(&self) -> OrderPosition {
        let pending = self.pending.len();
        OrderPosition {
            pass_start: if pending > 0 {
                self.pass_start
            } else {
                self.drawn()
            },
            pending,
        }
    }

    /// Goes to where an order over the same examples with the same seed stood.
    pub fn seek(&mut self, position: OrderPosition) {
        self.rng.set_word_pos(position.pass_start.into());
        self.pass_start = position.pass_start;
        self.pending.clear();
        if position.pending > 0 {
            self.refill();
            self.pending.truncate(position.pending);
        }
    }

    /// Indices of the next micro-batch; empty when there are no examples.
    pub fn next_batch(&mut self) -> Vec<usize> {
        if self.pending.is_empty() && !self.lengths.is_empty() {
            self.refill();
        }
        self.pending.pop().unwrap_or_default()
    }

    fn refill(&mut self) {
        self.pass_start = self.drawn();
        let mut order: Vec<usize> = (0..self.lengths.len()).collect();
        order.shuffle(&mut self.rng);
        let short = order.len().next_multiple_of(self.batch_size) - order.len();
        for filler in 0..short {
            order.push(order[filler % self.lengths.len()]);
        }
        for bucket in order.chunks_mut(self.batch_size * BATCHES_IN_BUCKET) {
            bucket.sort_by_key(|index| self.lengths[*index]);
        }
        self.pending = order
            .chunks(self.batch_size)
            .map(<[usize]>::to_vec)
            .collect();
        self.pending.shuffle(&mut self.rng);
    }

    /// Random numbers drawn, 32-bit words.
    fn drawn(&self) -> u64 {
        u64::try_from(self.rng.get_word_pos()).expect("no run shuffles that often")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(length: usize) -> Example {
        Example {
            ids: (1..=length as u32).collect(),
            targets: (0..length).map(|t| t >= 2).collect(),
        }
    }

    #[test]
    fn rows_are_padded_on_the_right_without_targets() {
        let (short, long) = (example(3), example(5));
        let batch = Batch::new([&short, &long], RowLength::UpTo(5));
        assert_eq!((batch.rows(), batch.seq(), batch.real_tokens()), (2, 5, 8));
        assert_eq!(
            (0..5).map(|t| batch.token(0, t)).collect::<Vec<_>>(),
            [1, 2, 3, 0, 0]
        );
        assert_eq!(
            (0..5).map(|t| batch.is_target(0, t)).collect::<Vec<_>>(),
            [false, false, true, false, false]
        );
        assert_eq!(batch.target_count(), 1 + 3);
        assert_eq!(Batch::new([&short, &long], RowLength::UpTo(64)).seq(), 16);
        assert_eq!(
            Batch::new([&short, &long], RowLength::Exactly(64)).seq(),
            64
        );
    }

    #[test]
    fn parts_keep_the_rows_as_they_are() {
        let (short, long) = (example(3), example(5));
        let rows = [vec![&short], vec![&long], vec![&short, &long]];
        for batch in [
            Batch::packed(&rows, 9),
            Batch::packed_without_boundaries(&rows, 9),
        ] {
            let parts = [batch.part(0..1), batch.part([1, 2])];
            let sum = |of: fn(&Batch) -> usize| parts.iter().map(of).sum::<usize>();
            assert_eq!(sum(Batch::rows), batch.rows());
            assert_eq!(sum(Batch::real_tokens), batch.real_tokens());
            assert_eq!(sum(Batch::target_count), batch.target_count());
            assert_eq!(parts[0].seq(), batch.seq(), "padding counts in some losses");
            let of_part = |row, t| (parts[1].token(row, t), parts[1].is_target(row, t));
            let of_whole = |row, t| (batch.token(row, t), batch.is_target(row, t));
            for (row, t) in (0..2).flat_map(|row| (0..9).map(move |t| (row, t))) {
                assert_eq!(of_part(row, t), of_whole(row + 1, t));
            }
            assert_eq!(batch.part(0..3), batch);
        }
    }

    #[test]
    fn packed_rows_hold_documents_one_after_another_and_no_target_at_a_start() {
        let (text, chat) = (
            Example {
                ids: vec![7, 8],
                targets: vec![true; 2],
            },
            example(3),
        );
        let rows = [vec![&chat, &text], vec![&text]];
        let exact = Batch::packed(&rows, 6);
        let leaking = Batch::packed_without_boundaries(&rows, 6);
        for batch in [&exact, &leaking] {
            assert_eq!((batch.rows(), batch.seq(), batch.real_tokens()), (2, 6, 7));
            let tokens: Vec<_> = (0..6).map(|t| batch.token(0, t)).collect();
            assert_eq!(tokens, [1, 2, 3, 7, 8, 0]);
        }
        let targets =
            |batch: &Batch, row| (0..6).map(|t| batch.is_target(row, t)).collect::<Vec<_>>();
        let (yes, no) = (true, false);
        assert_eq!(targets(&exact, 0), [no, no, yes, no, yes, no]);
        assert_eq!(targets(&exact, 1), [no, yes, no, no, no, no]);
        assert_eq!(targets(&leaking, 0), [no, no, yes, yes, yes, no]);
        assert_eq!(
            exact.target_count(),
            chat.target_count() + 2 * text.target_count()
        );
        assert_eq!(
            exact.documents,
            Some(vec![vec![3, 2, 1], vec![2, 4]]),
            "padding is a document"
        );
        assert_eq!(leaking.documents, None);
    }

    #[test]
    fn a_pass_takes_every_example_and_equal_seeds_agree() {
        let lengths: Vec<usize> = (0..37).map(|i| 3 + i % 11).collect();
        let mut order = BatchOrder::new(lengths.clone(), 4, 9);
        let mut again = BatchOrder::new(lengths, 4, 9);
        let mut seen = vec![0; 37];
        for _ in 0..10 {
            let batch = order.next_batch();
            assert_eq!(batch, again.next_batch());
            assert_eq!(batch.len(), 4);
            batch.into_iter().for_each(|index| seen[index] += 1);
        }
        assert!(seen.iter().all(|count| (1..=2).contains(count)), "{seen:?}");
        assert!(BatchOrder::new(Vec::new(), 4, 9).next_batch().is_empty());
    }

    #[test]
    fn an_order_goes_on_from_any_position() {
        let lengths: Vec<usize> = (0..37).map(|i| 3 + i % 11).collect();
        let mut order = BatchOrder::new(lengths.clone(), 4, 9);
        let batches: Vec<_> = (0..45).map(|_| order.next_batch()).collect();
        assert_ne!(batches[..10], batches[10..20], "passes differ");
        // Passes are 10 batches long.
        for taken in [0, 1, 9, 10, 11, 20, 33] {
            let mut first = BatchOrder::new(lengths.clone(), 4, 9);
            (0..taken).for_each(|_| drop(first.next_batch()));
            let mut second = BatchOrder::new(lengths.clone(), 4, 9);
            second.next_batch();
            second.seek(first.position());
            for (index, batch) in batches[taken..].iter().enumerate() {
                assert_eq!(second.next_batch(), *batch, "{taken} + {index}");
            }
        }
    }
}
