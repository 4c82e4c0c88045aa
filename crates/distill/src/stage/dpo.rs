//! Stage 3: direct preference optimisation against a frozen reference.

use std::collections::BTreeMap;

use burn::backend::Autodiff;
use burn::tensor::Tensor;
use kernels::SsmBackend;
use model::HybridModel;

use super::steps::{self, Examples, StepMetrics, order};
use super::{StageContext, StageOutcome};
use crate::data::{Batch, PreferenceExample, RowLength};
use crate::loss::targets::floats;
use crate::loss::{Targets, dpo_loss, sequence_log_probs};
use crate::recipe::{DpoReference, StagePlan};
use crate::trainer::{MicroStep, StepReport};

/// Pairs with the reference's log-probabilities.
struct Pairs<'a, B: SsmBackend> {
    pairs: &'a [PreferenceExample],
    /// `(chosen, rejected)` of each pair that the stage meets.
    reference: BTreeMap<usize, (f32, f32)>,
    beta: f64,
    length: RowLength,
    device: &'a B::Device,
}

/// Rows of a micro-batch: the chosen replies, then the rejected ones.
struct PairBatch {
    rows: Batch,
    chosen: Vec<f32>,
    rejected: Vec<f32>,
}

fn rows(pairs: &[PreferenceExample], indices: &[usize], length: RowLength) -> Batch {
    let chosen = indices.iter().map(|index| &pairs[*index].chosen);
    let rejected = indices.iter().map(|index| &pairs[*index].rejected);
    Batch::new(chosen.chain(rejected), length)
}

fn lengths(pairs: &[PreferenceExample]) -> Vec<usize> {
    pairs
        .iter()
        .map(|pair| pair.chosen.ids.len().max(pair.rejected.ids.len()))
        .collect()
}

impl<B: SsmBackend> Examples<B> for Pairs<'_, B> {
    type Batch = PairBatch;

    fn lengths(&self) -> Vec<usize> {
        lengths(self.pairs)
    }

    fn collect(&self, micro_batches: &[Vec<usize>]) -> Vec<PairBatch> {
        let batch = |indices: &Vec<usize>| {
            let (chosen, rejected) = indices.iter().map(|index| self.reference[index]).unzip();
            PairBatch {
                rows: rows(self.pairs, indices, self.length),
                chosen,
                rejected,
            }
        };
        micro_batches.iter().map(batch).collect()
    }

    fn tokens(&self, batch: &PairBatch) -> usize {
        batch.rows.real_tokens()
    }

    fn forward(
        &self,
        student: &HybridModel<Autodiff<B>>,
        step: &[PairBatch],
        index: usize,
    ) -> MicroStep<B> {
        let batch = &step[index];
        let pairs = batch.chosen.len();
        let targets = Targets::unweighted(&batch.rows);
        let log_probs = sequence_log_probs(
            student,
            &batch.rows,
            &targets,
            |hidden| targets.rows.select_tracked(hidden),
            self.device,
        );
        let loss = dpo_loss(
            log_probs.clone().narrow(0, 0, pairs),
            log_probs.narrow(0, pairs, pairs),
            floats(&batch.chosen, self.device),
            floats(&batch.rejected, self.device),
            self.beta,
        );
        let total: usize = step.iter().map(|batch| batch.chosen.len()).sum();
        let share = 1.0 / total.max(1) as f64;
        let margins = loss.margins.inner();
        let wins = margins.clone().greater_elem(0.0).float().sum();
        let metrics = Tensor::cat(vec![margins.sum(), wins], 0).mul_scalar(share);
        MicroStep {
            loss: loss.per_pair.sum().mul_scalar(share),
            metrics,
        }
    }

    fn metrics(&self, report: &StepReport) -> StepMetrics {
        StepMetrics {
            margin: report.metrics.first().copied(),
            accuracy: report.metrics.get(1).copied(),
            ..StepMetrics::default()
        }
    }
}

/// Log-probabilities of both replies of every pair that `stage` will meet, under the frozen `model`, each once.
fn reference_log_probs<B: SsmBackend>(
    model: &HybridModel<B>,
    pairs: &[PreferenceExample],
    stage: &StagePlan,
    length: RowLength,
    device: &B::Device,
) -> BTreeMap<usize, (f32, f32)> {
    let mut order = order(stage, lengths(pairs));
    let mut known = BTreeMap::new();
    for _ in 0..stage.steps * stage.grad_accumulation.max(1) {
        let mut indices = order.next_batch();
        indices.sort_unstable();
        indices.dedup();
        indices.retain(|index| !known.contains_key(index));
        if indices.is_empty() {
            continue;
        }
        let batch = rows(pairs, &indices, length);
        let targets = Targets::unweighted(&batch);
        let log_probs = sequence_log_probs(
            model,
            &batch,
            &targets,
            |hidden| targets.rows.select(hidden),
            device,
        );
        let log_probs: Vec<f32> = log_probs.into_data().iter::<f32>().collect();
        let (chosen, rejected) = log_probs.split_at(indices.len());
        known.extend(
            indices
                .into_iter()
                .zip(chosen.iter().copied().zip(rejected.iter().copied())),
        );
    }
    known
}

/// Runs the stage.
pub(super) fn run<B: SsmBackend>(
    context: StageContext<B>,
    student: HybridModel<B>,
) -> anyhow::Result<StageOutcome<B>> {
    let (stage, length) = (context.stage, context.plan.data.row_length());
    let pairs = &context.data.dpo;
    let reference = context.reference.unwrap_or(match stage.dpo.reference {
        DpoReference::SftCopy => &student,
        DpoReference::Teacher => context.teacher,
    });
    let reference = reference_log_probs(reference, pairs, stage, length, context.device);
    let examples = Pairs {
        pairs,
        reference,
        beta: stage.dpo.beta,
        length,
        device: context.device,
    };
    steps::run(context, student, &examples)
}
