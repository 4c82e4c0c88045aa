//! Says what is wrong with which field, and what would be right.
use crate::error::DistillError;
use crate::recipe::{DataSource, Plan, StageKind, StagePlan, Trainable};

/// Says what is wrong with which field of which recipe.
pub(super) struct Check<'a> {
    /// What errors call the recipe.
    pub recipe: &'a str,
}

impl Check<'_> {
    pub fn that(
        &self,
        is_right: bool,
        field: &str,
        found: impl FnOnce() -> String,
        expected: &str,
    ) -> Result<(), DistillError> {
        if is_right {
            Ok(())
        } else {
            Err(self.error(field, found(), expected))
        }
    }

    pub fn error(&self, field: &str, found: String, expected: &str) -> DistillError {
        DistillError::RecipeValue {
            recipe: self.recipe.into(),
            field: field.into(),
            found,
            expected: expected.into(),
        }
    }

    pub fn ratios(&self, field: &str, ratios: &[f64]) -> Result<(), DistillError> {
        let found = || format!("{ratios:?}");
        self.that(
            !ratios.is_empty(),
            field,
            found,
            "a list of at least one ratio, such as [0.5, 0.25]",
        )?;
        self.that(
            ratios.iter().all(|ratio| (0.0..=1.0).contains(ratio)),
            field,
            found,
            "shares between 0.0 and 1.0 (write 0.5 for 50 %)",
        )?;
        self.that(
            ratios.windows(2).all(|pair| pair[0] > pair[1]),
            field,
            found,
            "falling: a replaced layer never returns, so list larger ratios first",
        )
    }

    pub fn data_serves_stages(&self, plan: &Plan) -> Result<(), DistillError> {
        let DataSource::Files {
            chat,
            text,
            preferences,
        } = &plan.data.source
        else {
            return Ok(());
        };
        for stage in plan.stages().filter(|stage| stage.steps > 0) {
            let (is_served, field, found) = match stage.kind {
                StageKind::Dpo => (!preferences.is_empty(), "data.preferences", "empty"),
                _ => (!chat.is_empty() || !text.is_empty(), "data.chat", "empty"),
            };
            let expected = match stage.kind {
                StageKind::Alignment => {
                    "at least one file, because `alignment.steps` is above 0".into()
                }
                kind => format!(
                    "at least one file, because `sweep.stages` has `{}`",
                    kind.name()
                ),
            };
            self.that(is_served, field, || found.into(), &expected)?;
        }
        Ok(())
    }
}

pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('.')
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

pub(super) fn check_stage(plan: &StagePlan, check: &Check) -> Result<(), DistillError> {
    let table = plan.table();
    let count = |field: &str, value: usize| {
        check.that(
            value >= 1,
            &format!("{table}.{field}"),
            || value.to_string(),
            "at least 1",
        )
    };
    count("batch_size", plan.batch_size)?;
    count("grad_accumulation", plan.grad_accumulation)?;
    let number = |field: &str, value: f64, is_right: bool, expected: &str| {
        check.that(
            is_right && value.is_finite(),
            &format!("{table}.{field}"),
            || value.to_string(),
            expected,
        )
    };
    number(
        "lr_peak",
        plan.lr_peak,
        plan.lr_peak > 0.0,
        "above 0, such as 1e-3",
    )?;
    number(
        "clip_norm",
        plan.clip_norm,
        plan.clip_norm > 0.0,
        "above 0, such as 1.0",
    )?;
    number(
        "weight_decay",
        plan.weight_decay,
        plan.weight_decay >= 0.0,
        "0 or above",
    )?;
    for beta in plan.betas {
        number(
            "betas",
            beta,
            (0.0..1.0).contains(&beta),
            "two numbers from 0 to below 1, such as [0.9, 0.999]",
        )?;
    }
    check.that(
        plan.kind != StageKind::Alignment || plan.trainable == Trainable::Mixers,
        "alignment.trainable",
        || format!("\"{}\"", plan.trainable.name()),
        "\"mixers\", or left out: a layer is compared by itself, so the rest has nothing to learn",
    )?;
    check.that(
        plan.warmup_steps <= plan.steps,
        &format!("{table}.warmup_steps"),
        || plan.warmup_steps.to_string(),
        &format!("at most `{table}.steps`, which is {}", plan.steps),
    )
}
