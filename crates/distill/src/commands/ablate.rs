//! `ablate` and `reproduce`: a built-in comparison, or its plan.
use crate::ablation::Catalogue;
use crate::backend::Device;
use crate::cli::ComparisonArgs;
use crate::commands::Outcome;
use crate::error::DistillError;
use crate::recipe::{self, AblationBase, DEFAULT_RECIPE_NAME, Plan, default_ablation_recipe};

/// Seeds of a new run.
const SEEDS: u8 = 3;

/// Runs, resumes or describes a comparison.
///
/// # Errors
/// A wrong recipe or one whose budget cannot be divided, an unreadable teacher or data file, a run folder that is in use or of
/// another plan.
pub fn run(
    catalogue: &Catalogue,
    name: &str,
    args: ComparisonArgs,
    device: &Device,
) -> anyhow::Result<Outcome> {
    let is_bare = args.recipe.is_none() && args.run.set.is_empty() && args.seeds.is_none();
    let command = format!("{} {name}", catalogue.verb);
    let plan = args
        .run
        .plan(is_bare, || written_plan(catalogue, name, &command, &args))?;
    let found = plan
        .ablation
        .as_ref()
        .map(|ablation| ablation.command.as_str());
    if found != Some(command.as_str()) {
        return Err(DistillError::PlanDiffers {
            path: args.run.resume.unwrap_or_default(),
            difference: format!(
                "it is a run of `{}`, not of `{command}`",
                found.unwrap_or("sweep")
            ),
        }
        .into());
    }
    args.run.launch(plan, device)
}

fn written_plan(
    catalogue: &Catalogue,
    name: &str,
    command: &str,
    args: &ComparisonArgs,
) -> Result<Plan, DistillError> {
    let definition = catalogue.definition(name)?;
    let file = match &args.recipe {
        Some(path) => Some((recipe::read(path)?, path.display().to_string())),
        None => None,
    };
    let base = AblationBase {
        text: file
            .as_ref()
            .map_or(default_ablation_recipe(), |(text, _)| text),
        name: file.as_ref().map_or(DEFAULT_RECIPE_NAME, |(_, name)| name),
        is_built_in: file.is_none(),
        overrides: &args.run.set,
    };
    let seeds = usize::from(args.seeds.unwrap_or(SEEDS));
    Plan::resolve_ablation(&definition, command, &base, seeds)
}
