//! Everything that is said about a run. The trainer emits events; the log writes them; the dashboard folds them.
use serde::{Deserialize, Serialize};

use super::telemetry::{MemoryUse, Sample, StepParts};
use crate::recipe::{MixerKind, StageKind};
use crate::sweep::SweepRow;

/// Size of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelSize {
    /// Blocks.
    pub n_layers: usize,
    /// Parameters, tied ones once.
    pub parameters: usize,
}

/// One thing that happened. Events after a `StageStarted` belong to that stage until the next one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Event {
    /// A run begins or is resumed.
    RunStarted {
        /// Name of the recipe.
        name: String,
        /// Hash of the plan.
        plan_sha256: String,
        /// Teacher as the recipe calls it.
        teacher: String,
        /// Size of the teacher.
        teacher_size: ModelSize,
        /// Backend name.
        backend: String,
        /// Every stage of the plan: arm, attention ratio, stage, steps.
        stages: Vec<(String, f64, StageKind, usize)>,
        /// Whether an earlier part of this run is continued.
        is_resumed: bool,
    },
    /// What the run has to compute with, said once a process.
    Device {
        /// How burn calls it.
        name: String,
        /// What it was measured to do in matrix products, floating-point operations a second.
        peak_flops_per_s: f64,
        /// Memory of the host, where the operating system says.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host_total_bytes: Option<u64>,
    },
    /// A stage begins, or is taken from its checkpoint (then `StageFinished` follows at once).
    StageStarted {
        /// Arm of the sweep.
        arm: String,
        /// Share of layers that keep attention, as asked for.
        attention_ratio: f64,
        /// Which stage.
        stage: StageKind,
        /// Optimiser steps that it will take.
        steps: usize,
    },
    /// The student that the stage is about to train.
    Student {
        /// What its other layers have in place of attention.
        mixer: MixerKind,
        /// Layers that keep attention, ascending.
        attn_layers: Vec<usize>,
        /// All layers.
        n_layers: usize,
        /// Parameters, tied ones once.
        parameters: usize,
        /// Parameters that the stage changes.
        trainable: usize,
        /// Floating-point operations that a token takes, teacher and backward pass included.
        flops_per_token: f64,
    },
    /// An optimiser step is done.
    Step {
        /// 1-based within the stage.
        step: usize,
        /// What was minimised.
        loss: f64,
        /// Cross-entropy, mean over labels, nats.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ce: Option<f64>,
        /// KL to the teacher as reduced by the plan, nats.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kl: Option<f64>,
        /// DPO reward margin.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        margin: Option<f64>,
        /// DPO reward accuracy, 0 to 1.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        accuracy: Option<f64>,
        /// Learning rate of this step.
        lr: f64,
        /// Global gradient norm before clipping.
        grad_norm: f64,
        /// Tokens of the stage so far.
        tokens: u64,
        /// Tokens a second over this step.
        tokens_per_s: f64,
    },
    /// The step was looked at more closely: about a hundred of a stage are.
    Profile {
        /// 1-based within the stage.
        step: usize,
        /// Where its time went.
        parts: StepParts,
        /// Gradient norm of the trained tensors of each layer.
        layer_grad_norms: Vec<f64>,
        /// Memory in use after it.
        memory: MemoryUse,
    },
    /// A step whose loss or gradient norm was not finite was left out.
    Skipped {
        /// 1-based within the stage.
        step: usize,
        /// What was found.
        reason: String,
    },
    /// The user asked for a pause; no step is taken until it is over.
    Paused {
        /// Last step that was taken.
        step: usize,
    },
    /// The pause is over.
    Continued,
    /// The stage was taken back to a checkpoint, because its loss was not finite or too high.
    Rewound {
        /// Step after which that was noticed.
        step: usize,
        /// Step that it goes on after; 0 is its start.
        to_step: usize,
        /// Which time it is, from 1.
        rewind: usize,
        /// How many times the plan allows.
        max_rewinds: usize,
        /// What was wrong.
        reason: String,
    },
    /// A model was measured: a student after a stage, or the teacher (`stage` absent).
    Evaluated {
        /// Arm of the sweep, or `teacher`.
        arm: String,
        /// Share of layers that keep attention, as asked for.
        attention_ratio: f64,
        /// Stage just finished; absent for the teacher.
        stage: Option<StageKind>,
        /// Perplexity on the held-out replies.
        perplexity: f64,
        /// Perplexity over the teacher's.
        perplexity_ratio: f64,
        /// Exact match by task name, 0 to 1.
        tasks: Vec<(String, f64)>,
        /// Decode speed at batch 1; measured once a ratio.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tokens_per_s: Option<f64>,
    },
    /// What teacher and student say to the same prompts, greedily, after a stage.
    Samples {
        /// Arm of the sweep.
        arm: String,
        /// Share of layers that keep attention, as asked for.
        attention_ratio: f64,
        /// Stage just finished.
        stage: StageKind,
        /// One a prompt.
        samples: Vec<Sample>,
    },
    /// A stage is done and on disk.
    StageFinished {
        /// Folder of the checkpoint, relative to the run folder.
        checkpoint: String,
        /// Wall time of the stage with its evaluation; 0 if it was taken from its checkpoint.
        wall_ms: u64,
    },
    /// Something worth a line.
    Note {
        /// The line.
        text: String,
    },
    /// The user stopped the run; finished stages and the steps of the one under way are kept.
    RunInterrupted,
    /// The run failed.
    RunFailed {
        /// The error in one line.
        message: String,
    },
    /// The run is complete.
    RunFinished {
        /// The final table.
        rows: Vec<SweepRow>,
    },
}

impl Event {
    /// Whether nothing comes after it until the run is resumed.
    pub fn is_ending(&self) -> bool {
        matches!(
            self,
            Self::RunFinished { .. } | Self::RunInterrupted | Self::RunFailed { .. }
        )
    }
}

/// An event with its time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TimedEvent {
    /// Milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

impl TimedEvent {
    /// The event, now.
    pub fn now(event: Event) -> Self {
        Self {
            time_ms: Self::now_ms(),
            event,
        }
    }

    /// As a line of the log, without its end.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("an event holds only numbers, strings and lists")
    }

    /// Milliseconds since the Unix epoch, now.
    pub fn now_ms() -> u64 {
        let since = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

/// Takes events. Emitting never fails and never blocks training: a sink keeps its own errors.
pub trait EventSink {
    /// Takes one event.
    fn emit(&mut self, event: Event);
}

/// Collects events; for tests.
impl EventSink for Vec<Event> {
    fn emit(&mut self, event: Event) {
        self.push(event);
    }
}
