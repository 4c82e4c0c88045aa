//! From an ablation's [`Definition`] and a recipe to one [`Plan`] with an arm for each arm and seed.
use super::check::{Check, is_name};
use crate::dashboard::percent;
use crate::error::DistillError;
use crate::recipe::{
    AblationPlan, AblationRow, ArmDefinition, ArmPlan, Definition, Operand, Parts, Plan, Recipe,
    RungPlan, StageKind, StagePlan,
};

/// The recipe that the arms of an ablation change.
#[derive(Debug, Clone, Copy)]
pub struct AblationBase<'a> {
    /// The file's text.
    pub text: &'a str,
    /// What errors call it.
    pub name: &'a str,
    /// Whether it is the built-in one, for which definitions know how many steps take minutes.
    pub is_built_in: bool,
    /// `--set` arguments: over the definition's common changes, under those of its arms.
    pub overrides: &'a [String],
}

impl Plan {
    /// One plan of all arms and seeds, at equal budgets; `command` is `ablate NAME` or `reproduce NAME`.
    ///
    /// Each student, over all its stages and ratios, sees as many sequences as `distillation` of the recipe does at one
    /// ratio, in an order that its seed alone decides.
    ///
    /// # Errors
    /// As [`Plan::resolve`]; [`DistillError::RecipeValue`] too if the budget cannot be divided into whole steps, or for a
    /// definition that contradicts itself.
    pub fn resolve_ablation(
        definition: &Definition,
        command: &str,
        base: &AblationBase,
        seeds: usize,
    ) -> Result<Self, DistillError> {
        let check = Check { recipe: base.name };
        let mut plan: Option<Self> = None;
        let mut arms: Vec<Vec<ArmPlan>> = vec![Vec::new(); seeds];
        let mut rows = Vec::new();
        let mut budget_sequences = None;
        for arm in &definition.arms {
            check.that(
                is_name(&arm.name) && rows.iter().all(|row: &AblationRow| row.arm != arm.name),
                "arm.name",
                || format!("\"{}\"", arm.name),
                "letters, digits, `-`, `_`, `.`, and used once",
            )?;
            let mut recipe = recipe(definition, arm, base)?;
            let budget = set_steps(&mut recipe, arm.parts, &check)?;
            let budget = *budget_sequences.get_or_insert(budget);
            let first_seed = recipe.seed;
            for (index, of_seed) in arms.iter_mut().enumerate() {
                recipe.seed = first_seed.wrapping_add(index as u64);
                let mut resolved = Self::resolve(&recipe, base.name)?;
                let chain = resolved.arms.swap_remove(0);
                check_budget(arm, &chain, budget, &check)?;
                if index == 0 {
                    rows.extend(students(&chain).map(|rung| AblationRow {
                        arm: arm.name.clone(),
                        attention_ratio: rung.attention_ratio,
                        paper: arm.paper.get(&percent(rung.attention_ratio)).cloned(),
                    }));
                }
                of_seed.push(renamed(chain, &arm.name, recipe.seed));
                resolved.arms.clear();
                resolved.seed = first_seed;
                match &plan {
                    None => plan = Some(resolved),
                    Some(plan) => check.that(
                        *plan == resolved,
                        &format!("arm `{}`", arm.name),
                        || "with another teacher, other data or other measures".into(),
                        "compared on the same ones: change `student`, `sweep` and stages only",
                    )?,
                }
            }
        }
        let plan = plan.ok_or_else(|| check.error("arm", "empty".into(), "at least one"))?;
        check_rows(definition, &rows, &check)?;
        let seeds = (0..seeds).map(|index| plan.seed.wrapping_add(index as u64));
        Ok(Self {
            name: command.replace(' ', "-"),
            // Seed after seed, so that what is done when a run is stopped can be compared.
            arms: arms.into_iter().flatten().collect(),
            ablation: Some(AblationPlan {
                command: command.into(),
                question: definition.question.clone(),
                paper: definition.paper.clone(),
                seeds: seeds.collect(),
                budget_sequences: budget_sequences.unwrap_or_default(),
                rows,
                checks: definition.checks.clone(),
            }),
            ..plan
        })
    }
}

/// The recipe with the changes of an arm.
fn recipe(
    definition: &Definition,
    arm: &ArmDefinition,
    base: &AblationBase,
) -> Result<Recipe, DistillError> {
    let built_in = base
        .is_built_in
        .then(|| format!("distillation.steps={}", definition.steps));
    let changes: Vec<String> = built_in
        .into_iter()
        .chain(definition.set.iter().cloned())
        .chain(base.overrides.iter().cloned())
        .chain(arm.set.iter().cloned())
        .collect();
    Recipe::parse(base.text, base.name, &changes)
}

