//! The part of a plan that one process runs.
use std::path::Path;

use crate::dashboard::percent;
use crate::error::DistillError;
use crate::recipe::{ArmPlan, Plan, RungPlan, StageKind, StagePlan};
use crate::run::{FinishedStage, RunState};

/// The arms that a process runs: all of the plan, or those that were named.
///
/// A name is an arm (`chain`, `control-random-mixer`), a ratio of the main arm in percent (`25`), or a ratio of another
/// (`control-random-mixer/0`).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Selection {
    names: Vec<String>,
    /// Arm and ratio of each student; meaningless without names.
    students: Vec<(String, f64)>,
}

impl Selection {
    /// Finds what is named in a plan; no names select everything.
    ///
    /// # Errors
    /// [`DistillError::UnknownArm`] with the names that there are.
    pub fn of(plan: &Plan, names: &[String]) -> Result<Self, DistillError> {
        let mut selection = Self {
            names: names.to_vec(),
            students: Vec::new(),
        };
        for name in names {
            let is_named = |arm: &&ArmPlan, rung: &&RungPlan| {
                arm.name == *name || student_name(arm, rung) == *name
            };
            let before = selection.students.len();
            for arm in &plan.arms {
                let rungs = arm.rungs.iter().filter(|rung| is_named(&arm, rung));
                let students = rungs.map(|rung| (arm.name.clone(), rung.attention_ratio));
                selection.students.extend(students);
            }
            if selection.students.len() == before {
                return Err(DistillError::UnknownArm {
                    name: name.clone(),
                    known: known_names(plan),
                });
            }
        }
        Ok(selection)
    }

    /// The names as they were given; none for everything.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether a student is to be made.
    pub fn has(&self, arm: &ArmPlan, rung: &RungPlan) -> bool {
        self.names.is_empty()
            || self
                .students
                .iter()
                .any(|(name, ratio)| *name == arm.name && *ratio == rung.attention_ratio)
    }

    /// A name for each selected student that can be a file's; none for everything.
    pub fn locks(&self) -> Vec<String> {
        let name = |(arm, ratio): &(String, f64)| format!("{arm}-{}", percent(*ratio));
        let mut names: Vec<_> = self.students.iter().map(name).collect();
        names.sort();
        names.dedup();
        names
    }

    /// The plan without the rest.
    pub fn part(&self, plan: &Plan) -> Plan {
        let mut part = plan.clone();
        for (arm, whole) in part.arms.iter_mut().zip(&plan.arms) {
            arm.rungs.retain(|rung| self.has(whole, rung));
        }
        part.arms.retain(|arm| !arm.rungs.is_empty());
        part
    }

    /// Whether every selected student has what it starts from: it is selected too, or finished in the run folder.
    ///
    /// # Errors
    /// [`DistillError::MissingParent`] with the first that has not.
    pub fn check_parents(
        &self,
        plan: &Plan,
        state: &RunState,
        run: &Path,
    ) -> Result<(), DistillError> {
        for arm in plan.arms.iter().filter(|arm| arm.is_chained) {
            for index in 1..arm.rungs.len() {
                let is_left_out = !self.has(arm, &arm.rungs[index - 1]);
                if self.has(arm, &arm.rungs[index]) && is_left_out {
                    finished_parent(arm, index, state, run)?;
                }
            }
        }
        Ok(())
    }
}

/// The finished stage that the student at `index` of a chained arm starts from; `None` for the init model.
///
/// # Errors
/// [`DistillError::MissingParent`] if it is not in the run folder.
pub(super) fn finished_parent<'a>(
    arm: &ArmPlan,
    index: usize,
    state: &'a RunState,
    run: &Path,
) -> Result<Option<&'a FinishedStage>, DistillError> {
    let mut parents = arm.rungs[..index].iter().rev();
    let Some((rung, stage)) = parents.find_map(|rung| Some((rung, base_stage(rung)?))) else {
        return Ok(None);
    };
    let checkpoint = stage.checkpoint();
    let found = state.find(&stage.arm, stage.attention_ratio, stage.kind);
    match found.filter(|_| run.join(&checkpoint).is_dir()) {
        Some(done) => Ok(Some(done)),
        None => Err(DistillError::MissingParent {
            arm: student_name(arm, &arm.rungs[index]),
            parent: student_name(arm, rung),
            checkpoint,
            run: run.into(),
        }),
    }
}

/// The stage that the next ratio starts from: the last but DPO, which is a leaf.
fn base_stage(rung: &RungPlan) -> Option<&StagePlan> {
    let mut stages = rung.stages.iter().rev();
    stages.find(|stage| stage.kind != StageKind::Dpo)
}

/// The ratio, with its arm if that is not the main one.
fn student_name(arm: &ArmPlan, rung: &RungPlan) -> String {
    let ratio = percent(rung.attention_ratio);
    match arm.side_name() {
        None => ratio,
        Some(_) => format!("{}/{ratio}", arm.name),
    }
}

fn known_names(plan: &Plan) -> Vec<String> {
    let of_arm = |arm: &ArmPlan| {
        let students = arm.rungs.iter().map(|rung| student_name(arm, rung));
        std::iter::once(arm.name.clone())
            .chain(students)
            .collect::<Vec<_>>()
    };
    plan.arms.iter().flat_map(of_arm).collect()
}
