//! Ratios, stages and controls as arms.
use super::check::{Check, check_stage};
use super::dpo::dpo_plan;
use super::loss::loss_plan;
use crate::error::DistillError;
use crate::recipe::stage::SharedFields;
use crate::recipe::{
    ArmPlan, InitFrom, LayerChoicePlan, LayoutKey, LossPlan, MixerKind, Recipe, RungPlan,
    StageKind, StagePlan, StudentPlan, Trainable,
};

/// Ratio of the optional first sub-step.
const SUBSTEP_RATIO: f64 = 0.75;

pub(super) fn arms(
    recipe: &Recipe,
    student: &StudentPlan,
    init: InitFrom,
    check: &Check,
) -> Result<Vec<ArmPlan>, DistillError> {
    let sweep = &recipe.sweep;
    check.ratios("sweep.attention_ratios", &sweep.attention_ratios)?;
    check.that(
        !sweep.stages.is_empty()
            && sweep
                .stages
                .windows(2)
                .all(|pair| (pair[0] as u8) < (pair[1] as u8)),
        "sweep.stages",
        || {
            format!(
                "{:?}",
                sweep
                    .stages
                    .iter()
                    .map(|stage| stage.name())
                    .collect::<Vec<_>>()
            )
        },
        "some of \"distillation\", \"sft\", \"dpo\", in this order and each once",
    )?;
    check.that(
        !sweep.stages.contains(&StageKind::Alignment),
        "sweep.stages",
        || "with \"alignment\"".into(),
        "without it: `alignment.steps` above 0 puts the stage before the others",
    )?;
    let has_alignment = recipe.alignment.steps.unwrap_or(0) > 0;
    let aligned = |stages: &[StageKind]| -> Vec<StageKind> {
        let first = has_alignment.then_some(StageKind::Alignment);
        first.into_iter().chain(stages.iter().copied()).collect()
    };
    let mut rungs = Vec::new();
    let has_substep = recipe.distillation.progressive_substep.unwrap_or(false);
    if has_substep
        && sweep.stages.contains(&StageKind::Distillation)
        && sweep.attention_ratios[0] < SUBSTEP_RATIO
    {
        rungs.push((SUBSTEP_RATIO, aligned(&[StageKind::Distillation])));
    }
    rungs.extend(
        sweep
            .attention_ratios
            .iter()
            .map(|ratio| (*ratio, aligned(&sweep.stages))),
    );
    let is_chained = sweep.progressive.unwrap_or(true);
    let mut arms = vec![ArmPlan {
        is_chained,
        ..arm(recipe, ArmPlan::CHAIN.into(), student, init, &rungs, check)?
    }];
    for (index, control) in sweep.controls.iter().enumerate() {
        let field = format!("sweep.controls[{index}].attention_ratios");
        check.ratios(&field, &control.attention_ratios)?;
        let name = format!("control-{}", init_name(control.init));
        check.that(
            arms.iter().all(|arm| arm.name != name),
            &format!("sweep.controls[{index}].init"),
            || format!("\"{}\" again", init_name(control.init)),
            "used once: put all its ratios into one entry",
        )?;
        let rungs: Vec<_> = control
            .attention_ratios
            .iter()
            .map(|ratio| (*ratio, aligned(&[StageKind::Distillation])))
            .collect();
        arms.push(arm(recipe, name, student, control.init, &rungs, check)?);
    }
    Ok(arms)
}

/// Name of an initialisation in recipes, logs and folders.
pub(crate) fn init_name(init: InitFrom) -> &'static str {
    match init {
        InitFrom::Attention => "attention",
        InitFrom::RandomMixer => "random-mixer",
        InitFrom::RandomLayer => "random-layer",
        InitFrom::ZeroOutput => "zero-output",
    }
}

/// What a mixer is called in recipes.
pub(crate) fn mixer_name(mixer: MixerKind) -> &'static str {
    match mixer {
        MixerKind::Attention => "attention",
        MixerKind::Mamba1 => "mamba1",
        MixerKind::Mamba2 => "mamba2",
    }
}

/// An arm each of whose ratios starts from the init model.
fn arm(
    recipe: &Recipe,
    name: String,
    student: &StudentPlan,
    init: InitFrom,
    rungs: &[(f64, Vec<StageKind>)],
    check: &Check,
) -> Result<ArmPlan, DistillError> {
    let rungs = rungs
        .iter()
        .map(|(attention_ratio, kinds)| {
            let stages = kinds
                .iter()
                .map(|kind| stage(recipe, &name, *kind, *attention_ratio, check))
                .collect::<Result<_, _>>()?;
            Ok(RungPlan {
                attention_ratio: *attention_ratio,
                stages,
            })
        })
        .collect::<Result<_, DistillError>>()?;
    Ok(ArmPlan {
        layer_choice: layer_choice(recipe, &name, check)?,
        name,
        student: student.clone(),
        init,
        seed: recipe.seed,
        drafter_layers: None,
        is_chained: false,
        rungs,
    })
}

