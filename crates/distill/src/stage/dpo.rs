//! Stage 3: direct preference optimisation against a frozen reference.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;

use burn::backend::Autodiff;
use burn::tensor::Tensor;
use kernels::SsmBackend;
use model::HybridModel;

use super::steps::{self, Examples, StepMetrics, order};
use super::{StageContext, StageOutcome};
use crate::data::{Batch, BatchOrder, PairSet, PreferenceExample, RowLength};
use crate::loss::head::blocks;
use crate::loss::targets::floats;
use crate::loss::{
    PairValues, Targets, dpo_loss, sequence_log_probs, sequence_log_probs_tracked, total,
};
use crate::recipe::{DpoPlan, DpoReference};
use crate::trainer::{MicroStep, Probe, StepReport};

/// Pairs with the reference's log-probabilities.
struct Pairs<'a, B: SsmBackend> {
    pairs: &'a PairSet,
    /// What the reference says of the pairs.
    reference: RefCell<Reference<'a, B>>,
    plan: DpoPlan,
    length: RowLength,
    device: &'a B::Device,
}

/// Rows of a micro-batch: the chosen replies, then the rejected ones.
struct PairBatch {
    rows: Batch,
    chosen: Vec<f32>,
    rejected: Vec<f32>,
}

fn rows(pairs: &PairSet, indices: &[usize], length: RowLength) -> anyhow::Result<Batch> {
    let pairs = indices.iter().map(|index| pairs.get(*index));
    let pairs: Vec<PreferenceExample> = pairs.collect::<anyhow::Result<_>>()?;
    let chosen = pairs.iter().map(|pair| &pair.chosen);
    let rejected = pairs.iter().map(|pair| &pair.rejected);
    Ok(Batch::new(chosen.chain(rejected), length))
}

impl<B: SsmBackend> Examples<B> for Pairs<'_, B> {
    type Batch = PairBatch;

    fn lengths(&self) -> Vec<usize> {
        self.pairs.lengths()
    }

    fn collect(&self, micro_batches: &[Vec<usize>]) -> anyhow::Result<Vec<PairBatch>> {
        let batch = |indices: &Vec<usize>| {
            let (chosen, rejected) = self.reference.borrow_mut().log_probs(indices)?;
            Ok(PairBatch {
                rows: rows(self.pairs, indices, self.length)?,
                chosen,
                rejected,
            })
        };
        micro_batches.iter().map(batch).collect()
    }

    fn split(&self, batch: PairBatch, size: usize) -> Vec<PairBatch> {
        let pairs = batch.chosen.len();
        let part = |part: Range<usize>| PairBatch {
            rows: batch
                .rows
                .part(part.clone().chain(pairs + part.start..pairs + part.end)),
            chosen: batch.chosen[part.clone()].to_vec(),
            rejected: batch.rejected[part].to_vec(),
        };
        blocks(pairs, size).map(part).collect()
    }

    fn tokens(&self, batch: &PairBatch) -> usize {
        batch.rows.real_tokens()
    }

    fn forward(
        &self,
        student: &HybridModel<Autodiff<B>>,
        step: &[PairBatch],
        index: usize,
        _: &Probe,
    ) -> MicroStep<B> {
        let batch = &step[index];
        let targets = Targets::unweighted(&batch.rows);
        let (log_probs, blocks) =
            sequence_log_probs_tracked(student, &batch.rows, &targets, self.device);
        let lengths = targets.sequence_lengths(batch.rows.rows());
        let loss = dpo_loss(
            PairValues::split(log_probs),
            PairValues {
                chosen: floats(&batch.chosen, self.device),
                rejected: floats(&batch.rejected, self.device),
            },
            PairValues::split(floats(&lengths, self.device)),
            &self.plan,
        );
        let all: usize = step.iter().map(|batch| batch.chosen.len()).sum();
        let share = 1.0 / all.max(1) as f64;
        let margins = loss.margins.inner();
        let wins = total(margins.clone().greater_elem(0.0).float());
        let metrics = Tensor::cat(vec![total(margins), wins], 0).mul_scalar(share);
        MicroStep {
            loss: total(loss.per_pair).mul_scalar(share),
            metrics,
            blocks,
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

/// Log-probabilities of both replies of pairs under the frozen reference, each computed once, in the order in which the
/// stage meets them: a stage that is continued or rewound gets the same numbers.
struct Reference<'a, B: SsmBackend> {
    model: HybridModel<B>,
    pairs: &'a PairSet,
    order: BatchOrder,
    length: RowLength,
    /// Most pairs at once.
    size: usize,
    device: &'a B::Device,
    /// `(chosen, rejected)` of each pair met so far.
    known: BTreeMap<usize, (f32, f32)>,
}

impl<B: SsmBackend> Reference<'_, B> {
    /// `(chosen, rejected)` of a micro-batch that the order of the stage dealt.
    fn log_probs(&mut self, indices: &[usize]) -> anyhow::Result<(Vec<f32>, Vec<f32>)> {
        while indices.iter().any(|index| !self.known.contains_key(index)) {
            self.meet_next()?;
        }
        Ok(indices.iter().map(|index| self.known[index]).unzip())
    }

    /// Computes the pairs of the next micro-batch that are new.
    fn meet_next(&mut self) -> anyhow::Result<()> {
        let mut indices = self.order.next_batch();
        indices.sort_unstable();
        indices.dedup();
        indices.retain(|index| !self.known.contains_key(index));
        for part in blocks(indices.len(), self.size) {
            let indices = &indices[part];
            let batch = rows(self.pairs, indices, self.length)?;
            let targets = Targets::unweighted(&batch);
            let log_probs = sequence_log_probs(&self.model, &batch, &targets, self.device);
            let log_probs: Vec<f32> = log_probs.into_data().iter::<f32>().collect();
            let (chosen, rejected) = log_probs.split_at(indices.len());
            let values = chosen.iter().copied().zip(rejected.iter().copied());
            self.known.extend(indices.iter().copied().zip(values));
        }
        Ok(())
    }
}

/// Runs the stage.
pub(super) fn run<B: SsmBackend>(
    context: StageContext<B>,
    student: HybridModel<B>,
) -> anyhow::Result<StageOutcome<B>> {
    let (stage, length) = (context.stage, context.plan.data.row_length());
    let pairs = &context.data.dpo;
    let model = context.reference.unwrap_or(match stage.dpo.reference {
        DpoReference::SftCopy => &student,
        DpoReference::Teacher => context.teacher,
    });
    let mut reference = Reference {
        model: model.clone(),
        pairs,
        order: order(stage, pairs.lengths()),
        length,
        size: context.micro_batch,
        device: context.device,
        known: BTreeMap::new(),
    };
    // Before the first step, so that it takes no time from the steps; a rewind may meet more.
    let most = stage.steps.saturating_mul(stage.grad_accumulation.max(1));
    for _ in 0..most {
        if reference.known.len() == pairs.len() {
            break;
        }
        reference.meet_next()?;
    }
    let examples = Pairs {
        pairs,
        reference: RefCell::new(reference),
        plan: stage.dpo,
        length,
        device: context.device,
    };
    steps::run(context, student, &examples)
}
