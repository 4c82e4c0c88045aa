//! `sweep`: the whole experiment, or its plan.
use crate::backend::Device;
use crate::cli::SweepArgs;
use crate::commands::Outcome;
use crate::error::DistillError;
use crate::recipe::{DEFAULT_RECIPE_NAME, MixerKind, Plan, Recipe, default_recipe};

/// Runs, resumes or describes a sweep.
///
/// # Errors
/// A wrong recipe, an unreadable teacher or data file, a run folder that is in use or of another plan.
pub fn run(args: SweepArgs, device: &Device) -> anyhow::Result<Outcome> {
    let is_bare = args.recipe.is_none() && args.run.set.is_empty() && args.mixer.is_none();
    let plan = args.run.plan(is_bare, || written_plan(&args))?;
    args.run.launch(plan, device)
}

fn written_plan(args: &SweepArgs) -> Result<Plan, DistillError> {
    let mixer = args.mixer.map(MixerKind::from);
    let (mut recipe, name) = match &args.recipe {
        Some(path) => (
            Recipe::load(path, &args.run.set)?,
            path.display().to_string(),
        ),
        None => (
            Recipe::parse(default_recipe(mixer), DEFAULT_RECIPE_NAME, &args.run.set)?,
            DEFAULT_RECIPE_NAME.into(),
        ),
    };
    if let Some(mixer) = mixer {
        recipe.student.mixer = mixer;
    }
    Plan::resolve(&recipe, &name)
}
