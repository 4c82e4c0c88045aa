//! Log-probability of each row's label, block by block.
//!
//! What the loss makes of these numbers is not known here, so the backward pass computes the logits once more instead of
//! keeping them: with incoming gradient `g` the gradient of a row's logits is `g (onehot(label) - softmax(logits))`.

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::tensor::activation::softmax;
use burn::tensor::{IndexingUpdateOp, Int, Tensor, TensorPrimitive};
use kernels::SsmBackend;

use super::head::{HeadGradients, Wanted, blocks};
use super::{Distribution, HeadRows};

/// `log p(label)` of each row, `[rows]`, without a tape.
/// - `labels`: `[rows]`
pub fn label_log_probs<B: SsmBackend>(
    rows: &HeadRows<B>,
    labels: Tensor<B, 1, Int>,
    rows_at_a_time: usize,
) -> Tensor<B, 1> {
    let labels = labels.unsqueeze_dim(1);
    let parts = blocks(labels.dims()[0], rows_at_a_time).map(|block| {
        let labels = labels.clone().narrow(0, block.start, block.len());
        Distribution::new(rows.logits(&block)).label_log_probs(labels)
    });
    let parts: Vec<Tensor<B, 2>> = parts.collect();
    if parts.is_empty() {
        return Tensor::zeros([0], &rows.hidden.device());
    }
    Tensor::cat(parts, 0).squeeze_dim(1)
}

/// As [`label_log_probs`], differentiable in hidden states and head.
pub fn label_log_probs_tracked<B: SsmBackend>(
    rows: HeadRows<Autodiff<B>>,
    labels: Tensor<B, 1, Int>,
    rows_at_a_time: usize,
) -> Tensor<Autodiff<B>, 1> {
    let (inner, wanted) = (rows.inner(), rows.wanted());
    let value = label_log_probs(&inner, labels.clone(), rows_at_a_time);
    let value = value.into_primitive().tensor();
    // Held until the output is on the tape: a tape drops what no tensor holds, at the backward pass of any thread.
    let parents = [rows.hidden, rows.weight].map(|tensor| tensor.into_primitive().tensor());
    let nodes = parents.each_ref().map(|parent| parent.node.clone());
    let prepared = Backward::<B, 2>::prepare::<NoCheckpointing>(LabelLogProbs, nodes);
    let output = match prepared.compute_bound().stateful() {
        OpsKind::Tracked(prepared) => {
            let state = State {
                rows: inner,
                labels: labels.unsqueeze_dim(1),
                wanted,
                rows_at_a_time,
            };
            prepared.finish(state, value)
        }
        OpsKind::UnTracked(prepared) => prepared.finish(value),
    };
    drop(parents);
    Tensor::from_primitive(TensorPrimitive::Float(output))
}

#[derive(Debug, Clone)]
struct State<B: SsmBackend> {
    rows: HeadRows<B>,
    /// `[rows, 1]`.
    labels: Tensor<B, 2, Int>,
    wanted: Wanted,
    rows_at_a_time: usize,
}

#[derive(Debug)]
struct LabelLogProbs;

impl<B: SsmBackend> Backward<B, 2> for LabelLogProbs {
    type State = State<B>;

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let incoming = TensorPrimitive::Float(grads.consume::<B>(&ops.node));
        let incoming = Tensor::<B, 1>::from_primitive(incoming).unsqueeze_dim::<2>(1);
        let State {
            rows,
            labels,
            wanted,
            rows_at_a_time,
        } = ops.state;
        let mut gradients = HeadGradients::new(wanted);
        for block in blocks(labels.dims()[0], rows_at_a_time) {
            let narrow = (block.start, block.len());
            let incoming = incoming.clone().narrow(0, narrow.0, narrow.1);
            let labels = labels.clone().narrow(0, narrow.0, narrow.1);
            let logits = softmax(rows.logits(&block), 1) * incoming.clone().neg();
            let logits = logits.scatter(1, labels, incoming, IndexingUpdateOp::Add);
            gradients.add(&rows, &block, logits);
        }
        for (parent, gradient) in ops.parents.into_iter().zip(gradients.finish()) {
            if let (Some(parent), Some(gradient)) = (parent, gradient) {
                grads.register::<B>(parent.id, gradient.into_primitive().tensor());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::backend::Flex;
    use burn::tensor::TensorData;
    use burn::tensor::activation::log_softmax;

    use super::*;
    use crate::loss::testing::rows;

    type T = Autodiff<Flex>;

    #[test]
    fn values_and_gradients_equal_those_of_the_tape() {
        let device = Default::default();
        let labels = Tensor::<Flex, 1, Int>::from_data([3, 0, 6, 3, 1], &device);
        let weights = TensorData::from([0.5f32, -1.0, 2.0, 0.0, 1.5]);
        let run = |rows_at_a_time: Option<usize>| {
            let rows = rows::<T>(5, 7, 1, 1.0);
            let (hidden, weight) = (rows.hidden.require_grad(), rows.weight.require_grad());
            let log_probs = match rows_at_a_time {
                Some(most) => {
                    let rows = HeadRows {
                        hidden: hidden.clone(),
                        weight: weight.clone(),
                    };
                    label_log_probs_tracked(rows, labels.clone(), most)
                }
                None => {
                    let logits = hidden.clone().matmul(weight.clone().transpose());
                    let labels = Tensor::from_inner(labels.clone()).unsqueeze_dim(1);
                    log_softmax(logits, 1).gather(1, labels).squeeze_dim(1)
                }
            };
            let weights = Tensor::<T, 1>::from_data(weights.clone(), &device);
            let gradients = (log_probs.clone() * weights).sum().backward();
            let gradient = |tensor: Tensor<T, 2>| tensor.grad(&gradients).expect("tracked");
            [
                log_probs.into_data(),
                gradient(hidden).into_data(),
                gradient(weight).into_data(),
            ]
        };
        let expected = run(None);
        for most in [1, 2, 5, 100] {
            for (got, expected) in run(Some(most)).iter().zip(&expected) {
                got.assert_approx_eq::<f32>(expected, burn::tensor::Tolerance::absolute(1e-6));
            }
        }
    }
}
