//! The drafters of a recipe as arms of a plan.
use super::arms::drafter_stage;
use super::check::Check;
use crate::error::DistillError;
use crate::recipe::{ArmPlan, InitFrom, Plan, Recipe, RungPlan};

/// Layers of the drafters, unless the recipe says otherwise.
const LAYERS: [usize; 2] = [2, 4];

impl Plan {
    /// The plan of `recipe` with its drafters in place of its students: for each number of `drafter.layers` that many layers of
    /// the teacher, trained as `[drafter]` says on the data of the sweep (method, section 5.4).
    ///
    /// # Errors
    /// [`DistillError::RecipeValue`] with the field and what it accepts.
    pub fn resolve_drafters(recipe: &Recipe, name: &str) -> Result<Self, DistillError> {
        let mut plan = Self::resolve(recipe, name)?;
        let check = Check { recipe: name };
        let layers = recipe.drafter.layers.as_deref().unwrap_or(&LAYERS);
        let is_listed = |(at, count): (usize, &usize)| *count >= 1 && !layers[..at].contains(count);
        check.that(
            !layers.is_empty() && layers.iter().enumerate().all(is_listed),
            "drafter.layers",
            || format!("{layers:?}"),
            "numbers of layers from 1 on, each once, such as [2, 4]",
        )?;
        let student = plan.arms[0].student.clone();
        let arm = |count: &usize| {
            let name = format!("{}{count}", ArmPlan::DRAFTER);
            Ok::<_, DistillError>(ArmPlan {
                student: student.clone(),
                init: InitFrom::Attention,
                seed: recipe.seed,
                layer_choice: None,
                drafter_layers: Some(*count),
                is_chained: false,
                rungs: vec![RungPlan {
                    attention_ratio: 1.0,
                    stages: vec![drafter_stage(recipe, &name, &check)?],
                }],
                name,
            })
        };
        plan.arms = layers.iter().map(arm).collect::<Result<_, _>>()?;
        plan.name += "-drafter";
        // It holds the labels of a sweep's stages, at the cut that these allow.
        plan.teacher_cache = None;
        check.data_serves_stages(&plan)?;
        Ok(plan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::{DEFAULT_RECIPE_NAME, StageKind, Trainable, default_recipe};

    fn plan(overrides: &[&str]) -> Result<Plan, DistillError> {
        let overrides: Vec<String> = overrides.iter().map(|text| text.to_string()).collect();
        let recipe = Recipe::parse(default_recipe(None), DEFAULT_RECIPE_NAME, &overrides)?;
        Plan::resolve_drafters(&recipe, DEFAULT_RECIPE_NAME)
    }

    #[test]
    fn each_number_of_layers_is_an_arm_with_one_stage() {
        let plan = plan(&[
            "drafter.layers=[1, 3]",
            "drafter.steps=7",
            "drafter.warmup_steps=2",
            "drafter.kl_weight=0.5",
        ])
        .unwrap();
        let layers: Vec<_> = plan.arms.iter().map(|arm| arm.drafter_layers).collect();
        assert_eq!(layers, [Some(1), Some(3)]);
        let paths: Vec<String> = plan.stages().map(|stage| stage.path()).collect();
        assert_eq!(
            paths,
            ["drafter-1/100-distillation", "drafter-3/100-distillation"]
        );
        for stage in plan.stages() {
            assert_eq!((stage.steps, stage.loss.kl_weight), (7, 0.5));
            assert_eq!(
                (stage.kind, stage.table()),
                (StageKind::Distillation, "drafter")
            );
            assert_eq!(stage.trainable, Trainable::All);
        }
        assert_eq!(plan.name, "tiny-mamba2-sweep-drafter");
    }

    #[test]
    fn what_is_wrong_with_a_drafter_is_named() {
        for (set, message) in [
            (
                "drafter.layers=[]",
                "`drafter.layers` is [], must be numbers of layers from 1 on",
            ),
            (
                "drafter.layers=[2, 2]",
                "`drafter.layers` is [2, 2], must be",
            ),
            ("drafter.layers=[0]", "`drafter.layers` is [0], must be"),
            (
                "drafter.lr_peak=0.0",
                "`drafter.lr_peak` is 0, must be above 0",
            ),
        ] {
            let error = plan(&[set]).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}
