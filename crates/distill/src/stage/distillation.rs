//! Stage 1: the teacher's replies as labels and its distributions as targets; mixers alone are trained by default.

use burn::backend::Autodiff;
use burn::tensor::Tensor;
use kernels::SsmBackend;
use model::HybridModel;

use super::steps::{self, Examples, StepMetrics};
use super::{StageContext, StageOutcome};
use crate::data::{Batch, Example, pack};
use crate::loss::head::blocks;
use crate::loss::{Denominators, distillation_loss};
use crate::recipe::{DataPlan, LossPlan, Packing};
use crate::trainer::{MicroStep, StepReport};

/// Conversations with cross-entropy and, where its weight is not zero, KL to the teacher.
pub(super) struct Conversations<'a, B: SsmBackend> {
    examples: &'a [Example],
    /// The examples that share each row
    rows: Vec<Vec<usize>>,
    teacher: &'a HybridModel<B>,
    loss: LossPlan,
    data: &'a DataPlan,
    device: &'a B::Device,
}

impl<'a, B: SsmBackend> Conversations<'a, B> {
    /// `examples` for the stage of `context`, in rows as the plan packs them; the same rows in every pass.
    pub fn new(context: &StageContext<'a, B>, examples: &'a [Example]) -> Self {
        let (data, stage) = (&context.plan.data, context.stage);
        let lengths: Vec<usize> = examples.iter().map(|example| example.ids.len()).collect();
        Self {
            examples,
            rows: match data.packing {
                Packing::None => (0..examples.len()).map(|index| vec![index]).collect(),
                Packing::Exact | Packing::Published => pack(&lengths, data.seq_len, stage.seed),
            },
            teacher: context.teacher,
            loss: stage.loss,
            data,
            device: context.device,
        }
    }
}

impl<B: SsmBackend> Examples<B> for Conversations<'_, B> {
    type Batch = Batch;

    fn lengths(&self) -> Vec<usize> {
        let tokens = |row: &Vec<usize>| row.iter().map(|i| self.examples[*i].ids.len()).sum();
        self.rows.iter().map(tokens).collect()
    }

    fn collect(&self, micro_batches: &[Vec<usize>]) -> Vec<Batch> {
        let examples = |row: &usize| self.rows[*row].iter().map(|i| &self.examples[*i]);
        let batch = |rows: &Vec<usize>| {
            let packed = || -> Vec<Vec<&Example>> {
                rows.iter().map(|row| examples(row).collect()).collect()
            };
            match self.data.packing {
                Packing::None => Batch::new(rows.iter().flat_map(examples), self.data.row_length()),
                Packing::Exact => Batch::packed(&packed(), self.data.seq_len),
                Packing::Published => {
                    Batch::packed_without_boundaries(&packed(), self.data.seq_len)
                }
            }
        };
        micro_batches.iter().map(batch).collect()
    }

    fn split(&self, batch: Batch, size: usize) -> Vec<Batch> {
        let parts = blocks(batch.rows(), size);
        parts.map(|rows| batch.part(rows)).collect()
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
            blocks: parts.blocks,
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
    let examples = Conversations::new(&context, &context.data.distillation);
    steps::run(context, student, &examples)
}
