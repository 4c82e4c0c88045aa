//! `state.json`: what is finished, rewritten whole after each stage.
use serde::{Deserialize, Serialize};

use crate::recipe::{ArmPlan, InitFrom, Plan, StageKind, StagePlan, StudentPlan};

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

impl FinishedStage {
    fn is_of(&self, arm: &str, attention_ratio: f64, stage: StageKind) -> bool {
        self.arm == arm && self.attention_ratio == attention_ratio && self.stage == stage
    }
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

/// The layers of a student from the one that needs attention most to the one that needs it least, as far as they are known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerRanking {
    /// What the attention layers become.
    pub student: StudentPlan,
    /// Where the new mixers' weights come from.
    pub init: InitFrom,
    /// Seed of their fresh weights and of their alignment.
    pub seed: u64,
    /// What was measured, in the order in which layers lost their attention.
    pub rounds: Vec<RankingRound>,
}

/// A layer lost its attention, because the student stayed closest to the teacher without it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RankingRound {
    /// The layer.
    pub replaced: usize,
    /// KL from the teacher with each layer that still had attention replaced too, nats a label.
    pub kl: Vec<(usize, f64)>,
}

impl LayerRanking {
    /// Of the students of an arm, before anything was measured.
    pub fn of(arm: &ArmPlan) -> Self {
        Self {
            student: arm.student.clone(),
            init: arm.init,
            seed: arm.seed,
            rounds: Vec::new(),
        }
    }

    /// Whether it is about the same students.
    fn is_like(&self, other: &Self) -> bool {
        (&self.student, self.init, self.seed) == (&other.student, other.init, other.seed)
    }

    /// Layers in the order in which they keep attention: the one replaced last comes first.
    pub fn order(&self) -> Vec<usize> {
        let layers = self.rounds.iter().rev();
        layers.map(|round| round.replaced).collect()
    }
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
    /// Layers of the students that find them by KL.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layer_rankings: Vec<LayerRanking>,
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

    /// What is known about the layers of an arm's students.
    pub fn layer_ranking(&self, arm: &ArmPlan) -> LayerRanking {
        let empty = LayerRanking::of(arm);
        let found = self
            .layer_rankings
            .iter()
            .find(|known| known.is_like(&empty));
        found.cloned().unwrap_or(empty)
    }

    /// Records it, in place of what was known before.
    pub fn set_layer_ranking(&mut self, ranking: LayerRanking) {
        self.layer_rankings.retain(|known| !known.is_like(&ranking));
        self.layer_rankings.push(ranking);
    }

    /// Records a stage, in place of what was recorded of it before.
    pub fn finish(&mut self, done: FinishedStage) {
        let mut before = self.finished.iter_mut();
        match before.find(|before| before.is_of(&done.arm, done.attention_ratio, done.stage)) {
            Some(before) => *before = done,
            None => self.finished.push(done),
        }
    }

    /// The record of a stage, if it is finished.
    pub fn find(
        &self,
        arm: &str,
        attention_ratio: f64,
        stage: StageKind,
    ) -> Option<&FinishedStage> {
        let mut finished = self.finished.iter();
        finished.find(|done| done.is_of(arm, attention_ratio, stage))
    }
}
