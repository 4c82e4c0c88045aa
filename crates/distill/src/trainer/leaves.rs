//! Trained tensors that the tape knows of.

use burn::backend::Autodiff;
use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use kernels::SsmBackend;

use super::Model;

/// `model` with the same values and ids, its trained tensors anew on the tape.
///
/// A backward pass takes the leaves that it reaches off burn-autodiff's list of tapes, though the model still holds them. On what is
/// computed from them next, another thread's backward pass sees no tensor that is held whenever one is between two operations, takes
/// it for a tape that was given up, and drops it (burn-autodiff 0.21, `GraphCleaner::cleanup_orphaned_entries`): gradients are missing
/// without a word. New leaves keep the tape of every micro-batch alive.
pub(super) fn renewed<B: SsmBackend>(model: &Model<B>) -> Model<B> {
    model.clone().map(&mut Renewed)
}

struct Renewed;

impl<B: Backend> ModuleMapper<Autodiff<B>> for Renewed {
    fn map_float<const D: usize>(
        &mut self,
        param: Param<Tensor<Autodiff<B>, D>>,
    ) -> Param<Tensor<Autodiff<B>, D>> {
        let (id, held) = (param.id, param.val());
        match held.is_require_grad() {
            true => Param::initialized(id, Tensor::from_inner(held.inner()).require_grad()),
            false => param,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    use burn::backend::Flex;

    use super::super::tests::{config, trainable};
    use super::super::{MicroStep, StepReport, Trainer};
    use super::*;
    use crate::data::{Batch, RowLength};
    use crate::testing::examples;

    /// Steps of four micro-batches whose tapes end in the joining of tensors, which burn lets go of before the result is on the tape.
    fn steps() -> Vec<StepReport> {
        let mut model = trainable(|key| key.contains(".mamba."));
        let mut trainer = Trainer::new(config(), &model, &Default::default());
        let examples = examples(4);
        let batches: Vec<_> = examples
            .chunks(1)
            .map(|rows| Batch::new(rows, RowLength::UpTo(16)))
            .collect();
        let take = |_| {
            let (next, report) = trainer.step(model.clone(), 4, |model, index| {
                let hidden = batches[index].hidden(model, &Default::default());
                let loss = (hidden.clone() * hidden).sum();
                MicroStep {
                    loss: Tensor::cat(vec![loss.clone() * 0.25, loss], 0).sum(),
                    metrics: Tensor::zeros([0], &Default::default()),
                    blocks: None,
                }
            });
            model = next;
            report
        };
        (0..300).map(take).collect()
    }

    #[test]
    fn no_gradient_is_lost_to_the_backward_passes_of_other_threads() {
        let alone = steps();
        let is_done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_done.load(Relaxed) {
                    let x = Tensor::<Autodiff<Flex>, 1>::ones([4], &Default::default());
                    let x = x.require_grad();
                    let gradients = (x.clone() * x.clone()).sum().backward();
                    assert!(x.grad(&gradients).is_some());
                }
            });
            let among_others = std::panic::catch_unwind(std::panic::AssertUnwindSafe(steps));
            is_done.store(true, Relaxed);
            assert_eq!(among_others.unwrap(), alone);
        });
    }
}
