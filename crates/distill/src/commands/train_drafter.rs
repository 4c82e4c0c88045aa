//! `drafter`: a few of the teacher's layers, distilled to draft for its hybrids.
use crate::backend::Device;
use crate::cli::TrainDrafterArgs;
use crate::commands::Outcome;
use crate::error::DistillError;
use crate::recipe::{DEFAULT_RECIPE_NAME, Plan, Recipe, default_recipe};

/// Runs, resumes or describes the training of the drafters of a recipe.
///
/// # Errors
/// A wrong recipe, an unreadable teacher or data file, a run folder that is in use or of another plan.
pub fn run(args: TrainDrafterArgs, device: &Device) -> anyhow::Result<Outcome> {
    let is_bare = args.recipe.is_none() && args.run.set.is_empty() && args.from.is_none();
    let plan = args.run.plan(is_bare, || written_plan(&args))?;
    args.run.launch(plan, device)
}

fn written_plan(args: &TrainDrafterArgs) -> Result<Plan, DistillError> {
    let (mut recipe, name) = match &args.recipe {
        Some(path) => (
            Recipe::load(path, &args.run.set)?,
            path.display().to_string(),
        ),
        None => (
            Recipe::parse(default_recipe(None), DEFAULT_RECIPE_NAME, &args.run.set)?,
            DEFAULT_RECIPE_NAME.into(),
        ),
    };
    if let Some(from) = &args.from {
        recipe.teacher.path.clone_from(from);
    }
    Plan::resolve_drafters(&recipe, &name)
}