/// The students whose measures are compared: the last of a chain, else each.
fn students(arm: &ArmPlan) -> impl Iterator<Item = &RungPlan> {
    let first = match arm.is_chained {
        true => arm.rungs.len().saturating_sub(1),
        false => 0,
    };
    arm.rungs.iter().skip(first)
}

/// Sequences of the recipe's distillation, divided among the stages and ratios of one student by `parts`.
fn set_steps(recipe: &mut Recipe, parts: Parts, check: &Check) -> Result<usize, DistillError> {
    use StageKind::{Alignment, Distillation, Dpo, Sft};
    let written = recipe.distillation.steps;
    let given = [
        (Alignment, parts.alignment),
        (Distillation, parts.distillation),
        (Sft, parts.sft),
        (Dpo, parts.dpo),
    ];
    let total: usize = given.iter().map(|(_, part)| part).sum();
    check.that(total > 0, "arm.parts", || "0".into(), "above 0 for a stage")?;
    let stages = given.iter().filter(|(_, part)| *part > 0);
    let stages = stages
        .map(|(kind, _)| *kind)
        .filter(|kind| *kind != Alignment);
    recipe.sweep.stages = stages.collect();
    recipe.sweep.controls.clear();
    recipe.distillation.progressive_substep = Some(false);
    let whole = written.unwrap_or(100);
    let set = |recipe: &mut Recipe, kind, steps| match kind {
        Alignment => recipe.alignment.steps = Some(steps),
        Distillation => recipe.distillation.steps = Some(steps),
        Sft => recipe.sft.steps = Some(steps),
        Dpo => recipe.dpo.steps = Some(steps),
    };
    // Resolved once to learn how many sequences a step of each stage is.
    let mut probe = recipe.clone();
    if parts.distillation == 0 {
        probe.sweep.stages.insert(0, Distillation);
    }
    for (kind, part) in given {
        // Many, so that no warm-up is longer.
        set(&mut probe, kind, part.min(1) * (usize::MAX / 2));
    }
    let probe = Plan::resolve(&probe, check.recipe)?.arms.swap_remove(0);
    let rungs = match probe.is_chained {
        true => probe.rungs.len(),
        false => 1,
    };
    let of_step = |kind| {
        let mut stages = probe.rungs.iter().flat_map(|rung| &rung.stages);
        let stage = stages.find(|stage| stage.kind == kind);
        stage.map_or(1, |stage| stage.grad_accumulation * stage.rows())
    };
    let budget = whole * of_step(Distillation);
    for (kind, part) in given {
        let divisor = total * rungs * of_step(kind);
        let steps = budget * part / divisor;
        if steps * divisor != budget * part {
            let unit = part * of_step(Distillation);
            let multiple = divisor / gcd(divisor, unit);
            return Err(check.error(
                "distillation.steps",
                whole.to_string(),
                &format!(
                    "a multiple of {multiple}: {part} of {total} parts of the budget go to `{}`, in {rungs} equal steps",
                    kind.name()
                ),
            ));
        }
        set(recipe, kind, steps);
    }
    Ok(budget)
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Refuses arms of which a student would see more or fewer sequences than those of others.
fn check_budget(
    arm: &ArmDefinition,
    chain: &ArmPlan,
    budget: usize,
    check: &Check,
) -> Result<(), DistillError> {
    let of_rung = |rung: &RungPlan| -> usize { rung.stages.iter().map(StagePlan::sequences).sum() };
    let rungs = chain.rungs.iter().map(of_rung);
    let found: Vec<usize> = match chain.is_chained {
        true => vec![rungs.sum()],
        false => rungs.collect(),
    };
    check.that(
        found.iter().all(|sequences| *sequences == budget),
        &format!("arm `{}`", arm.name),
        || format!("{found:?} sequences"),
        &format!("{budget}, as the others: give it `parts`, not `steps`"),
    )
}

/// The arm under the name of the ablation's.
fn renamed(chain: ArmPlan, arm: &str, seed: u64) -> ArmPlan {
    let name = AblationPlan::arm_name(arm, seed);
    let mut chain = chain;
    if let Some(choice) = &mut chain.layer_choice {
        choice.alignment.arm.clone_from(&name);
    }
    for stage in chain.rungs.iter_mut().flat_map(|rung| &mut rung.stages) {
        stage.arm.clone_from(&name);
    }
    ArmPlan { name, ..chain }
}

/// Refuses checks and numbers of the paper for rows that there are not.
fn check_rows(
    definition: &Definition,
    rows: &[AblationRow],
    check: &Check,
) -> Result<(), DistillError> {
    let known: Vec<String> = rows.iter().map(AblationRow::name).collect();
    let operands = definition
        .checks
        .iter()
        .flat_map(|check| [&check.less, &check.than]);
    let in_checks = operands.filter_map(|operand| match operand {
        Operand::Row(name) => Some(name.clone()),
        Operand::Value(_) => None,
    });
    let in_paper = definition.arms.iter().flat_map(|arm| {
        let ratios = arm.paper.keys();
        ratios.map(|ratio| format!("{}@{ratio}", arm.name))
    });
    for name in in_checks.chain(in_paper) {
        check.that(
            known.contains(&name),
            "check",
            || format!("of \"{name}\""),
            &format!("of rows that are compared: `{}`", known.join("`, `")),
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECIPE: &str = r#"
        name = "base"
        [teacher]
        path = "builtin:tiny"
        [student]
        mixer = "mamba2"
        [sweep]
        attention_ratios = [0.5]
        stages = ["distillation"]
        [data]
        source = "builtin:tiny"
        seq_len = 16
        [distillation]
        steps = 24
        batch_size = 4
        [sft]
        batch_size = 2
        [dpo]
        batch_size = 2
    "#;

    fn resolve(arms: &str, overrides: &[&str]) -> Result<Plan, DistillError> {
        let definition: Definition = toml::from_str(&format!(
            "question = \"q\"\npaper = \"p\"\nsteps = 99\n{arms}"
        ))
        .unwrap();
        let overrides: Vec<String> = overrides.iter().map(|text| (*text).into()).collect();
        let base = AblationBase {
            text: RECIPE,
            name: "base.toml",
            is_built_in: false,
            overrides: &overrides,
        };
        Plan::resolve_ablation(&definition, "ablate x", &base, 2)
    }

    const THREE_WAYS: &str = r#"
        [[arm]]
        name = "once"
        set = ["sweep.progressive=false", "sweep.attention_ratios=[0.5, 0.25]"]
        [[arm]]
        name = "stepwise"
        set = ["sweep.attention_ratios=[0.5, 0.25, 0.0]"]
        paper = { "0" = "1.5" }
        [[arm]]
        name = "three"
        parts = { distillation = 2, sft = 1, dpo = 1 }
        [[check]]
        claim = "c"
        less = "once@25"
        than = 2.0
    "#;

    #[test]
    fn stages_and_ratios_share_one_budget() {
        let plan = resolve(THREE_WAYS, &[]).unwrap();
        let ablation = plan.ablation.as_ref().unwrap();
        assert_eq!(
            (ablation.budget_sequences, &ablation.seeds[..]),
            (96, &[42, 43][..])
        );
        let names: Vec<_> = ablation.rows.iter().map(AblationRow::name).collect();
        assert_eq!(names, ["once@50", "once@25", "stepwise@0", "three@50"]);
        assert_eq!(ablation.rows[2].paper.as_deref(), Some("1.5"));
        // Seed after seed.
        let arms: Vec<_> = plan.arms.iter().map(|arm| arm.name.as_str()).collect();
        assert_eq!(
            arms[..3],
            ["once-seed-42", "stepwise-seed-42", "three-seed-42"]
        );
        assert_eq!(plan.arms[5].seed, 43);
        let steps = |index: usize| -> Vec<(usize, u64)> {
            let stages = plan.arms[index].rungs.iter().flat_map(|rung| &rung.stages);
            stages.map(|stage| (stage.steps, stage.seed)).collect()
        };
        assert_eq!(steps(0), [(24, 42); 2]);
        assert_eq!(steps(1), [(8, 42); 3]);
        // 96 sequences: 48 in batches of 4, 24 in batches of 2, 24 in batches of 2 pairs.
        assert_eq!(steps(5), [(12, 43), (12, 43), (6, 43)]);
    }

    #[test]
    fn what_would_not_be_fair_or_does_not_exist_is_refused() {
        let error =
            |arms: &str, overrides: &[&str]| resolve(arms, overrides).unwrap_err().to_string();
        let odd = error(THREE_WAYS, &["distillation.steps=25"]);
        assert!(
            odd.contains("`distillation.steps` is 25, must be a multiple of 3"),
            "{odd}"
        );
        let other = "[[arm]]\nname = \"a\"\n[[arm]]\nname = \"b\"\nset = [\"data.seq_len=8\"]\n[[check]]\nclaim = \"c\"\nless = 1.0\nthan = 2.0";
        let error_of_data = error(other, &[]);
        assert!(
            error_of_data.contains("arm `b`") && error_of_data.contains("other data"),
            "{error_of_data}"
        );
        let unequal = other.replace("data.seq_len=8", "distillation.batch_size=8");
        let unequal = error(&unequal, &[]);
        assert!(
            unequal.contains("arm `b`") && unequal.contains("sequences"),
            "{unequal}"
        );
        let absent = other.replace("less = 1.0", "less = \"a@25\"");
        let absent = error(&absent.replace("set = [\"data.seq_len=8\"]", ""), &[]);
        assert!(
            absent.contains("a@25") && absent.contains("`a@50`"),
            "{absent}"
        );
    }
}
