//! The loop that all stages share: order of examples, steps, events, stopping.

use std::time::Instant;

use burn::backend::Autodiff;
use burn::module::AutodiffModule;
use kernels::SsmBackend;
use model::HybridModel;

use super::{StageContext, StageOutcome, StageSummary};
use crate::data::BatchOrder;
use crate::recipe::{StagePlan, Trainable};
use crate::run::Event;
use crate::trainer::{MicroStep, Schedule, StepReport, Trainer, TrainerConfig};

/// What is particular to a stage.
pub(super) trait Examples<B: SsmBackend> {
    /// Length of each example, tokens; the order of a stage follows from it.
    fn lengths(&self) -> Vec<usize>;

    /// A micro-batch on the host.
    type Batch;

    /// The micro-batches of one step, from indices of examples.
    fn collect(&self, micro_batches: &[Vec<usize>]) -> Vec<Self::Batch>;

    /// Real tokens of a micro-batch.
    fn tokens(&self, batch: &Self::Batch) -> usize;

    /// Loss of one of the micro-batches of a step.
    fn forward(
        &self,
        student: &HybridModel<Autodiff<B>>,
        step: &[Self::Batch],
        index: usize,
    ) -> MicroStep<B>;

    /// The fields of [`Event::Step`] that the metrics fill.
    fn metrics(&self, report: &StepReport) -> StepMetrics;
}

/// Optional fields of [`Event::Step`].
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct StepMetrics {
    pub ce: Option<f64>,
    pub kl: Option<f64>,
    pub margin: Option<f64>,
    pub accuracy: Option<f64>,
}

/// Order in which a stage takes its examples.
pub(super) fn order(stage: &StagePlan, lengths: Vec<usize>) -> BatchOrder {
    BatchOrder::new(lengths, stage.batch_size, stage.seed)
}

/// Whether a stage may change the tensor of this key (Hugging Face spelling).
fn is_trainable(trainable: Trainable, key: &str) -> bool {
    match trainable {
        Trainable::All => true,
        Trainable::Mixers => key.contains(".mamba."),
    }
}

/// Takes the steps of `context.stage`.
pub(super) fn run<B: SsmBackend, E: Examples<B>>(
    context: StageContext<B>,
    student: HybridModel<B>,
    examples: &E,
) -> anyhow::Result<StageOutcome<B>> {
    let StageContext {
        stage,
        events,
        stop,
        device,
        ..
    } = context;
    let mut order = order(stage, examples.lengths());
    let mut model = HybridModel::<Autodiff<B>>::from_inner(student)
        .freeze(|key| is_trainable(stage.trainable, key));
    let config = TrainerConfig {
        schedule: Schedule::cosine(stage.lr_peak, stage.warmup_steps, stage.steps),
        betas: stage.betas,
        weight_decay: stage.weight_decay,
        clip_norm: stage.clip_norm,
    };
    let mut trainer = Trainer::<B>::new(config, &model, device);
    anyhow::ensure!(
        stage.steps == 0 || trainer.has_trainable(),
        "stage `{}` has nothing to train: the student has no tensor of a new mixer; use `trainable = \"all\"`",
        stage.kind.name()
    );
    let mut summary = StageSummary {
        steps: 0,
        skipped_steps: 0,
        tokens: 0,
        final_loss: f64::NAN,
    };
    let mut last_losses = Vec::new();
    for step in 1..=stage.steps {
        let started = Instant::now();
        let indices: Vec<_> = (0..stage.grad_accumulation.max(1))
            .map(|_| order.next_batch())
            .collect();
        let batches = examples.collect(&indices);
        let tokens: usize = batches.iter().map(|batch| examples.tokens(batch)).sum();
        let (next, report) = trainer.step(model, batches.len(), |model, index| {
            examples.forward(model, &batches, index)
        })?;
        model = next;
        summary.tokens += tokens as u64;
        if report.is_applied {
            summary.steps += 1;
            let metrics = examples.metrics(&report);
            events.emit(Event::Step {
                step,
                loss: report.loss,
                ce: metrics.ce,
                kl: metrics.kl,
                margin: metrics.margin,
                accuracy: metrics.accuracy,
                lr: report.lr,
                grad_norm: report.grad_norm,
                tokens: summary.tokens,
                tokens_per_s: tokens as f64 / started.elapsed().as_secs_f64().max(1e-9),
            });
            if step > stage.steps - stage.steps.div_ceil(10) {
                last_losses.push(report.loss);
            }
        } else {
            summary.skipped_steps += 1;
            let text = format!(
                "step {step} left out: loss {}, gradient norm {}",
                report.loss, report.grad_norm
            );
            events.emit(Event::Note { text });
        }
        if stop.is_set() {
            return Ok(StageOutcome::Interrupted);
        }
    }
    if !last_losses.is_empty() {
        summary.final_loss = last_losses.iter().sum::<f64>() / last_losses.len() as f64;
    }
    Ok(StageOutcome::Finished {
        model: model.valid(),
        summary,
    })
}
