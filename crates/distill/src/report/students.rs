//! The students of a run: which layers of each are attention.
use crate::recipe::{ArmPlan, mixer_name};
use crate::run::RunState;
use crate::sweep::layer_plan;

use super::RunFacts;

/// Layers of one student.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub(super) struct StudentLayers {
    /// Arm and ratio.
    pub name: String,
    /// Mixer in place of attention.
    pub mixer: &'static str,
    /// For each layer, whether it keeps attention.
    pub is_attention: Vec<bool>,
}

/// The students whose layers can be told: those of the logs, and of the plan where it does not leave them to a measure.
pub(super) fn students(facts: &RunFacts) -> Vec<StudentLayers> {
    let arms = facts.manifest.plan.arms.iter();
    arms.flat_map(|arm| {
        let ratios = arm.rungs.iter().map(|rung| rung.attention_ratio);
        ratios.filter_map(|ratio| student(facts, arm, ratio))
    })
    .collect()
}

fn student(facts: &RunFacts, arm: &ArmPlan, ratio: f64) -> Option<StudentLayers> {
    let mut stages = facts.history.stages.iter();
    let logged = stages.find_map(|stage| {
        let is_its = stage.arm == arm.name && stage.attention_ratio == ratio;
        stage.student.as_ref().filter(|_| is_its)
    });
    let (attn_layers, n_layers) = match logged {
        Some(student) => (student.attn_layers.clone(), student.n_layers),
        None => planned(&facts.state, arm, ratio)?,
    };
    let percent = crate::dashboard::percent(ratio);
    Some(StudentLayers {
        name: match arm.side_name() {
            None => format!("{percent} %"),
            Some(name) => format!("{percent} % {name}"),
        },
        mixer: mixer_name(arm.student.mixer),
        is_attention: (0..n_layers)
            .map(|layer_idx| attn_layers.contains(&layer_idx))
            .collect(),
    })
}

/// Layers that the plan keeps; `None` for drafters and where they are still to be found.
fn planned(state: &RunState, arm: &ArmPlan, ratio: f64) -> Option<(Vec<usize>, usize)> {
    if arm.drafter_layers.is_some() {
        return None;
    }
    let n_layers = state.teacher.as_ref()?.attn_layers;
    let mut student = arm.student.clone();
    if arm.layer_choice.is_some() {
        student.attn_layers = state.layer_ranking(arm).order();
        if student.attn_layers.len() < n_layers {
            return None;
        }
    }
    let layers = layer_plan(&student, n_layers, ratio).ok()?;
    Some((layers.attn_layers, n_layers))
}
