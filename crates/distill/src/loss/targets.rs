//! Where a loss is taken in a batch: rows of the hidden states, labels and weights.

use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, TensorData};

use super::RowIndex;
use crate::data::Batch;
use crate::recipe::{KlMask, KlReduction, LossPlan};

/// Least step of the row counts.
const ROW_GRID: usize = 64;

/// Row counts are rounded up so that a GPU meets few distinct shapes: to 64 or to a sixteenth of the next power of two.
fn padded_count(rows: usize) -> usize {
    rows.next_multiple_of((rows.next_power_of_two() / 16).max(ROW_GRID))
}

/// Positions at which a batch is scored.
///
/// The hidden state at `t` predicts the token at `t + 1`, so a token that is a target is scored at the position before it.
#[derive(Debug, Clone)]
pub struct Targets {
    /// Rows of the flattened hidden states `[batch * seq, d_model]`.
    pub rows: RowIndex,
    /// Next token of each row; 0 where it is not scored.
    pub labels: Vec<i32>,
    /// Weight of each row in the cross-entropy.
    pub ce_weights: Vec<f32>,
    /// Weight of each row in the KL divergence.
    pub kl_weights: Vec<f32>,
    /// Batch row of each scored row.
    pub sequences: Vec<usize>,
}

/// What sums over a step are divided by, counted over all micro-batches of the step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Denominators {
    /// Targets.
    pub targets: usize,
    /// All positions, padding included.
    pub positions: usize,
    /// Sequences.
    pub sequences: usize,
}

impl Denominators {
    /// Counts the micro-batches of one step.
    pub fn of<'a>(batches: impl IntoIterator<Item = &'a Batch>) -> Self {
        let mut sum = Self {
            targets: 0,
            positions: 0,
            sequences: 0,
        };
        for batch in batches {
            sum.targets += batch.target_count();
            sum.positions += batch.rows() * batch.seq();
            sum.sequences += batch.rows();
        }
        sum
    }
}

impl Targets {
    /// Targets of `batch` for cross-entropy plus KL, weighted so that summing over the step's micro-batches gives the mean.
    pub fn new(batch: &Batch, loss: &LossPlan, over: Denominators) -> Self {
        let kl_unit = match (loss.kl_reduction, loss.kl_mask) {
            (KlReduction::Batchmean, _) => over.sequences,
            (KlReduction::TokenMean, KlMask::Labels) => over.targets,
            (KlReduction::TokenMean, KlMask::All) => over.positions,
        };
        let kl_weight = 1.0 / kl_unit.max(1) as f32;
        let ce_weight = 1.0 / over.targets.max(1) as f32;
        let is_dense = loss.kl_weight != 0.0 && loss.kl_mask == KlMask::All;
        Self::collect(batch, is_dense, ce_weight, kl_weight)
    }

    /// Targets of `batch` with weight 1 each.
    pub fn unweighted(batch: &Batch) -> Self {
        Self::collect(batch, false, 1.0, 0.0)
    }

    fn collect(batch: &Batch, is_dense: bool, ce_weight: f32, kl_weight: f32) -> Self {
        let (rows, seq) = (batch.rows(), batch.seq());
        let mut targets = Targets {
            rows: RowIndex::new(Vec::new(), 0),
            labels: Vec::new(),
            ce_weights: Vec::new(),
            kl_weights: Vec::new(),
            sequences: Vec::new(),
        };
        let (mut taken, mut spare) = (Vec::new(), Vec::new());
        for row in 0..rows {
            for t in 0..seq {
                let position = (row * seq + t) as i32;
                let is_target = t + 1 < seq && batch.is_target(row, t + 1);
                if !is_target && !is_dense {
                    spare.push((position, row));
                    continue;
                }
                taken.push(position);
                targets.labels.push(if is_target {
                    batch.token(row, t + 1)
                } else {
                    0
                });
                targets
                    .ce_weights
                    .push(if is_target { ce_weight } else { 0.0 });
                targets.kl_weights.push(kl_weight);
                targets.sequences.push(row);
            }
        }
        // Fill the grid with positions of weight 0; of a batch without a target, too: a loss of no row has no backward pass.
        let missing = padded_count(taken.len().max(1)) - taken.len();
        for (position, row) in spare.into_iter().take(missing) {
            taken.push(position);
            targets.labels.push(0);
            targets.ce_weights.push(0.0);
            targets.kl_weights.push(0.0);
            targets.sequences.push(row);
        }
        targets.rows = RowIndex::new(taken, rows * seq);
        targets
    }

    /// Scored tokens of each of `sequences` sequences, at least 1.
    pub fn sequence_lengths(&self, sequences: usize) -> Vec<f32> {
        let mut lengths = vec![0.0f32; sequences];
        for (sequence, weight) in self.sequences.iter().zip(&self.ce_weights) {
            if *weight > 0.0 {
                lengths[*sequence] += 1.0;
            }
        }
        lengths.iter().map(|length| length.max(1.0)).collect()
    }

    /// Labels, `[rows]`.
    pub fn labels<B: Backend>(&self, device: &B::Device) -> Tensor<B, 1, Int> {
        Tensor::from_data(
            TensorData::new(self.labels.clone(), [self.labels.len()]),
            device,
        )
    }
}

/// Weights as a tensor, `[rows]`.
pub(crate) fn floats<B: Backend>(values: &[f32], device: &B::Device) -> Tensor<B, 1> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), device)
}
