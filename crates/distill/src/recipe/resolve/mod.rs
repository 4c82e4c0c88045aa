//! From a [`Recipe`] to a [`Plan`].
mod ablation;
mod arms;
mod check;
mod dpo;
mod drafter;
mod loss;
mod teacher_cache;

use self::arms::arms;
use self::check::{Check, is_name};
use super::{
    CheckpointPlan, DataPlan, DataSource, EvalPlan, GqaRepeat, GuardPlan, InitFrom, Layout,
    LayoutKey, MixerKind, Plan, Recipe, StudentPlan, TeacherSource,
};
use crate::error::DistillError;

pub use ablation::AblationBase;
pub(crate) use arms::{init_name, mixer_name};

impl Plan {
    /// Fills in defaults and checks every value; `name` is what errors call the recipe.
    ///
    /// # Errors
    /// [`DistillError::RecipeValue`] with the field and what it accepts.
    pub fn resolve(recipe: &Recipe, name: &str) -> Result<Self, DistillError> {
        let check = Check { recipe: name };
        check.that(
            is_name(&recipe.name),
            "name",
            || format!("\"{}\"", recipe.name),
            "letters, digits, `-`, `_`, `.`",
        )?;
        let student = student(recipe, &check)?;
        let init = recipe.student.init.unwrap_or(InitFrom::Attention);
        let plan = Self {
            name: recipe.name.clone(),
            seed: recipe.seed,
            precision: recipe.precision,
            activation_checkpointing: recipe.activation_checkpointing,
            teacher: teacher(recipe, &check)?,
            arms: arms(recipe, &student, init, &check)?,
            data: data(recipe, &check)?,
            teacher_cache: match &recipe.teacher_cache {
                Some(table) => Some(teacher_cache::teacher_cache(table, &check)?),
                None => None,
            },
            eval: eval(recipe, &check)?,
            checkpoint: checkpoint(recipe, &check)?,
            guard: guard(recipe, &check)?,
            ablation: None,
        };
        check.data_serves_stages(&plan)?;
        teacher_cache::check_stages(&plan, &check)?;
        Ok(plan)
    }
}

fn builtin(path: &str) -> Option<&str> {
    path.strip_prefix("builtin:")
}

fn teacher(recipe: &Recipe, check: &Check) -> Result<TeacherSource, DistillError> {
    let path = &recipe.teacher.path;
    match builtin(path) {
        Some("tiny") => Ok(TeacherSource::Builtin("tiny".into())),
        Some(_) => Err(check.error(
            "teacher.path",
            format!("\"{path}\""),
            "`builtin:tiny` or a path",
        )),
        None if path.is_empty() => {
            Err(check.error("teacher.path", "\"\"".into(), "`builtin:tiny` or a path"))
        }
        None => Ok(TeacherSource::Path(path.into())),
    }
}

fn student(recipe: &Recipe, check: &Check) -> Result<StudentPlan, DistillError> {
    let table = &recipe.student;
    let multiplicity = table.dt_bias_multiplicity.unwrap_or(1);
    check.that(
        table.mixer != MixerKind::Attention,
        "student.mixer",
        || "\"attention\"".into(),
        "\"mamba1\" or \"mamba2\"",
    )?;
    let (is_right, expected) = match table.mixer {
        MixerKind::Mamba1 => (
            matches!(multiplicity, 1 | 2),
            "1, or 2 as the published code has it",
        ),
        _ => (
            multiplicity == 1,
            "1: only mamba1 can add the step bias twice",
        ),
    };
    check.that(
        is_right,
        "student.dt_bias_multiplicity",
        || multiplicity.to_string(),
        expected,
    )?;
    check.that(
        table.d_state.is_none() || table.mixer == MixerKind::Mamba1,
        "student.d_state",
        || format!("{} for mamba2", table.d_state.unwrap_or_default()),
        "left out: only mamba1 has a state size of its own",
    )?;
    let attn_layers = table.attn_layers.clone().unwrap_or_default();
    check.that(
        table.attn_layers.is_none() || table.layout.is_none() && !attn_layers.is_empty(),
        "student.attn_layers",
        || format!("{attn_layers:?}"),
        "a list of layers without `layout` beside it, such as [7, 3, 5, 1]",
    )?;
    Ok(StudentPlan {
        mixer: table.mixer,
        layout: table
            .layout
            .and_then(LayoutKey::fixed)
            .unwrap_or(Layout::Interleaved),
        dt_bias_multiplicity: multiplicity,
        gqa_repeat: table.gqa_repeat.unwrap_or(GqaRepeat::Head),
        attn_layers,
        start: table.start.clone().unwrap_or_default(),
        d_state: table.d_state,
    })
}

