//! A recipe resolved: every default filled in, every value checked.
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{
    DpoPlan, DpoReference, GqaRepeat, InitFrom, KlMask, KlReduction, Layout, LossPlan, MixerKind,
    Recipe, StageKind, StagePlan, Trainable,
};
use crate::error::DistillError;

/// Where the teacher comes from.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TeacherSource {
    /// A model embedded in the binary: `tiny`.
    Builtin(String),
    /// A GGUF file, Hugging Face directory or checkpoint directory.
    Path(PathBuf),
}

/// Where the examples come from.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DataSource {
    /// Data embedded in the binary: `tiny`.
    Builtin(String),
    /// Files.
    Files {
        /// Conversations.
        chat: Vec<PathBuf>,
        /// Plain text.
        text: Vec<PathBuf>,
        /// Preference pairs.
        preferences: Vec<PathBuf>,
    },
}

/// What is trained on.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DataPlan {
    /// Where the examples come from.
    pub source: DataSource,
    /// Longest sequence, tokens.
    pub seq_len: usize,
    /// Prompts that the teacher answers before stage 1.
    pub pseudo_labels: usize,
    /// Most tokens of such an answer.
    pub pseudo_label_tokens: usize,
    /// Sampling temperature of such an answer; 0 is greedy.
    pub pseudo_label_temperature: f64,
    /// Share of the examples kept for evaluation.
    pub eval_share: f64,
}

/// What is measured after each stage.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct EvalPlan {
    /// Held-out sequences for perplexity.
    pub perplexity_sequences: usize,
    /// Synthetic tasks of each kind.
    pub task_examples: usize,
    /// Tokens of the decode speed measurement.
    pub speed_tokens: usize,
}

/// What the attention layers become.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct StudentPlan {
    /// Mixer.
    pub mixer: MixerKind,
    /// Which layers keep attention.
    pub layout: Layout,
    /// How often the step bias is added.
    pub dt_bias_multiplicity: u8,
    /// How KV heads are repeated.
    pub gqa_repeat: GqaRepeat,
}

/// One ratio of an arm.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RungPlan {
    /// Share of layers that keep attention, as asked for.
    pub attention_ratio: f64,
    /// Stages in order.
    pub stages: Vec<StagePlan>,
}

/// A series of students.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ArmPlan {
    /// Name in logs and folders: `chain`, or `control-INIT`.
    pub name: String,
    /// Where the new mixers' weights come from.
    pub init: InitFrom,
    /// Whether each rung starts from the one before; otherwise each starts from the init model.
    pub is_chained: bool,
    /// Ratios in order.
    pub rungs: Vec<RungPlan>,
}

/// What a sweep will do.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Name of the experiment.
    pub name: String,
    /// Seed of everything random.
    pub seed: u64,
    /// Teacher and init model.
    pub teacher: TeacherSource,
    /// What the attention layers become.
    pub student: StudentPlan,
    /// The main arm first, then controls.
    pub arms: Vec<ArmPlan>,
    /// What is trained on.
    pub data: DataPlan,
    /// What is measured.
    pub eval: EvalPlan,
}

/// Name of the main arm.
pub const CHAIN: &str = "chain";
/// Ratio of the optional first sub-step.
const SUBSTEP_RATIO: f64 = 0.75;

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
            teacher: teacher(recipe, &check)?,
            student,
            arms: arms(recipe, init, &check)?,
            data: data(recipe, &check)?,
            eval: eval(recipe),
        };
        check.data_serves_stages(&plan)?;
        Ok(plan)
    }

    /// Every stage with its arm and rung, in the order in which they run.
    pub fn stages(&self) -> impl Iterator<Item = &StagePlan> {
        self.arms
            .iter()
            .flat_map(|arm| arm.rungs.iter().flat_map(|rung| rung.stages.iter()))
    }
}

/// Says what is wrong with which field of which recipe.
struct Check<'a> {
    recipe: &'a str,
}

