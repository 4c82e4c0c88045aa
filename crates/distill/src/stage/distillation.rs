//! Stage 1: the teacher's replies as labels and its distributions as targets; mixers alone are trained by default.

use std::ops::Range;

use burn::backend::Autodiff;
use burn::tensor::Tensor;
use kernels::SsmBackend;
use model::HybridModel;

use super::steps::{self, Examples, StepMetrics};
use super::{StageContext, StageOutcome};
use crate::data::{Batch, Example, ExampleSet, pack};
use crate::error::DistillError;
use crate::loss::head::blocks;
use crate::loss::{CachedTopK, Denominators, Targets, TeacherRows, loss_beside, teacher_rows};
use crate::recipe::{DataPlan, Divergence, LossPlan, Packing};
use crate::teacher_cache::{Records, TeacherCache};
use crate::trainer::{MicroStep, Part, Probe, StepReport};

/// Conversations with cross-entropy and, where its weight is not zero, a divergence from the teacher.
pub(super) struct Conversations<'a, B: SsmBackend> {
    examples: &'a ExampleSet,
    lengths: Vec<usize>,
    /// The examples that share each row
    rows: Vec<Vec<usize>>,
    teacher: HybridModel<B>,
    /// What the teacher said before, in place of asking it again
    cache: Option<Cache<'a>>,
    loss: LossPlan,
    data: &'a DataPlan,
    device: &'a B::Device,
}

/// What the teacher said before, and how many of the likeliest tokens the loss looks at.
#[derive(Clone, Copy)]
struct Cache<'a> {
    teacher: &'a TeacherCache,
    k: usize,
}

/// A micro-batch on the host.
pub(super) struct Dealt {
    rows: Batch,
    /// What the teacher said at the labels of each row, if that is known.
    said: Option<Vec<Records>>,
}

impl<'a, B: SsmBackend> Conversations<'a, B> {
    /// `examples` for the stage of `context`, in rows as the plan packs them; the same rows in every pass.
    pub fn new(context: &StageContext<'a, B>, examples: &'a ExampleSet) -> Self {
        let (data, stage) = (&context.plan.data, context.stage);
        let lengths = examples.lengths();
        let cache = context.teacher_caches.of_stage(stage.kind);
        Self {
            examples,
            rows: match data.packing {
                Packing::None => (0..examples.len()).map(|index| vec![index]).collect(),
                Packing::Exact | Packing::Published => pack(&lengths, data.seq_len, stage.seed),
            },
            lengths,
            teacher: context.teacher.clone().with_frozen_projections_cast(),
            cache: match (cache, stage.loss.divergence) {
                (Some(teacher), Divergence::TopK { k }) if stage.loss.kl_weight > 0.0 => {
                    let k = k.min(teacher.k());
                    Some(Cache { teacher, k })
                }
                _ => None,
            },
            loss: stage.loss,
            data,
            device: context.device,
        }
    }

    /// What the teacher said at the labels of a row.
    fn said(&self, row: usize) -> Option<Result<Records, DistillError>> {
        let Cache { teacher, k } = self.cache?;
        let mut said = Records::default();
        for example in &self.rows[row] {
            match teacher.read(*example, k) {
                Ok(of_example) => said.extend(&of_example),
                Err(error) => return Some(Err(error)),
            }
        }
        Some(Ok(said))
    }
}

impl<B: SsmBackend> Examples<B> for Conversations<'_, B> {
    type Batch = Dealt;

    fn lengths(&self) -> Vec<usize> {
        let tokens = |row: &Vec<usize>| row.iter().map(|i| self.lengths[*i]).sum();
        self.rows.iter().map(tokens).collect()
    }

    fn collect(&self, micro_batches: &[Vec<usize>]) -> anyhow::Result<Vec<Dealt>> {
        let batch = |rows: &Vec<usize>| {
            let said: Option<Result<_, _>> = rows.iter().map(|row| self.said(*row)).collect();
            let rows = rows
                .iter()
                .map(|row| self.examples.get_all(&self.rows[*row]));
            let rows: Vec<Vec<Example>> = rows.collect::<anyhow::Result<_>>()?;
            let packed =
                || -> Vec<Vec<&Example>> { rows.iter().map(|row| row.iter().collect()).collect() };
            let rows = match self.data.packing {
                Packing::None => Batch::new(rows.iter().flatten(), self.data.row_length()),
                Packing::Exact => Batch::packed(&packed(), self.data.seq_len),
                Packing::Published => {
                    Batch::packed_without_boundaries(&packed(), self.data.seq_len)
                }
            };
            Ok(Dealt {
                rows,
                said: said.transpose()?,
            })
        };
        micro_batches.iter().map(batch).collect()
    }

    fn split(&self, batch: Dealt, size: usize) -> Vec<Dealt> {
        let part = |rows: Range<usize>| Dealt {
            rows: batch.rows.part(rows.clone()),
            said: batch.said.as_ref().map(|said| said[rows].to_vec()),
        };
        blocks(batch.rows.rows(), size).map(part).collect()
    }

    fn tokens(&self, batch: &Dealt) -> usize {
        batch.rows.real_tokens()
    }

    fn forward(
        &self,
        student: &HybridModel<Autodiff<B>>,
        step: &[Dealt],
        index: usize,
        probe: &Probe,
    ) -> MicroStep<B> {
        let over = Denominators::of(step.iter().map(|batch| &batch.rows));
        let Dealt { rows, said } = &step[index];
        let (loss, device) = (&self.loss, self.device);
        let parts = match (said, self.cache) {
            (Some(said), Some(Cache { k, .. })) => {
                let targets = Targets::new(rows, loss, over);
                let mut records = Records::default();
                said.iter().for_each(|of_row| records.extend(of_row));
                records.pad(targets.labels.len(), k);
                let teacher = TeacherRows::TopK(CachedTopK::new(&records, k, device));
                loss_beside(student, Some(&teacher), rows, &targets, loss, device)
            }
            _ => {
                let targets = Targets::new(rows, loss, over);
                let teacher = (loss.kl_weight != 0.0).then(|| {
                    TeacherRows::Head(teacher_rows(&self.teacher, rows, &targets, device))
                });
                probe.lap::<B>(Part::Teacher, device);
                loss_beside(student, teacher.as_ref(), rows, &targets, loss, device)
            }
        };
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
