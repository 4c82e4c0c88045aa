//! Selecting distinct rows of a tensor, with a backward pass that is a selection too.
//!
//! A student's hidden states are needed only where a loss is taken, so the head runs on those rows alone. The backward
//! pass of a general selection adds rows up one after another, which is slow on a GPU; since no row is taken twice
//! here, the gradient of row `i` is simply the row of the output that came from it, or zero.

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, TensorData, TensorPrimitive};

/// Distinct rows to take from a tensor with `total` rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowIndex {
    taken: Vec<i32>,
    inverse: Vec<i32>,
}

impl RowIndex {
    /// Takes the rows `taken`, in this order, of `total`.
    ///
    /// # Panics
    /// When a row is out of range or taken twice, which would make the gradient wrong.
    pub fn new(taken: Vec<i32>, total: usize) -> Self {
        let missing = taken.len() as i32;
        let mut inverse = vec![missing; total];
        for (position, row) in taken.iter().enumerate() {
            let slot = &mut inverse[*row as usize];
            assert_eq!(*slot, missing, "row {row} is taken twice");
            *slot = position as i32;
        }
        Self { taken, inverse }
    }

    /// Rows taken.
    pub fn len(&self) -> usize {
        self.taken.len()
    }

    /// Whether no row is taken.
    pub fn is_empty(&self) -> bool {
        self.taken.is_empty()
    }

    /// The rows of `[total, width]`, as `[taken, width]`, without a tape.
    pub fn select<B: Backend>(&self, rows: Tensor<B, 2>) -> Tensor<B, 2> {
        let device = rows.device();
        rows.select(0, ints(&self.taken, &device))
    }

    /// As [`RowIndex::select`], differentiable.
    pub fn select_tracked<B: Backend>(
        &self,
        rows: Tensor<Autodiff<B>, 2>,
    ) -> Tensor<Autodiff<B>, 2> {
        let device = rows.device();
        let rows = rows.into_primitive().tensor();
        let state = Inverse {
            rows: ints::<B>(&self.inverse, &device),
        };
        let output = Tensor::<B, 2>::from_primitive(TensorPrimitive::Float(rows.primitive.clone()))
            .select(0, ints(&self.taken, &device))
            .into_primitive()
            .tensor();
        let prepared =
            Backward::<B, 1>::prepare::<NoCheckpointing>(SelectBackward, [rows.node.clone()]);
        let output = match prepared.compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish(state, output),
            OpsKind::UnTracked(prepared) => prepared.finish(output),
        };
        Tensor::from_primitive(TensorPrimitive::Float(output))
    }
}

fn ints<B: Backend>(values: &[i32], device: &B::Device) -> Tensor<B, 1, Int> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), device)
}

#[derive(Debug, Clone)]
struct Inverse<B: Backend> {
    rows: Tensor<B, 1, Int>,
}

#[derive(Debug)]
struct SelectBackward;

impl<B: Backend> Backward<B, 1> for SelectBackward {
    type State = Inverse<B>;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient =
            Tensor::<B, 2>::from_primitive(TensorPrimitive::Float(grads.consume::<B>(&ops.node)));
        let [parent] = ops.parents;
        if let Some(parent) = parent {
            let [_, width] = gradient.dims();
            // Rows that were not taken point at this row of zeros.
            let zeros = Tensor::zeros([1, width], &gradient.device());
            let gradient = Tensor::cat(vec![gradient, zeros], 0).select(0, ops.state.rows);
            grads.register::<B>(parent.id, gradient.into_primitive().tensor());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::backend::Flex;

    type T = Autodiff<Flex>;

    #[test]
    fn values_and_gradient_equal_the_general_selection() {
        let device = Default::default();
        let data = TensorData::from([[1.0f32, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]]);
        let weights = TensorData::from([[1.0f32, -1.0], [0.5, 2.0], [3.0, 0.25]]);
        let index = RowIndex::new(vec![3, 0, 2], 4);
        let run = |ours: bool| {
            let x = Tensor::<T, 2>::from_data(data.clone(), &device).require_grad();
            // A square puts a second use of x on the tape.
            let squared = x.clone() * x.clone();
            let picked = if ours {
                index.select_tracked(squared)
            } else {
                squared.select(0, ints::<T>(&[3, 0, 2], &device))
            };
            let loss = (picked.clone() * Tensor::from_data(weights.clone(), &device)).sum();
            let gradient = x.grad(&loss.backward()).expect("x has a gradient");
            (picked.into_data(), gradient.into_data())
        };
        assert_eq!(run(true), run(false));
    }

    #[test]
    #[should_panic(expected = "taken twice")]
    fn a_row_is_taken_once() {
        RowIndex::new(vec![1, 1], 2);
    }
}