impl Check<'_> {
    fn that(
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

    fn error(&self, field: &str, found: String, expected: &str) -> DistillError {
        DistillError::RecipeValue {
            recipe: self.recipe.into(),
            field: field.into(),
            found,
            expected: expected.into(),
        }
    }

    fn ratios(&self, field: &str, ratios: &[f64]) -> Result<(), DistillError> {
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

    fn data_serves_stages(&self, plan: &Plan) -> Result<(), DistillError> {
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
            let expected = format!(
                "at least one file, because `sweep.stages` has `{}`",
                stage.kind.name()
            );
            self.that(is_served, field, || found.into(), &expected)?;
        }
        Ok(())
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('.')
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
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
    Ok(StudentPlan {
        mixer: table.mixer,
        layout: table.layout.unwrap_or(Layout::Interleaved),
        dt_bias_multiplicity: multiplicity,
        gqa_repeat: table.gqa_repeat.unwrap_or(GqaRepeat::Head),
    })
}

fn data(recipe: &Recipe, check: &Check) -> Result<DataPlan, DistillError> {
    let table = &recipe.data;
    let has_files =
        !(table.chat.is_empty() && table.text.is_empty() && table.preferences.is_empty());
    let source = match &table.source {
        Some(source) => {
            check.that(
                !has_files,
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
        None => {
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
        pseudo_labels: table.pseudo_labels.unwrap_or(0),
        pseudo_label_tokens: table.pseudo_label_tokens.unwrap_or(128),
        pseudo_label_temperature: temperature,
        eval_share,
    })
}

fn eval(recipe: &Recipe) -> EvalPlan {
    EvalPlan {
        perplexity_sequences: recipe.eval.perplexity_sequences.unwrap_or(64),
        task_examples: recipe.eval.task_examples.unwrap_or(64),
        speed_tokens: recipe.eval.speed_tokens.unwrap_or(64),
    }
}

fn arms(recipe: &Recipe, init: InitFrom, check: &Check) -> Result<Vec<ArmPlan>, DistillError> {
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
    let mut rungs = Vec::new();
    let has_substep = recipe.distillation.progressive_substep.unwrap_or(false);
    if has_substep
        && sweep.stages.contains(&StageKind::Distillation)
        && sweep.attention_ratios[0] < SUBSTEP_RATIO
    {
        rungs.push((SUBSTEP_RATIO, vec![StageKind::Distillation]));
    }
    rungs.extend(
        sweep
            .attention_ratios
            .iter()
            .map(|ratio| (*ratio, sweep.stages.clone())),
    );
    let mut arms = vec![arm(recipe, CHAIN.into(), init, true, &rungs, check)?];
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
            .map(|ratio| (*ratio, vec![StageKind::Distillation]))
            .collect();
        arms.push(arm(recipe, name, control.init, false, &rungs, check)?);
    }
    Ok(arms)
}

/// Name of an initialisation in recipes, logs and folders.
pub(crate) fn init_name(init: InitFrom) -> &'static str {
    match init {
        InitFrom::Attention => "attention",
        InitFrom::RandomMixer => "random-mixer",
        InitFrom::RandomLayer => "random-layer",
    }
}

fn arm(
    recipe: &Recipe,
    name: String,
    init: InitFrom,
    is_chained: bool,
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
        name,
        init,
        is_chained,
        rungs,
    })
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
        StageKind::Distillation => recipe.distillation.shared(),
        StageKind::Sft => recipe.sft.shared(),
        StageKind::Dpo => recipe.dpo.shared(),
    };
    let (lr_peak, betas, clip_norm, batch_size) = match kind {
        StageKind::Distillation => (1e-3, [0.9, 0.98], 1.0, 8),
        StageKind::Sft => (3e-4, [0.9, 0.999], 1.0, 8),
        StageKind::Dpo => (2e-5, [0.9, 0.999], 1.0, 4),
    };
    let steps = shared.steps.unwrap_or(100);
    let trainable = match kind {
        StageKind::Distillation => Trainable::Mixers,
        _ => Trainable::All,
    };
    let (sft, distillation) = (&recipe.sft, &recipe.distillation);
    let (ce_weight, kl_weight, kl_reduction, kl_mask) = match kind {
        StageKind::Distillation => (
            distillation.ce_weight.unwrap_or(1.0),
            distillation.kl_weight.unwrap_or(1.0),
            distillation.kl_reduction,
            distillation.kl_mask,
        ),
        _ => (
            sft.ce_weight.unwrap_or(1.0),
            sft.kl_weight.unwrap_or(0.0),
            sft.kl_reduction,
            sft.kl_mask,
        ),
    };
    let plan = StagePlan {
        arm: arm.into(),
        kind,
        attention_ratio,
        steps,
        batch_size: shared.batch_size.unwrap_or(batch_size),
        grad_accumulation: shared.grad_accumulation.unwrap_or(1),
        lr_peak: shared.lr_peak.unwrap_or(lr_peak),
        warmup_steps: shared.warmup_steps.unwrap_or(steps.div_ceil(10).min(steps)),
        betas: shared.betas.unwrap_or(betas),
        weight_decay: shared.weight_decay.unwrap_or(0.0),
        clip_norm: shared.clip_norm.unwrap_or(clip_norm),
        trainable: shared.trainable.unwrap_or(trainable),
        loss: LossPlan {
            ce_weight,
            kl_weight,
            kl_reduction: kl_reduction.unwrap_or(KlReduction::TokenMean),
            kl_mask: kl_mask.unwrap_or(KlMask::Labels),
        },
        dpo: DpoPlan {
            beta: recipe.dpo.beta.unwrap_or(0.1),
            reference: recipe.dpo.reference.unwrap_or(DpoReference::SftCopy),
        },
        seed: recipe.seed,
    };
    check_stage(&plan, check)?;
    Ok(plan)
}

fn check_stage(plan: &StagePlan, check: &Check) -> Result<(), DistillError> {
    let table = plan.kind.name();
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
        plan.warmup_steps <= plan.steps,
        &format!("{table}.warmup_steps"),
        || plan.warmup_steps.to_string(),
        &format!("at most `{table}.steps`, which is {}", plan.steps),
    )?;
    if plan.kind == StageKind::Dpo {
        return number(
            "beta",
            plan.dpo.beta,
            plan.dpo.beta > 0.0,
            "above 0, such as 0.1",
        );
    }
    number(
        "ce_weight",
        plan.loss.ce_weight,
        plan.loss.ce_weight >= 0.0,
        "0 or above",
    )?;
    number(
        "kl_weight",
        plan.loss.kl_weight,
        plan.loss.kl_weight >= 0.0,
        "0 or above",
    )?;
    check.that(
        plan.loss.ce_weight + plan.loss.kl_weight > 0.0,
        &format!("{table}.ce_weight"),
        || "0 with `kl_weight` 0".into(),
        "above 0, or `kl_weight` above 0: otherwise nothing is learned",
    )
}
