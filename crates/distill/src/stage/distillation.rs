//! Stage 1: the teacher's replies as labels and its distributions as targets; mixers alone are trained by default.

use burn::backend::Autodiff;
use burn::tensor::Tensor;
use kernels::SsmBackend;
use model::HybridModel;

use super::steps::{self, Examples, StepMetrics};
use super::{StageContext, StageOutcome};
use crate::data::{Batch, Example, RowLength};
use crate::loss::{Denominators, distillation_loss};
use crate::recipe::LossPlan;
use crate::trainer::{MicroStep, StepReport};

/// Conversations with cross-entropy and, where its weight is not zero, KL to the teacher.
pub(super) struct Conversations<'a, B: SsmBackend> {
    pub examples: &'a [Example],
    pub teacher: &'a HybridModel<B>,
    pub loss: LossPlan,
    pub length: RowLength,
    pub device: &'a B::Device,
}

impl<B: SsmBackend> Examples<B> for Conversations<'_, B> {
    type Batch = Batch;

    fn lengths(&self) -> Vec<usize> {
        self.examples
            .iter()
            .map(|example| example.ids.len())
            .collect()
    }

    fn collect(&self, micro_batches: &[Vec<usize>]) -> Vec<Batch> {
        let batch = |indices: &Vec<usize>| {
            Batch::new(
                indices.iter().map(|index| &self.examples[*index]),
                self.length,
            )
        };
        micro_batches.iter().map(batch).collect()
    }

    fn tokens(&self, batch: &Batch) -> usize {
        batch.real_tokens()
    }

    fn forward(
        &self,
        student: &HybridModel<Autodiff<B>>,
        step: &[Batch],
        index: usize,
    ) -> MicroStep<B> {
        let over = Denominators::of(step);
        let parts = distillation_loss(
            student,
            Some(self.teacher),
            &step[index],
            &self.loss,
            over,
            self.device,
        );
        MicroStep {
            loss: parts.loss,
            metrics: Tensor::cat(vec![parts.ce, parts.kl], 0),
        }
    }

    fn metrics(&self, report: &StepReport) -> StepMetrics {
        StepMetrics {
            ce: report.metrics.first().copied(),
            kl: report
                .metrics
                .get(1)
                .copied()
                .filter(|_| self.loss.kl_weight != 0.0),
            ..StepMetrics::default()
        }
    }
}

/// Runs the stage.
pub(super) fn run<B: SsmBackend>(
    context: StageContext<B>,
    student: HybridModel<B>,
) -> anyhow::Result<StageOutcome<B>> {
    let examples = Conversations {
        examples: &context.data.distillation,
        teacher: context.teacher,
        loss: context.stage.loss,
        length: context.plan.data.row_length(),
        device: context.device,
    };
    steps::run(context, student, &examples)
}