/// How an arm finds its layers, if it has to.
fn layer_choice(
    recipe: &Recipe,
    arm: &str,
    check: &Check,
) -> Result<Option<LayerChoicePlan>, DistillError> {
    let table = &recipe.layer_choice;
    let is_measured = recipe.student.layout == Some(LayoutKey::KlGuided);
    for (field, value) in [("steps", table.steps), ("sequences", table.sequences)] {
        check.that(
            value.is_none() || is_measured,
            &format!("layer_choice.{field}"),
            || format!("{} with another layout", value.unwrap_or_default()),
            "left out, or `student.layout = \"kl-guided\"`",
        )?;
    }
    if !is_measured {
        return Ok(None);
    }
    let sequences = table.sequences.unwrap_or(16);
    check.that(
        sequences >= 1,
        "layer_choice.sequences",
        || sequences.to_string(),
        "at least 1, such as 16",
    )?;
    let mut recipe = recipe.clone();
    recipe.alignment.steps = Some(table.steps.unwrap_or(60));
    // That of a longer stage before the others.
    recipe.alignment.warmup_steps = None;
    let alignment = stage(&recipe, arm, StageKind::Alignment, 0.0, check)?;
    Ok(Some(LayerChoicePlan {
        alignment,
        sequences,
    }))
}

/// Defaults of a stage: method, section 4.2, with learning rates and batches of small runs.
fn stage(
    recipe: &Recipe,
    arm: &str,
    kind: StageKind,
    attention_ratio: f64,
    check: &Check,
) -> Result<StagePlan, DistillError> {
    let shared = match kind {
        StageKind::Alignment => recipe.alignment.shared(),
        StageKind::Distillation => recipe.distillation.shared(),
        StageKind::Sft => recipe.sft.shared(),
        StageKind::Dpo => recipe.dpo.shared(),
    };
    let (lr_peak, betas, clip_norm, batch_size) = match kind {
        StageKind::Alignment | StageKind::Distillation => (1e-3, [0.9, 0.98], 1.0, 8),
        StageKind::Sft => (3e-4, [0.9, 0.999], 1.0, 8),
        StageKind::Dpo => (2e-5, [0.9, 0.999], 1.0, 4),
    };
    let trainable = match kind {
        StageKind::Alignment | StageKind::Distillation => Trainable::Mixers,
        _ => Trainable::All,
    };
    let loss = match kind {
        StageKind::Distillation => loss_plan(kind.name(), &recipe.distillation.loss(), 1.0, check)?,
        StageKind::Sft => loss_plan(kind.name(), &recipe.sft.loss(), 0.0, check)?,
        StageKind::Alignment | StageKind::Dpo => LossPlan::CROSS_ENTROPY,
    };
    let plan = StagePlan {
        arm: arm.into(),
        kind,
        attention_ratio,
        steps: 100,
        batch_size,
        grad_accumulation: 1,
        lr_peak,
        warmup_steps: 0,
        betas,
        weight_decay: 0.0,
        clip_norm,
        trainable,
        alignment: recipe.alignment.target.unwrap_or_default(),
        loss,
        dpo: dpo_plan(&recipe.dpo, check)?,
        seed: recipe.seed,
    };
    written(plan, &shared, check)
}

/// The stage of a drafter, with every layer trained; rates as method, section 5.4, begins with.
pub(super) fn drafter_stage(
    recipe: &Recipe,
    arm: &str,
    check: &Check,
) -> Result<StagePlan, DistillError> {
    let table = &recipe.drafter;
    let plan = StagePlan {
        arm: arm.into(),
        kind: StageKind::Distillation,
        attention_ratio: 1.0,
        steps: 100,
        batch_size: 8,
        grad_accumulation: 1,
        lr_peak: 1e-4,
        warmup_steps: 0,
        betas: [0.9, 0.98],
        weight_decay: 0.0,
        clip_norm: 1.0,
        trainable: Trainable::All,
        alignment: recipe.alignment.target.unwrap_or_default(),
        loss: loss_plan("drafter", &table.loss(), 1.0, check)?,
        dpo: dpo_plan(&recipe.dpo, check)?,
        seed: recipe.seed,
    };
    written(plan, &table.shared(), check)
}

/// `defaults` with what the recipe says in their place; a tenth of the steps warms up.
fn written(
    defaults: StagePlan,
    table: &SharedFields,
    check: &Check,
) -> Result<StagePlan, DistillError> {
    let steps = table.steps.unwrap_or(defaults.steps);
    let plan = StagePlan {
        steps,
        batch_size: table.batch_size.unwrap_or(defaults.batch_size),
        grad_accumulation: table
            .grad_accumulation
            .unwrap_or(defaults.grad_accumulation),
        lr_peak: table.lr_peak.unwrap_or(defaults.lr_peak),
        warmup_steps: table.warmup_steps.unwrap_or(steps.div_ceil(10).min(steps)),
        betas: table.betas.unwrap_or(defaults.betas),
        weight_decay: table.weight_decay.unwrap_or(defaults.weight_decay),
        clip_norm: table.clip_norm.unwrap_or(defaults.clip_norm),
        trainable: table.trainable.unwrap_or(defaults.trainable),
        ..defaults
    };
    check_stage(&plan, check)?;
    Ok(plan)
}
