//! The loop that all stages share: order of examples, steps, events, stopping.

use std::time::{Duration, Instant};

use burn::backend::Autodiff;
use kernels::SsmBackend;
use model::HybridModel;

use super::course::Course;
use super::{StageContext, StageOutcome, allocation};
use crate::data::BatchOrder;
use crate::recipe::StagePlan;
use crate::run::{Event, EventSink, MemoryUse, StopFlag};
use crate::trainer::{MicroStep, Part, Probe, StepReport};

/// Steps of a stage that are looked at closely, about.
const PROFILES: usize = 100;
/// Time between two looks at whether a pause is over.
const PAUSE: Duration = Duration::from_millis(50);

/// What is particular to a stage.
pub(super) trait Examples<B: SsmBackend> {
    /// Length of each example, tokens; the order of a stage follows from it.
    fn lengths(&self) -> Vec<usize>;

    /// A micro-batch on the host.
    type Batch;

    /// The micro-batches of one step, from indices of examples.
    ///
    /// # Errors
    /// When something of them is on disk and cannot be read.
    fn collect(&self, micro_batches: &[Vec<usize>]) -> anyhow::Result<Vec<Self::Batch>>;

    /// `batch` as micro-batches of at most `size` of its sequences (DPO: pairs), whose shares of the loss add up to its
    /// own.
    fn split(&self, batch: Self::Batch, size: usize) -> Vec<Self::Batch>;

    /// Real tokens of a micro-batch.
    fn tokens(&self, batch: &Self::Batch) -> usize;

    /// Loss of one of the micro-batches of a step; tells `probe` where the teacher is done.
    fn forward(
        &self,
        student: &HybridModel<Autodiff<B>>,
        step: &[Self::Batch],
        index: usize,
        probe: &Probe,
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

/// Takes the steps of `context.stage` that no checkpoint has taken yet.
pub(super) fn run<B: SsmBackend, E: Examples<B>>(
    context: StageContext<B>,
    student: HybridModel<B>,
    examples: &E,
) -> anyhow::Result<StageOutcome<B>> {
    let StageContext {
        plan,
        stage,
        events,
        stop,
        device,
        checkpoints,
        micro_batch,
        ..
    } = context;
    let guard = plan.guard;
    let student = student.checkpointed(plan.activation_checkpointing);
    let mut course = Course::start(stage, guard, student, examples.lengths(), device)?;
    course.resume(checkpoints, events)?;
    while course.step < stage.steps {
        let started = Instant::now();
        let next = course.step + 1;
        let probe = Probe::new(next == 1 || next.is_multiple_of(stage.steps.div_ceil(PROFILES)));
        let mut batches = examples.collect(&course.next_batches())?;
        if micro_batch < stage.batch_size {
            let split = |batch| examples.split(batch, micro_batch);
            batches = batches.into_iter().flat_map(split).collect();
        }
        let tokens: usize = batches.iter().map(|batch| examples.tokens(batch)).sum();
        probe.lap::<B>(Part::Data, device);
        let report = course.take_step(batches.len(), tokens, &probe, |model, index| {
            examples.forward(model, &batches, index, &probe)
        });
        allocation::check()?;
        let step = course.step;
        if let Some(not_finite) = report.not_finite {
            let (loss, norm) = (report.loss, report.grad_norm);
            let reason = format!("loss {loss}, gradient norm {norm}, {not_finite}");
            events.emit(Event::Skipped { step, reason });
        } else {
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
                tokens: course.summary.tokens,
                tokens_per_s: tokens as f64 / started.elapsed().as_secs_f64().max(1e-9),
            });
        }
        if probe.is_on() {
            let (parts, layer_grad_norms) = probe.into_findings();
            events.emit(Event::Profile {
                step,
                parts,
                layer_grad_norms: finite(layer_grad_norms),
                memory: MemoryUse::now::<B>(device),
            });
        }
        course.guard(&report, checkpoints, events)?;
        pause(course.step, events, stop);
        let is_stopped = stop.is_set();
        // After the last step the stage itself is about to be saved; in trouble there is nothing to go back to.
        let is_due = checkpoints.is_due(course.step) && course.step < stage.steps;
        let is_asked = stop.takes_checkpoint();
        if is_stopped || (is_due || is_asked) && course.is_calm() {
            checkpoints.save(&course.progress(), &course.tensors())?;
        }
        if is_asked {
            let text = match course.is_calm() {
                true => format!("checkpoint after step {}, as asked", course.step),
                false => format!(
                    "no checkpoint after step {}: the stage is in trouble",
                    course.step
                ),
            };
            events.emit(Event::Note { text });
        }
        if is_stopped {
            return Ok(StageOutcome::Interrupted);
        }
    }
    Ok(course.finish())
}

/// Waits while the user wants the run to pause.
fn pause(step: usize, events: &mut dyn EventSink, stop: &StopFlag) {
    if !stop.is_pausing() {
        return;
    }
    events.emit(Event::Paused { step });
    while stop.is_pausing() && !stop.is_set() {
        std::thread::sleep(PAUSE);
    }
    events.emit(Event::Continued);
}

/// JSON has no other numbers.
fn finite(norms: Vec<f64>) -> Vec<f64> {
    let all = norms.into_iter();
    all.map(|norm| if norm.is_finite() { norm } else { f64::MAX })
        .collect()
}
