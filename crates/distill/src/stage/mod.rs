//! Training stages: each is data, a loss and what is trainable (method, section 4.1).

mod alignment;
pub(crate) mod allocation;
mod course;
mod distillation;
mod dpo;
mod guard;
pub mod pretraining;
mod sft;
mod steps;

pub use guard::GuardCounts;
use kernels::SsmBackend;
use model::{HybridModel, Tokenizer};

use crate::checkpoint::StepCheckpoints;
use crate::data::Datasets;
use crate::recipe::{Plan, StageKind, StagePlan};
use crate::run::{EventSink, StopFlag};
use crate::teacher_cache::TeacherCaches;

/// What a stage works with.
pub struct StageContext<'a, B: SsmBackend> {
    /// The whole plan.
    pub plan: &'a Plan,
    /// The stage.
    pub stage: &'a StagePlan,
    /// Frozen teacher.
    pub teacher: &'a HybridModel<B>,
    /// Policy that DPO compares with; absent: as the plan says, the student before the stage or the teacher.
    pub reference: Option<&'a HybridModel<B>>,
    /// Tokenizer of teacher and student.
    pub tokenizer: &'a Tokenizer,
    /// Data of the run.
    pub data: &'a Datasets,
    /// Where events go.
    pub events: &'a mut dyn EventSink,
    /// Asked after every step.
    pub stop: &'a StopFlag,
    /// Device of all models.
    pub device: &'a B::Device,
    /// Where the stage is kept while it runs, and continued from.
    pub checkpoints: &'a StepCheckpoints,
    /// Most sequences (DPO: pairs) that are computed at once: the plan's `batch_size`, or fewer where a device has no
    /// memory for that. The order of examples and what a step averages over stay the plan's.
    pub micro_batch: usize,
    /// What the teacher was asked before.
    pub teacher_caches: &'a TeacherCaches,
}

/// How a stage ended.
#[expect(
    clippy::large_enum_variant,
    reason = "there is one a stage, and it is taken apart at once"
)]
pub enum StageOutcome<B: SsmBackend> {
    /// All steps were taken.
    Finished {
        /// The trained student, without a tape.
        model: HybridModel<B>,
        /// Numbers of the stage.
        summary: StageSummary,
    },
    /// The user stopped it; a checkpoint within the stage is on disk.
    Interrupted,
}

/// Numbers of a finished stage.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StageSummary {
    /// Optimiser steps that changed the weights.
    pub steps: usize,
    /// Steps left out because loss or gradient were not finite.
    pub skipped_steps: usize,
    /// Real tokens seen, padding left out.
    pub tokens: u64,
    /// Mean loss over the last tenth of the steps.
    pub final_loss: f64,
}

/// Runs a stage on `student`.
///
/// The same plan, data and student give the same losses on the same backend, however often the stage was stopped and
/// continued.
///
/// # Errors
/// When the data has no example for the stage, it was taken back as often as the plan allows, or a checkpoint cannot be
/// written or is of another stage.
pub fn run_stage<B: SsmBackend>(
    context: StageContext<B>,
    student: HybridModel<B>,
) -> anyhow::Result<StageOutcome<B>> {
    match context.stage.kind {
        StageKind::Alignment => alignment::run(context, student),
        StageKind::Distillation => distillation::run(context, student),
        StageKind::Sft => sft::run(context, student),
        StageKind::Dpo => dpo::run(context, student),
    }
}

#[cfg(test)]
mod tests;
