//! Everything that changes while a stage runs: taken step by step, put down in a checkpoint, taken up again.
use burn::backend::Autodiff;
use burn::module::AutodiffModule;
use burn::tensor::TensorData;
use kernels::SsmBackend;
use model::HybridModel;

use super::guard::{Guard, GuardCounts};
use super::steps::order;
use super::{StageOutcome, StageSummary};
use crate::checkpoint::{StageProgress, StepCheckpoint, StepCheckpoints, Tensors};
use crate::data::BatchOrder;
use crate::recipe::{GuardPlan, StagePlan};
use crate::run::{Event, EventSink};
use crate::trainer::{MicroStep, Probe, Schedule, StepReport, Trainer, TrainerConfig};

/// Name of the losses that the summary is made of among a checkpoint's tensors.
const LAST_LOSSES: &str = "last_losses";
/// Name of the losses that the guard compares with.
const GUARD_LOSSES: &str = "guard_losses";

/// Model, optimiser and order of examples of a stage, at some step.
pub(super) struct Course<'a, B: SsmBackend> {
    stage: &'a StagePlan,
    order: BatchOrder,
    /// `None` only while a step is being taken.
    model: Option<HybridModel<Autodiff<B>>>,
    trainer: Trainer<B>,
    /// What the stage started from: it shares the weights that do not train.
    start: HybridModel<B>,
    guard: Guard,
    /// Losses of the last tenth of the steps.
    last_losses: Vec<f64>,
    /// Steps taken, skipped ones included.
    pub step: usize,
    /// Numbers up to that step.
    pub summary: StageSummary,
}

/// Model and optimiser before the first step.
fn untrained<B: SsmBackend>(
    stage: &StagePlan,
    student: HybridModel<B>,
    device: &B::Device,
) -> (HybridModel<Autodiff<B>>, Trainer<B>) {
    let model = HybridModel::<Autodiff<B>>::from_inner(student)
        .freeze(|key| stage.trainable.includes(key))
        .with_frozen_projections_cast();
    let config = TrainerConfig {
        schedule: Schedule::cosine(stage.lr_peak, stage.warmup_steps, stage.steps),
        betas: stage.betas,
        weight_decay: stage.weight_decay,
        clip_norm: stage.clip_norm,
    };
    let trainer = Trainer::<B>::new(config, &model, device);
    (model, trainer)
}

impl<'a, B: SsmBackend> Course<'a, B> {
    /// Before the first step.
    ///
    /// # Errors
    /// When the stage has steps but no tensor to train.
    pub fn start(
        stage: &'a StagePlan,
        guard: GuardPlan,
        student: HybridModel<B>,
        lengths: Vec<usize>,
        device: &B::Device,
    ) -> anyhow::Result<Self> {
        let (model, trainer) = untrained(stage, student.clone(), device);
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
            start: student,
            guard: Guard::new(guard),
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
        let found = checkpoints.newest(|_| true)?;
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
    pub fn take_step(
        &mut self,
        micro_batches: usize,
        tokens: usize,
        probe: &Probe,
        forward: impl FnMut(&HybridModel<Autodiff<B>>, usize) -> MicroStep<B>,
    ) -> StepReport {
        let model = self.model.take().expect("put back after every step");
        let (model, report) = self
            .trainer
            .step_probed(model, micro_batches, probe, forward);
        self.model = Some(model);
        self.step += 1;
        self.summary.tokens += tokens as u64;
        if report.is_applied() {
            self.summary.steps += 1;
            if self.step > self.stage.steps - self.stage.steps.div_ceil(10) {
                self.last_losses.push(report.loss);
            }
        } else {
            self.summary.skipped_steps += 1;
        }
        report
    }

    /// Counts the step just taken, and takes the stage back if the guard says so: to the newest checkpoint from before
    /// the trouble, or to its start. The order of examples goes on, past those that it was in trouble with.
    ///
    /// # Errors
    /// When the stage was taken back as often as the plan allows, or a checkpoint cannot be read or written.
    pub fn guard(
        &mut self,
        report: &StepReport,
        checkpoints: &StepCheckpoints,
        events: &mut dyn EventSink,
    ) -> anyhow::Result<()> {
        let Some(reason) = self.guard.judge(report) else {
            return Ok(());
        };
        let (step, max_rewinds) = (self.step, self.guard.plan.max_rewinds);
        let (table, rewinds) = (self.stage.table(), self.guard.counts.rewinds);
        anyhow::ensure!(
            rewinds < max_rewinds,
            "stage `{}`, step {step}: {reason}; it was rewound {rewinds} times (`guard.max_rewinds`): \
             lower `{table}.lr_peak` or `{table}.clip_norm`, or lengthen `{table}.warmup_steps`",
            self.stage.path()
        );
        let (seen, order) = (self.summary, self.order.position());
        let found = checkpoints.newest(|progress| progress.guard.is_calm())?;
        match &found.checkpoint {
            Some(checkpoint) => self.restore(checkpoint)?,
            None => self.restart(),
        }
        self.order.seek(order);
        self.summary.tokens = seen.tokens;
        self.summary.skipped_steps = seen.skipped_steps;
        self.guard.counts.rewinds = rewinds + 1;
        checkpoints.forget_after(self.step)?;
        checkpoints.save(&self.progress(), &self.tensors())?;
        events.emit(Event::Rewound {
            step,
            to_step: self.step,
            rewind: rewinds + 1,
            max_rewinds,
            reason,
        });
        Ok(())
    }

    /// Whether nothing is wrong just now.
    pub fn is_calm(&self) -> bool {
        self.guard.counts.is_calm()
    }

    /// Goes back before the first step; the order of examples stays where it is.
    fn restart(&mut self) {
        let device = self.start.device();
        let (model, trainer) = untrained(self.stage, self.start.clone(), &device);
        self.model = Some(model);
        self.trainer = trainer;
        self.guard.restore(GuardCounts::default(), Vec::new());
        self.last_losses.clear();
        self.step = 0;
        self.summary.steps = 0;
    }

    /// Where the stage stands.
    pub fn progress(&self) -> StageProgress {
        StageProgress {
            step: self.step,
            applied_steps: self.summary.steps,
            skipped_steps: self.summary.skipped_steps,
            tokens: self.summary.tokens,
            order: self.order.position(),
            guard: self.guard.counts,
        }
    }

    /// The tensors that go with it.
    pub fn tensors(&self) -> Tensors {
        let model = self.model.as_ref().expect("put back after every step");
        let mut tensors = self.trainer.tensors(model);
        let lists = [
            (LAST_LOSSES, self.last_losses.clone()),
            (GUARD_LOSSES, self.guard.losses()),
        ];
        for (name, losses) in lists {
            let count = losses.len();
            tensors.insert(name.into(), TensorData::new(losses, [count]));
        }
        tensors
    }

    fn restore(&mut self, checkpoint: &StepCheckpoint) -> anyhow::Result<()> {
        let StepCheckpoint {
            progress, tensors, ..
        } = checkpoint;
        let model = self.model.take().expect("put back after every step");
        let model = self.trainer.restore(model, progress.step, tensors)?;
        self.model = Some(model);
        let losses = |name: &str| {
            let losses = tensors.get(name);
            losses.map_or_else(Vec::new, |losses| losses.iter::<f64>().collect())
        };
        self.last_losses = losses(LAST_LOSSES);
        self.guard.restore(progress.guard, losses(GUARD_LOSSES));
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
            model: model.valid().with_weights_of(&self.start),
            summary: self.summary,
        }
    }
}
