//! `state.json`: what is finished, rewritten whole after each stage.
use serde::{Deserialize, Serialize};

use crate::recipe::{Plan, StageKind, StagePlan};

/// What was measured of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scores {
    /// Perplexity on the held-out replies.
    pub perplexity: f64,
    /// Exact match by task name, 0 to 1.
    pub tasks: Vec<(String, f64)>,
    /// Decode speed at batch 1, tokens a second.
    pub tokens_per_s: Option<f64>,
    /// Decode state of one sequence at 4096 tokens.
    pub state_bytes: usize,
    /// Layers that keep attention.
    pub attn_layers: usize,
}

/// A stage that is done, measured and on disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FinishedStage {
    /// Arm of the sweep.
    pub arm: String,
    /// Share of layers that keep attention, as asked for.
    pub attention_ratio: f64,
    /// Which stage.
    pub stage: StageKind,
    /// Checkpoint folder, relative to the run folder.
    pub checkpoint: String,
    /// Hash of its `model.safetensors`.
    pub sha256: String,
    /// What was measured.
    pub scores: Scores,
}

/// A stage that a device had no memory for at the plan's `batch_size`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MicroBatch {
    /// Arm of the sweep.
    pub arm: String,
    /// Share of layers that keep attention, as asked for.
    pub attention_ratio: f64,
    /// Which stage.
    pub stage: StageKind,
    /// Most sequences (DPO: pairs) that are computed at once.
    pub size: usize,
}

/// What is finished, and what a run has learned about its device.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunState {
    /// The teacher, once measured.
    pub teacher: Option<Scores>,
    /// Stages in the order in which they finished.
    pub finished: Vec<FinishedStage>,
    /// Stages in smaller micro-batches than planned (`--auto-batch`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub micro_batches: Vec<MicroBatch>,
}

impl RunState {
    /// File name in the run folder.
    pub const FILE: &'static str = "state.json";

    /// Stages of a plan that are finished, and all of them.
    pub fn count(&self, plan: &Plan) -> (usize, usize) {
        let is_done = |stage: &&StagePlan| {
            self.find(&stage.arm, stage.attention_ratio, stage.kind)
                .is_some()
        };
        (plan.stages().filter(is_done).count(), plan.stages().count())
    }

    /// Most sequences of a stage that are computed at once: the plan's, unless fewer are recorded.
    pub fn micro_batch(&self, stage: &StagePlan) -> usize {
        let of_stage = |known: &&MicroBatch| {
            (&known.arm, known.attention_ratio, known.stage)
                == (&stage.arm, stage.attention_ratio, stage.kind)
        };
        let found = self.micro_batches.iter().find(of_stage);
        found.map_or(stage.batch_size, |known| known.size)
    }

    /// Records how many sequences of a stage are computed at once, in place of what was recorded before.
    pub fn set_micro_batch(&mut self, stage: &StagePlan, size: usize) {
        self.micro_batches.retain(|known| {
            (&known.arm, known.attention_ratio, known.stage)
                != (&stage.arm, stage.attention_ratio, stage.kind)
        });
        self.micro_batches.push(MicroBatch {
            arm: stage.arm.clone(),
            attention_ratio: stage.attention_ratio,
            stage: stage.kind,
            size,
        });
    }

    /// The record of a stage, if it is finished.
    pub fn find(
        &self,
        arm: &str,
        attention_ratio: f64,
        stage: StageKind,
    ) -> Option<&FinishedStage> {
        self.finished.iter().find(|done| {
            done.arm == arm && done.attention_ratio == attention_ratio && done.stage == stage
        })
    }
}
