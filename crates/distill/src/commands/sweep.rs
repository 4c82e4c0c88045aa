//! `sweep`: the whole experiment, or its plan.
use crate::backend::Device;
use crate::cli::{MixerArg, SweepArgs};
use crate::commands::Outcome;
use crate::error::DistillError;
use crate::recipe::{DEFAULT_RECIPE_NAME, MixerKind, Plan, Recipe, default_recipe};
use crate::run::RunFolder;

/// Runs, resumes or describes a sweep.
///
/// # Errors
/// A wrong recipe, an unreadable teacher or data file, a run folder that is in use or of another plan.
pub fn run(args: SweepArgs, _device: &Device) -> anyhow::Result<Outcome> {
    let _plan = plan(&args)?;
    anyhow::bail!("`sweep` is not built yet")
}

/// The plan of the recipe; of the run, when one is resumed and nothing else is said.
fn plan(args: &SweepArgs) -> Result<Plan, DistillError> {
    let is_bare = args.recipe.is_none() && args.set.is_empty() && args.mixer.is_none();
    let resumed = args
        .resume
        .as_deref()
        .map(RunFolder::manifest)
        .transpose()?;
    match resumed {
        Some(manifest) if is_bare => Ok(manifest.plan),
        Some(manifest) => {
            let plan = written_plan(args)?;
            match first_difference(&manifest.plan, &plan) {
                None => Ok(plan),
                Some(difference) => Err(DistillError::PlanDiffers {
                    path: args.resume.clone().unwrap_or_default(),
                    difference,
                }),
            }
        }
        None => written_plan(args),
    }
}

fn written_plan(args: &SweepArgs) -> Result<Plan, DistillError> {
    let mixer = args.mixer.map(|mixer| match mixer {
        MixerArg::Mamba1 => MixerKind::Mamba1,
        MixerArg::Mamba2 => MixerKind::Mamba2,
    });
    let (mut recipe, name) = match &args.recipe {
        Some(path) => (Recipe::load(path, &args.set)?, path.display().to_string()),
        None => (
            Recipe::parse(default_recipe(mixer), DEFAULT_RECIPE_NAME, &args.set)?,
            DEFAULT_RECIPE_NAME.into(),
        ),
    };
    if let Some(mixer) = mixer {
        recipe.student.mixer = mixer;
    }
    Plan::resolve(&recipe, &name)
}

/// Path and values of the first field in which two plans differ.
fn first_difference(run: &Plan, asked: &Plan) -> Option<String> {
    let json = |plan: &Plan| {
        serde_json::to_value(plan).expect("a plan holds only numbers, strings and lists")
    };
    difference("", &json(run), &json(asked))
}

fn difference(path: &str, run: &serde_json::Value, asked: &serde_json::Value) -> Option<String> {
    use serde_json::Value;
    let join = |key: &str| {
        if path.is_empty() {
            key.to_string()
        } else {
            format!("{path}.{key}")
        }
    };
    match (run, asked) {
        (Value::Object(run), Value::Object(asked)) => run.iter().find_map(|(key, value)| {
            difference(&join(key), value, asked.get(key).unwrap_or(&Value::Null))
        }),
        (Value::Array(run), Value::Array(asked)) if run.len() == asked.len() => run
            .iter()
            .zip(asked)
            .enumerate()
            .find_map(|(index, (run, asked))| difference(&join(&index.to_string()), run, asked)),
        _ if run == asked => None,
        _ => Some(format!("`{path}` is {run} in the run, {asked} now")),
    }
}
