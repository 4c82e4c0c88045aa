//! Everything that changes while a stage runs: taken step by step, put down in a checkpoint, taken up again.
use burn::backend::Autodiff;
use burn::module::AutodiffModule;
use burn::tensor::TensorData;
use kernels::SsmBackend;
use model::HybridModel;

use super::steps::order;
use super::{StageOutcome, StageSummary};
use crate::checkpoint::{StageProgress, StepCheckpoint, StepCheckpoints, Tensors};
use crate::data::BatchOrder;
use crate::recipe::{StagePlan, Trainable};
use crate::run::{Event, EventSink};
use crate::trainer::{MicroStep, Schedule, StepReport, Trainer, TrainerConfig};

/// Name of the losses that the summary is made of among a checkpoint's tensors.
const LAST_LOSSES: &str = "last_losses";

/// Model, optimiser and order of examples of a stage, at some step.
pub(super) struct Course<'a, B: SsmBackend> {
    stage: &'a StagePlan,
    order: BatchOrder,
    /// `None` only while a step is being taken.
    model: Option<HybridModel<Autodiff<B>>>,
    trainer: Trainer<B>,
    /// Losses of the last tenth of the steps.
    last_losses: Vec<f64>,
    /// Steps taken, skipped ones included.
    pub step: usize,
    /// Numbers up to that step.
    pub summary: StageSummary,
}

/// Whether a stage may change the tensor of this key (Hugging Face spelling).
fn is_trainable(trainable: Trainable, key: &str) -> bool {
    match trainable {
        Trainable::All => true,
        Trainable::Mixers => key.contains(".mamba."),
    }
}

impl<'a, B: SsmBackend> Course<'a, B> {
    /// Before the first step.
    ///
    /// # Errors
    /// When the stage has steps but no tensor to train.
    pub fn start(
        stage: &'a StagePlan,
        student: HybridModel<B>,
        lengths: Vec<usize>,
        device: &B::Device,
    ) -> anyhow::Result<Self> {
        let model = HybridModel::<Autodiff<B>>::from_inner(student)
            .freeze(|key| is_trainable(stage.trainable, key));
        let config = TrainerConfig {
            schedule: Schedule::cosine(stage.lr_peak, stage.warmup_steps, stage.steps),
            betas: stage.betas,
            weight_decay: stage.weight_decay,
            clip_norm: stage.clip_norm,
        };
        let trainer = Trainer::<B>::new(config, &model, device);
        anyhow::ensure!(
            stage.steps == 0 || trainer.has_trainable(),
            "stage `{}` has nothing to train: the student has no tensor of a new mixer; use `trainable = \"all\"`",
            stage.kind.name()
        );
        Ok(Self {
            stage,
            order: order(stage, lengths),
            model: Some(model),
            trainer,
            last_losses: Vec::new(),
            step: 0,
            summary: StageSummary {
                steps: 0,
                skipped_steps: 0,
                tokens: 0,
                final_loss: f64::NAN,
            },
        })
    }

    /// Goes to the newest checkpoint that is whole, if there is one; says so, and which ones are not.
    ///
    /// # Errors
    /// When it is of another stage, or the folder cannot be read.
    pub fn resume(
        &mut self,
        checkpoints: &StepCheckpoints,
        events: &mut dyn EventSink,
    ) -> anyhow::Result<()> {
        let found = checkpoints.newest()?;
        let mut note = |text: String| events.emit(Event::Note { text });
        for broken in &found.broken {
            note(format!("not used: {broken}"));
        }
        match found.checkpoint {
            Some(checkpoint) => {
                self.restore(&checkpoint)?;
                note(format!(
                    "continuing after step {} of {} from `{}`",
                    self.step,
                    self.stage.steps,
                    checkpoint.path.display()
                ));
            }
            None if !found.broken.is_empty() => note("the stage starts again".into()),
            None => {}
        }
        Ok(())
    }

    /// Examples of the next step, by micro-batch.
    pub fn next_batches(&mut self) -> Vec<Vec<usize>> {
        (0..self.stage.grad_accumulation.max(1))
            .map(|_| self.order.next_batch())
            .collect()
    }

    /// Takes a step on `tokens` real tokens.
    ///
    /// # Errors
    /// As [`Trainer::step`].
    pub fn take_step(
        &mut self,
        micro_batches: usize,
        tokens: usize,
        forward: impl FnMut(&HybridModel<Autodiff<B>>, usize) -> MicroStep<B>,
    ) -> anyhow::Result<StepReport> {
        let model = self.model.take().expect("put back after every step");
        let (model, report) = self.trainer.step(model, micro_batches, forward)?;
        self.model = Some(model);
        self.step += 1;
        self.summary.tokens += tokens as u64;
        if report.is_applied {
            self.summary.steps += 1;
            if self.step > self.stage.steps - self.stage.steps.div_ceil(10) {
                self.last_losses.push(report.loss);
            }
        } else {
            self.summary.skipped_steps += 1;
        }
        Ok(report)
    }

    /// Where the stage stands.
    pub fn progress(&self) -> StageProgress {
        StageProgress {
            step: self.step,
            applied_steps: self.summary.steps,
            skipped_steps: self.summary.skipped_steps,
            bad_steps: self.trainer.bad_steps(),
            tokens: self.summary.tokens,
            order: self.order.position(),
        }
    }

    /// The tensors that go with it.
    pub fn tensors(&self) -> Tensors {
        let model = self.model.as_ref().expect("put back after every step");
        let mut tensors = self.trainer.tensors(model);
        let losses = self.last_losses.clone();
        let count = losses.len();
        tensors.insert(LAST_LOSSES.into(), TensorData::new(losses, [count]));
        tensors
    }

    fn restore(&mut self, checkpoint: &StepCheckpoint) -> anyhow::Result<()> {
        let StepCheckpoint {
            progress, tensors, ..
        } = checkpoint;
        let model = self.model.take().expect("put back after every step");
        let model = self
            .trainer
            .restore(model, progress.step, progress.bad_steps, tensors)?;
        self.model = Some(model);
        let losses = tensors.get(LAST_LOSSES);
        self.last_losses = losses.map_or_else(Vec::new, |losses| losses.iter::<f64>().collect());
        self.order.seek(progress.order);
        self.step = progress.step;
        self.summary = StageSummary {
            steps: progress.applied_steps,
            skipped_steps: progress.skipped_steps,
            tokens: progress.tokens,
            final_loss: f64::NAN,
        };
        Ok(())
    }

    /// The student and the numbers of the stage.
    pub fn finish(mut self) -> StageOutcome<B> {
        if !self.last_losses.is_empty() {
            self.summary.final_loss =
                self.last_losses.iter().sum::<f64>() / self.last_losses.len() as f64;
        }
        let model = self.model.expect("put back after every step");
        StageOutcome::Finished {
            model: model.valid(),
            summary: self.summary,
        }
    }
}