fn data(recipe: &Recipe, check: &Check) -> Result<DataPlan, DistillError> {
    let table = &recipe.data;
    let has_files =
        !(table.chat.is_empty() && table.text.is_empty() && table.preferences.is_empty());
    let source = match (&table.source, &table.prepared) {
        (Some(source), prepared) => {
            check.that(
                !has_files && prepared.is_none(),
                "data.source",
                || format!("\"{source}\" beside files"),
                "alone, or left out",
            )?;
            match builtin(source) {
                Some("tiny") => DataSource::Builtin("tiny".into()),
                _ => {
                    return Err(check.error(
                        "data.source",
                        format!("\"{source}\""),
                        "`builtin:tiny`, or left out",
                    ));
                }
            }
        }
        (None, Some(folder)) => {
            let found = || format!("\"{}\"", folder.display());
            check.that(
                !has_files,
                "data.prepared",
                || format!("{} beside files", found()),
                "alone: give the files to `distill data prepare`",
            )?;
            check.that(
                table.pseudo_labels.unwrap_or(0) == 0,
                "data.prepared",
                || format!("{} beside `pseudo_labels`", found()),
                "without them: its documents keep the replies that they were prepared with",
            )?;
            DataSource::Prepared(folder.clone())
        }
        (None, None) => {
            check.that(
                has_files,
                "data",
                || "empty".into(),
                "`source = \"builtin:tiny\"`, or files in `chat`, `text`",
            )?;
            DataSource::Files {
                chat: table.chat.clone(),
                text: table.text.clone(),
                preferences: table.preferences.clone(),
            }
        }
    };
    check.that(
        table.seq_len >= 2,
        "data.seq_len",
        || table.seq_len.to_string(),
        "at least 2 tokens",
    )?;
    let temperature = table.pseudo_label_temperature.unwrap_or(0.7);
    check.that(
        temperature >= 0.0 && temperature.is_finite(),
        "data.pseudo_label_temperature",
        || temperature.to_string(),
        "0 (greedy) or above",
    )?;
    let batch = table
        .pseudo_label_batch
        .unwrap_or_else(DataPlan::default_batch);
    check.that(
        batch >= 1,
        "data.pseudo_label_batch",
        || batch.to_string(),
        "at least 1 prompt",
    )?;
    let pseudo_labels = table.pseudo_labels.unwrap_or(0);
    let template_prompts = table.template_prompts.unwrap_or(0);
    check.that(
        template_prompts == 0 || pseudo_labels > 0,
        "data.template_prompts",
        || format!("{template_prompts} without `pseudo_labels`"),
        "0, or beside `pseudo_labels` = the prompts to answer in all",
    )?;
    let eval_share = table.eval_share.unwrap_or(0.1);
    check.that(
        eval_share > 0.0 && eval_share < 1.0,
        "data.eval_share",
        || eval_share.to_string(),
        "between 0 and 1, such as 0.1",
    )?;
    Ok(DataPlan {
        source,
        seq_len: table.seq_len,
        pad_to: table.pad_to.unwrap_or_default(),
        packing: table.packing.unwrap_or_default(),
        pseudo_labels,
        pseudo_label_tokens: table.pseudo_label_tokens.unwrap_or(128),
        pseudo_label_temperature: temperature,
        pseudo_label_batch: batch,
        template_prompts,
        eval_share,
    })
}

fn eval(recipe: &Recipe, check: &Check) -> Result<EvalPlan, DistillError> {
    let gate = recipe.eval.gate;
    check.that(
        gate.is_none_or(|bar| bar > 0.0 && bar.is_finite()),
        "eval.gate",
        || gate.unwrap_or_default().to_string(),
        "above 0 (try 1.3)",
    )?;
    Ok(EvalPlan {
        perplexity_sequences: recipe.eval.perplexity_sequences.unwrap_or(64),
        task_examples: recipe.eval.task_examples.unwrap_or(64),
        speed_tokens: recipe.eval.speed_tokens.unwrap_or(64),
        samples: recipe
            .eval
            .samples
            .unwrap_or_else(EvalPlan::default_samples),
        gate,
    })
}

fn checkpoint(recipe: &Recipe, check: &Check) -> Result<CheckpointPlan, DistillError> {
    let (table, default) = (&recipe.checkpoint, CheckpointPlan::default());
    let keep = table.keep.unwrap_or(default.keep);
    check.that(
        keep >= 1,
        "checkpoint.keep",
        || keep.to_string(),
        "at least 1",
    )?;
    Ok(CheckpointPlan {
        every_steps: table.every_steps.unwrap_or(default.every_steps),
        keep,
    })
}

fn guard(recipe: &Recipe, check: &Check) -> Result<GuardPlan, DistillError> {
    let (table, default) = (&recipe.guard, GuardPlan::default());
    let plan = GuardPlan {
        max_bad_steps: table.max_bad_steps.unwrap_or(default.max_bad_steps),
        divergence_factor: table.divergence_factor.unwrap_or(default.divergence_factor),
        divergence_patience: table
            .divergence_patience
            .unwrap_or(default.divergence_patience),
        max_rewinds: table.max_rewinds.unwrap_or(default.max_rewinds),
    };
    let factor = plan.divergence_factor;
    check.that(
        factor > 1.0 && factor.is_finite(),
        "guard.divergence_factor",
        || factor.to_string(),
        "above 1, such as 4.0",
    )?;
    for (field, steps) in [
        ("guard.max_bad_steps", plan.max_bad_steps),
        ("guard.divergence_patience", plan.divergence_patience),
    ] {
        check.that(steps >= 1, field, || steps.to_string(), "at least 1")?;
    }
    Ok(plan)
}
