//! The ablations and tables that are part of the binary.
use crate::error::DistillError;
use crate::recipe::{Definition, parse_table};

/// Definitions under their names.
#[derive(Debug, Clone, Copy)]
pub struct Catalogue {
    /// Verb of the command line.
    pub verb: &'static str,
    files: &'static [(&'static str, &'static str)],
}

macro_rules! files {
    ($folder:literal, $($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../../../experiments/", $folder, "/", $name, ".toml")))),*]
    };
}

/// One for each row of method, section 8, and the start options of section 9.
pub const ABLATIONS: Catalogue = Catalogue {
    verb: "ablate",
    files: files![
        "ablations",
        "alignment",
        "dpo-ref",
        "freeze",
        "init",
        "layer-choice",
        "layout",
        "loss",
        "no-mamba",
        "progressive",
        "quirks",
        "stages",
        "start",
    ],
};

/// The paper's tables that can be had without a judge.
pub const REPRODUCTIONS: Catalogue = Catalogue {
    verb: "reproduce",
    files: files!["reproductions", "table-6", "table-7", "table-8", "table-9"],
};

impl Catalogue {
    /// Every name, in order.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.files.iter().map(|(name, _)| *name)
    }

    /// The definition of a name.
    ///
    /// # Errors
    /// [`DistillError::RecipeSyntax`] for a file that is not one, [`DistillError::UnknownArm`] for another name.
    pub fn definition(&self, name: &str) -> Result<Definition, DistillError> {
        let file = self.files.iter().find(|(known, _)| *known == name);
        let (_, text) = file.ok_or_else(|| DistillError::UnknownArm {
            name: name.into(),
            known: self.names().map(str::to_string).collect(),
        })?;
        parse_table(text, &format!("{} {name}", self.verb), &[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::{AblationBase, Plan, default_ablation_recipe};
    use crate::sweep::check_ratios;

    /// Layers of the built-in teacher.
    const N_LAYERS: usize = 8;

    fn plan(catalogue: Catalogue, name: &str) -> Plan {
        let definition = catalogue.definition(name).unwrap();
        let base = AblationBase {
            text: default_ablation_recipe(),
            name: "tiny-ablation.toml",
            is_built_in: true,
            overrides: &[],
        };
        let command = format!("{} {name}", catalogue.verb);
        Plan::resolve_ablation(&definition, &command, &base, 3)
            .unwrap_or_else(|error| panic!("{command}: {error}"))
    }

    fn all() -> impl Iterator<Item = (String, Plan)> {
        [ABLATIONS, REPRODUCTIONS]
            .into_iter()
            .flat_map(|catalogue| {
                let name =
                    move |name| (format!("{} {name}", catalogue.verb), plan(catalogue, name));
                catalogue.names().map(name)
            })
    }

    #[test]
    fn every_definition_resolves_at_equal_budgets() {
        for (name, plan) in all() {
            check_ratios(&plan, N_LAYERS).unwrap();
            let ablation = plan.ablation.as_ref().unwrap();
            assert!(!ablation.checks.is_empty(), "{name}");
            assert!(plan.arms.len() >= 2 * 3, "{name}");
            // Independently of the resolver: the sequences of each student.
            for arm in &plan.arms {
                let sequences = |stages: &[crate::recipe::StagePlan]| -> usize {
                    let pairs = |stage: &crate::recipe::StagePlan| match stage.kind {
                        crate::recipe::StageKind::Dpo => 2,
                        _ => 1,
                    };
                    let of_stage = |stage: &crate::recipe::StagePlan| {
                        stage.steps * stage.batch_size * stage.grad_accumulation * pairs(stage)
                    };
                    stages.iter().map(of_stage).sum()
                };
                let rungs: Vec<usize> = arm
                    .rungs
                    .iter()
                    .map(|rung| sequences(&rung.stages))
                    .collect();
                let students = match arm.is_chained {
                    true => vec![rungs.iter().sum()],
                    false => rungs,
                };
                for found in students {
                    assert_eq!(found, ablation.budget_sequences, "{name}: {}", arm.name);
                }
            }
        }
    }

    #[test]
    fn arms_differ_and_seeds_of_an_arm_differ_by_the_seed_alone() {
        for (name, plan) in all() {
            let arms = plan.arms.len() / 3;
            let bare = |index: usize| {
                let mut arm = plan.arms[index].clone();
                arm.name.clear();
                arm.seed = 0;
                let choice = arm.layer_choice.as_mut();
                let of_rungs = arm.rungs.iter_mut().flat_map(|rung| &mut rung.stages);
                for stage in of_rungs.chain(choice.map(|choice| &mut choice.alignment)) {
                    stage.arm.clear();
                    stage.seed = 0;
                }
                arm
            };
            for index in 0..arms {
                assert_eq!(bare(index), bare(index + arms), "{name}");
                for other in 0..index {
                    assert_ne!(
                        bare(index),
                        bare(other),
                        "{name}: {}",
                        plan.arms[index].name
                    );
                }
            }
        }
    }

    #[test]
    fn every_definition_fits_the_recipe_of_smollm2_too() {
        let overrides = ["distillation.steps=288".to_string()];
        let base = AblationBase {
            text: include_str!("../../../../experiments/smollm2-mamba2-sweep.toml"),
            name: "smollm2-mamba2-sweep.toml",
            is_built_in: false,
            overrides: &overrides,
        };
        for catalogue in [ABLATIONS, REPRODUCTIONS] {
            for name in catalogue.names() {
                let definition = catalogue.definition(name).unwrap();
                let plan = Plan::resolve_ablation(&definition, name, &base, 1)
                    .unwrap_or_else(|error| panic!("{name}: {error}"));
                assert_eq!(plan.ablation.as_ref().unwrap().budget_sequences, 288 * 16);
                check_ratios(&plan, 30).unwrap();
            }
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let error = ABLATIONS.definition("layouts").unwrap_err().to_string();
        assert!(
            error.contains("`layouts`") && error.contains("`layout`"),
            "{error}"
        );
    }
}
