//! What is measured: the teacher of a run and the checkpoints that it has.
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::dashboard::percent;
use crate::recipe::{ArmPlan, Plan, StageKind};
use crate::run::{FinishedStage, RunState};

/// A model to measure.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Subject {
    /// Arm of the run, or `teacher`.
    pub arm: String,
    /// Share of layers that keep attention, as asked for.
    pub attention_ratio: f64,
    /// Layers that keep attention.
    pub attn_layers: usize,
    /// Stage after which the checkpoint was written; none of the teacher.
    pub stage: Option<StageKind>,
    /// Whether no later stage of its ratio is finished.
    pub is_last: bool,
    /// Hash of its weights.
    pub sha256: String,
    /// Folder of its checkpoint; none of the teacher.
    #[serde(skip)]
    pub folder: Option<PathBuf>,
}

impl Subject {
    /// The teacher.
    pub fn teacher(n_layers: usize, sha256: &str) -> Self {
        Self {
            arm: "teacher".into(),
            attention_ratio: 1.0,
            attn_layers: n_layers,
            stage: None,
            is_last: true,
            sha256: sha256.into(),
            folder: None,
        }
    }

    /// Whether it is the last checkpoint of a ratio of the main arm.
    pub fn is_result(&self) -> bool {
        self.is_last && self.arm == ArmPlan::CHAIN
    }

    /// What it is called in tables: `50 %`, `50 % random-mixer`, `teacher`.
    pub fn label(&self) -> String {
        if self.stage.is_none() {
            return self.arm.clone();
        }
        let attention = format!("{} %", percent(self.attention_ratio));
        match self.arm.as_str() {
            ArmPlan::CHAIN => attention,
            arm => format!(
                "{attention} {}",
                arm.strip_prefix("control-").unwrap_or(arm)
            ),
        }
    }

    /// Its stage in tables.
    pub fn stage_name(&self) -> &'static str {
        self.stage.map_or("-", StageKind::name)
    }
}

/// The checkpoints of a run in the order of its plan: arm by arm, ratio by ratio, stage by stage.
pub fn subjects(plan: &Plan, state: &RunState, run: &Path) -> Vec<Subject> {
    let mut subjects = Vec::new();
    for arm in &plan.arms {
        for rung in &arm.rungs {
            let find = |kind: StageKind| state.find(&arm.name, rung.attention_ratio, kind);
            let finished: Vec<&FinishedStage> = rung
                .stages
                .iter()
                .filter_map(|stage| find(stage.kind))
                .collect();
            for (index, done) in finished.iter().enumerate() {
                subjects.push(Subject {
                    arm: arm.name.clone(),
                    attention_ratio: rung.attention_ratio,
                    attn_layers: done.scores.attn_layers,
                    stage: Some(done.stage),
                    is_last: index + 1 == finished.len(),
                    sha256: done.sha256.clone(),
                    folder: Some(run.join(&done.checkpoint)),
                });
            }
        }
    }
    subjects
}
