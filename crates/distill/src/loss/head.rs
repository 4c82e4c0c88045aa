//! The rows of a model at which a loss is taken, as hidden states with the head that turns them into logits.

use std::ops::Range;

use burn::backend::Autodiff;
use burn::tensor::backend::Backend;
use burn::tensor::{FloatDType, Tensor};
use kernels::{SsmBackend, product};
use model::HybridModel;

/// Logits of a block, numbers: what fits into the caches of a CPU, what keeps a GPU busy.
const LOGITS_AT_A_TIME: usize = if crate::backend::IS_HOST {
    1 << 18
} else {
    MOST_LOGITS
};
/// Most logits of a block, numbers.
const MOST_LOGITS: usize = 1 << 25;
/// Rows below which matrix products are slow and adding up the head's gradient costs more than the block.
const LEAST_ROWS: usize = 128;

/// Hidden states and head; the logits are made block by block and never exist whole.
///
/// Products with the head are computed in its type, losses and gradients in f32.
#[derive(Debug, Clone)]
pub struct HeadRows<B: Backend> {
    /// After the final norm, `[rows, d_model]`.
    pub hidden: Tensor<B, 2>,
    /// `[vocab, d_model]`, in the type that the model computes in.
    pub weight: Tensor<B, 2>,
}

impl<B: SsmBackend> HeadRows<B> {
    /// Rows of `model` with hidden states `hidden`, `[rows, d_model]`.
    pub fn of(model: &HybridModel<B>, hidden: Tensor<B, 2>) -> Self {
        let weight = model.head_weight();
        Self {
            hidden,
            weight: match model.compute() {
                Some(compute) => weight.cast(compute),
                None => weight,
            },
        }
    }

    /// Hidden states of some rows in the type of the head, `[block, d_model]`.
    pub fn hidden_block(&self, block: &Range<usize>) -> Tensor<B, 2> {
        let hidden = self.hidden.clone().narrow(0, block.start, block.len());
        hidden.cast(FloatDType::from(self.weight.dtype()))
    }

    /// Logits of some rows, `[block, vocab]`, in the type of the head.
    pub fn products(&self, block: &Range<usize>) -> Tensor<B, 2> {
        let head = self.weight.clone().transpose();
        product(self.hidden_block(block), head).expect("the head reads hidden states")
    }

    /// Logits of some rows, `[block, vocab]`, in f32.
    pub fn logits(&self, block: &Range<usize>) -> Tensor<B, 2> {
        self.products(block).cast(FloatDType::F32)
    }

    /// Rows of a block.
    pub fn rows_at_a_time(&self) -> usize {
        let [vocab, _] = self.weight.dims();
        rows_at_a_time(vocab)
    }
}

/// Rows of which `vocab` logits each are in memory at a time.
pub fn rows_at_a_time(vocab: usize) -> usize {
    let vocab = vocab.max(1);
    let rows = (LOGITS_AT_A_TIME / vocab).max(LEAST_ROWS);
    rows.min(MOST_LOGITS / vocab).max(1)
}

impl<B: Backend> HeadRows<Autodiff<B>> {
    /// The values without the tape.
    pub(super) fn inner(&self) -> HeadRows<B> {
        HeadRows {
            hidden: self.hidden.clone().inner(),
            weight: self.weight.clone().inner(),
        }
    }

    /// Which of both is on the tape; a frozen head is not.
    pub(super) fn wanted(&self) -> Wanted {
        let is_tracked = |tensor: &Tensor<Autodiff<B>, 2>| {
            let tensor = tensor.clone().into_primitive().tensor();
            !tensor.node.requirement.is_none()
        };
        Wanted {
            hidden: is_tracked(&self.hidden),
            weight: is_tracked(&self.weight),
        }
    }
}

/// Which gradients are needed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    /// Of the hidden states.
    pub hidden: bool,
    /// Of the head.
    pub weight: bool,
}

/// Gradients of hidden states and head, built up block by block.
#[derive(Debug)]
pub(super) struct HeadGradients<B: Backend> {
    wanted: Wanted,
    hidden: Vec<Tensor<B, 2>>,
    weight: Option<Tensor<B, 2>>,
}

impl<B: SsmBackend> HeadGradients<B> {
    pub fn new(wanted: Wanted) -> Self {
        Self {
            wanted,
            hidden: Vec::new(),
            weight: None,
        }
    }

    /// Whether any is.
    pub fn are_wanted(&self) -> bool {
        self.wanted.hidden || self.wanted.weight
    }

    /// Adds the block that follows, by the gradient of its logits, `[block, vocab]`.
    pub fn add(&mut self, rows: &HeadRows<B>, block: &Range<usize>, logits: Tensor<B, 2>) {
        let logits = logits.cast(FloatDType::from(rows.weight.dtype()));
        if self.wanted.weight {
            let share = product(logits.clone().transpose(), rows.hidden_block(block));
            let share = share.expect("a row of logits for each hidden state");
            let share = share.cast(FloatDType::F32);
            self.weight = Some(match self.weight.take() {
                Some(weight) => weight + share,
                None => share,
            });
        }
        if self.wanted.hidden {
            let hidden = product(logits, rows.weight.clone()).expect("logits of the head");
            self.hidden.push(hidden.cast(FloatDType::F32));
        }
    }

    /// Of the hidden states, `[rows, d_model]`, and of the head, `[vocab, d_model]`, where they were wanted.
    pub fn finish(self) -> [Option<Tensor<B, 2>>; 2] {
        let hidden = (!self.hidden.is_empty()).then(|| Tensor::cat(self.hidden, 0));
        [hidden, self.weight]
    }
}

/// `rows` in blocks of nearly equal size, none larger than `most`: few shapes, and no small rest.
pub fn blocks(rows: usize, most: usize) -> impl Iterator<Item = Range<usize>> {
    let size = rows.div_ceil(rows.div_ceil(most.max(1)).max(1)).max(1);
    (0..rows)
        .step_by(size)
        .map(move |start| start..rows.min(start + size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_cover_all_rows_evenly() {
        let sizes = |rows, most| {
            blocks(rows, most)
                .map(|block| block.len())
                .collect::<Vec<_>>()
        };
        assert_eq!(sizes(10, 4), [4, 4, 2]);
        assert_eq!(sizes(12, 5), [4, 4, 4]);
        assert_eq!(sizes(3, 100), [3]);
        assert_eq!(sizes(0, 4), [0; 0]);
        let ends: Vec<_> = blocks(7, 3).map(|block| block.end).collect();
        assert_eq!(ends, [3, 6, 7]);
    }

    #[test]
    fn blocks_of_large_vocabularies_keep_within_the_limit() {
        for vocab in [1, 2048, 49_152, 128_256, MOST_LOGITS + 1] {
            let rows = rows_at_a_time(vocab);
            assert!(rows == 1 || rows * vocab <= MOST_LOGITS, "{vocab}");
            assert!(
                rows >= LEAST_ROWS || (rows + 1) * vocab > MOST_LOGITS,
                "{vocab}"
            );
        }
    }
}
