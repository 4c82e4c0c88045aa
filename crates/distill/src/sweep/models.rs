//! The workshop with real models.
use std::path::Path;

use anyhow::Context;
use burn::tensor::{Int, Tensor, TensorData};
use eval::perplexity::{MaskedExample, masked_examples};
use kernels::SsmBackend;
use model::load::{CheckpointMeta, SavePrecision};
use model::{
    HybridConfig, HybridModel, LayerPlan, MixerKind, ModelError, SsmConfig, decode_state_bytes,
    spread_layers,
};

use super::estimate::{self, bytes as size};
use super::layer_ranking::Ranker;
use super::samples::Prompts;
use super::{Ranking, Teacher, Training, Workshop};
use crate::checkpoint::{self, Origin, StepCheckpoints};
use crate::data::{Datasets, ExampleSet};
use crate::error::DistillError;
use crate::recipe::{ArmPlan, DpoReference, EvalPlan, Plan, StageKind, StagePlan, StudentPlan};
use crate::run::{Event, EventSink, LayerRanking, ModelSize, Sample, Scores, plan_sha256};
use crate::stage::{StageContext, StageOutcome, allocation, run_stage};
use crate::teacher_cache::TeacherCaches;

/// Context of the decode-state column, tokens.
const STATE_CONTEXT: usize = 4096;
/// Sequences on which new mixers are brought to the size of attention.
const CALIBRATION_ROWS: usize = 8;
/// Sequences that are measured together.
const EVAL_ROWS: usize = 16;

/// Converts, trains and measures [`HybridModel`]s; the tape exists only inside a stage.
pub struct ModelWorkshop<'a, B: SsmBackend> {
    /// Logits and first weights.
    pub teacher: &'a Teacher<B>,
    /// What is trained on and measured with.
    pub data: &'a Datasets,
    /// What the teacher was asked before.
    pub teacher_caches: &'a TeacherCaches,
    /// What is measured.
    pub eval: EvalPlan,
    /// Where it happens.
    pub device: &'a B::Device,
    /// What is said after each stage, once it is known what the teacher says.
    pub prompts: Option<Prompts>,
}

/// Sizes of the new mixers: the published ones with the plan's choices.
pub fn ssm_config(student: &StudentPlan, teacher: &HybridConfig) -> SsmConfig {
    let published = SsmConfig::published(student.mixer, &teacher.llama);
    SsmConfig {
        dt_bias_multiplicity: student.dt_bias_multiplicity,
        gqa_repeat: student.gqa_repeat,
        d_state: student.d_state.unwrap_or(published.d_state),
        ..published
    }
}

/// The layers of a student that keep attention.
///
/// # Errors
/// If there is no such ratio of `n_layers`, or the student's own list does not name as many.
pub fn layer_plan(
    student: &StudentPlan,
    n_layers: usize,
    attention_ratio: f64,
) -> Result<LayerPlan, ModelError> {
    if student.attn_layers.is_empty() {
        LayerPlan::for_ratio(n_layers, attention_ratio, student.layout)
    } else {
        LayerPlan::ranked(n_layers, attention_ratio, &student.attn_layers)
    }
}

/// The longest examples, cut to one length: `[rows, tokens]` without padding.
fn calibration_tokens<B: SsmBackend>(
    examples: &ExampleSet,
    device: &B::Device,
) -> anyhow::Result<Tensor<B, 2, Int>> {
    let lengths = examples.lengths();
    let mut longest: Vec<usize> = (0..lengths.len()).collect();
    // Stable: of equals the first.
    longest.sort_by_key(|index| std::cmp::Reverse(lengths[*index]));
    longest.truncate(CALIBRATION_ROWS);
    let longest = examples.get_all(&longest)?;
    let seq = longest.last().map_or(0, |example| example.ids.len());
    let ids = longest
        .iter()
        .flat_map(|example| example.ids[..seq].iter().map(|id| i64::from(*id)));
    let data = TensorData::new(ids.collect::<Vec<_>>(), [longest.len(), seq]);
    Ok(Tensor::from_data(data, device))
}

/// The stage with micro-batches of at most `size`: as many sequences a step, in more of them.
fn in_parts(stage: &StagePlan, size: usize) -> StagePlan {
    StagePlan {
        batch_size: size,
        grad_accumulation: stage.grad_accumulation * stage.batch_size.div_ceil(size),
        ..stage.clone()
    }
}

/// What to say when a device has no room for `bytes` more: the sizes that decide it, and half of them.
fn out_of_memory(
    config: &HybridConfig,
    plan: &Plan,
    stage: &StagePlan,
    bytes: u64,
) -> DistillError {
    let smaller = in_parts(stage, stage.batch_size.div_ceil(2));
    let needed = |stage: &StagePlan| size(estimate::stage(config, plan, stage).memory_bytes);
    let table = stage.table();
    DistillError::OutOfMemory {
        stage: stage.path(),
        wanted: size(usize::try_from(bytes).unwrap_or(usize::MAX)),
        table,
        batch_size: stage.batch_size,
        seq_len: plan.data.seq_len,
        cure: match stage.batch_size {
            1 => format!(
                "lower `data.seq_len`: the batch is one row, about {} in all",
                needed(stage)
            ),
            _ => format!(
                "resume with `--auto-batch`, which goes on with half of it, or start again with `--set \
                 {table}.batch_size={} --set {table}.grad_accumulation={}`: the same steps in about {} in place of {}",
                smaller.batch_size,
                smaller.grad_accumulation,
                needed(&smaller),
                needed(stage)
            ),
        },
    }
}

/// The value to twelve digits: as many as `state.json` gives back to the bit, so that a resumed run prints the same table.
pub(super) fn recordable(value: f64) -> f64 {
    format!("{value:.11e}").parse().unwrap_or(value)
}

/// Blocks and parameters of a model.
pub fn model_size(config: &HybridConfig) -> ModelSize {
    ModelSize {
        n_layers: config.llama.n_layers,
        parameters: super::estimate::parameters(config),
    }
}

/// Whether every ratio of the plan can be had with this many layers.
///
/// # Errors
/// [`DistillError::RecipeValue`] with the ratios that can, or with the list of layers that does not serve.
pub fn check_ratios(plan: &Plan, n_layers: usize) -> Result<(), DistillError> {
    for arm in &plan.arms {
        if let Some(count) = arm.drafter_layers.filter(|count| *count >= n_layers) {
            return Err(DistillError::RecipeValue {
                recipe: plan.name.clone(),
                field: "drafter.layers".into(),
                found: format!("[.., {count}, ..]"),
                expected: format!("below {n_layers}, the layers of the teacher"),
            });
        }
        for rung in &arm.rungs {
            let ratio = rung.attention_ratio;
            let value = |field: &str, found: String, expected: String| DistillError::RecipeValue {
                recipe: plan.name.clone(),
                field: field.into(),
                found,
                expected,
            };
            layer_plan(&arm.student, n_layers, ratio).map_err(|error| match error {
                ModelError::LayerOrder { ref order, .. } => value(
                    "student.attn_layers",
                    format!("{order:?}"),
                    format!("enough of the model's layers for a ratio of {ratio}: {error}"),
                ),
                _ => value(
                    "sweep.attention_ratios",
                    ratio.to_string(),
                    format!("a ratio that {n_layers} layers can have: {error}"),
                ),
            })?;
        }
    }
    Ok(())
}

impl<B: SsmBackend> ModelWorkshop<'_, B> {
    /// Does `work` of `stage` on a model of `config`, and says what sizes would fit where the device has no memory for it.
    fn within_memory<R>(
        &self,
        config: &HybridConfig,
        plan: &Plan,
        stage: &StagePlan,
        work: impl FnOnce() -> anyhow::Result<R>,
    ) -> anyhow::Result<R> {
        match allocation::attempt(work) {
            Ok(result) => result,
            Err(bytes) => {
                allocation::recover::<B>(bytes, self.device);
                Err(out_of_memory(config, plan, stage, bytes).into())
            }
        }
    }
}

impl<B: SsmBackend> Workshop for ModelWorkshop<'_, B> {
    type Model = HybridModel<B>;

    fn init_sha256(&self) -> String {
        self.teacher.sha256.clone()
    }

    fn init_model(&mut self) -> anyhow::Result<HybridModel<B>> {
        Ok(self.teacher.model.clone())
    }

    fn convert(
        &mut self,
        from: &HybridModel<B>,
        arm: &ArmPlan,
        attention_ratio: f64,
    ) -> anyhow::Result<HybridModel<B>> {
        if let Some(count) = arm.drafter_layers {
            return Ok(from.shrink(&spread_layers(from.n_layers(), count))?);
        }
        let layers = layer_plan(&arm.student, from.n_layers(), attention_ratio)?;
        let ssm = ssm_config(&arm.student, self.teacher.model.config());
        let student = from.convert(&ssm, &layers, arm.init, arm.seed)?;
        if arm.student.start.is_empty() {
            return Ok(student);
        }
        let calibration = calibration_tokens(&self.data.distillation, self.device)?;
        Ok(student.with_start(from, &arm.student.start, calibration)?)
    }

    fn rank_layers(&mut self, ranking: Ranking) -> anyhow::Result<Option<LayerRanking>> {
        let Ranking {
            plan,
            arm,
            choice,
            mut known,
            folder,
            events,
            stop,
            keep,
        } = ranking;
        let (teacher, n_layers) = (&self.teacher.model, self.teacher.model.n_layers());
        if known.rounds.len() == n_layers {
            return Ok(Some(known));
        }
        let mut note = |text: String| events.emit(Event::Note { text });
        note(format!(
            "finding the layers of `{}`: {n_layers} mixers are aligned in {} steps",
            arm.name, choice.alignment.steps
        ));
        let student = self.convert(teacher, arm, 0.0)?;
        let training = Training {
            plan,
            stage: &choice.alignment,
            parent_sha256: &self.teacher.sha256,
            micro_batch: choice.alignment.batch_size,
            folder,
            events: &mut WithoutSteps(events),
            stop,
        };
        let Some(aligned) = self.train(training, student)? else {
            return Ok(None);
        };
        let stage = &choice.alignment;
        let size = [choice.sequences, stage.batch_size];
        let (examples, length) = (&self.data.distillation, plan.data.row_length());
        let ranker = self.within_memory(aligned.config(), plan, stage, || {
            Ranker::new(teacher, &aligned, examples, size, length, self.device)
        })?;
        loop {
            let mut replaced = known.order();
            replaced.reverse();
            let round =
                self.within_memory(aligned.config(), plan, stage, || ranker.round(&replaced))?;
            let Some(round) = round else {
                break;
            };
            let find = |(layer_idx, _): &&(usize, f64)| *layer_idx == round.replaced;
            let kl = round.kl.iter().find(find).map_or(f64::NAN, |(_, kl)| *kl);
            let text = format!(
                "layer {} needs attention least: KL {kl:.5} without it ({} of {n_layers})",
                round.replaced,
                replaced.len() + 1
            );
            events.emit(Event::Note { text });
            known.rounds.push(round);
            keep(&known)?;
            if stop.is_set() {
                return Ok(None);
            }
        }
        checkpoint::remove_steps(folder)?;
        Ok(Some(known))
    }

    fn train(
        &mut self,
        training: Training,
        student: HybridModel<B>,
    ) -> anyhow::Result<Option<HybridModel<B>>> {
        let Training { plan, stage, .. } = training;
        let copy = student.clone();
        let reference = match (stage.kind, stage.dpo.reference) {
            (StageKind::Dpo, DpoReference::SftCopy) => Some(&copy),
            (StageKind::Dpo, DpoReference::Teacher) => Some(&self.teacher.model),
            _ => None,
        };
        let cost = estimate::stage(student.config(), plan, stage);
        training.events.emit(Event::Student {
            mixer: student
                .config()
                .ssm
                .as_ref()
                .map_or(MixerKind::Attention, |ssm| ssm.mixer),
            attn_layers: cost.attn_layers,
            n_layers: student.n_layers(),
            parameters: cost.parameters,
            trainable: cost.trainable,
            flops_per_token: estimate::flops_per_token(student.config(), plan, stage),
        });
        let origin = Origin {
            plan_sha256: plan_sha256(plan),
            stage: stage.path(),
            parent_sha256: training.parent_sha256.into(),
        };
        let checkpoints = StepCheckpoints::of(training.folder, origin, plan.checkpoint);
        let context = StageContext {
            plan,
            stage,
            teacher: &self.teacher.model,
            reference,
            tokenizer: &self.teacher.tokenizer,
            data: self.data,
            events: training.events,
            stop: training.stop,
            device: self.device,
            checkpoints: &checkpoints,
            micro_batch: training.micro_batch,
            teacher_caches: self.teacher_caches,
        };
        let config = student.config().clone();
        let stage = in_parts(stage, training.micro_batch);
        match self.within_memory(&config, plan, &stage, || run_stage(context, student))? {
            StageOutcome::Finished { model, .. } => Ok(Some(model)),
            StageOutcome::Interrupted => Ok(None),
        }
    }

    fn measure(&mut self, model: &HybridModel<B>, with_speed: bool) -> anyhow::Result<Scores> {
        let examples: Vec<_> = self
            .data
            .eval_perplexity
            .iter()
            .map(|example| MaskedExample {
                ids: &example.ids,
                is_scored: &example.targets,
            })
            .collect();
        let nll: eval::perplexity::Nll = masked_examples(model, &examples, EVAL_ROWS)?
            .into_iter()
            .sum();
        let answers = eval::exact_match::exact_match(
            model,
            &self.teacher.tokenizer,
            &self.data.eval_tasks,
            EVAL_ROWS,
        )?;
        let tasks = answers
            .kinds
            .iter()
            .map(|(kind, accuracy)| (kind.name().to_string(), recordable(accuracy.share())));
        let options = eval::speed::SpeedOptions {
            decode_tokens: self.eval.speed_tokens,
            ..Default::default()
        };
        let speed = with_speed
            .then(|| eval::speed::measure(model, options))
            .transpose()?;
        Ok(Scores {
            perplexity: recordable(nll.perplexity()),
            tasks: tasks.collect(),
            tokens_per_s: speed.map(|speed| recordable(speed.decode_tokens_per_s)),
            state_bytes: decode_state_bytes(model.config(), STATE_CONTEXT),
            attn_layers: model.config().attn_layers.len(),
        })
    }

    fn samples(&mut self, model: &HybridModel<B>) -> anyhow::Result<Vec<Sample>> {
        let (teacher, tokenizer) = (&self.teacher.model, &self.teacher.tokenizer);
        let prompts = match self.prompts.take() {
            Some(prompts) => prompts,
            None => Prompts::new(
                self.eval.samples,
                &self.data.eval_perplexity,
                teacher,
                tokenizer,
            )?,
        };
        self.prompts.insert(prompts).answered_by(model, tokenizer)
    }

    fn measure_teacher(&mut self) -> anyhow::Result<Scores> {
        let teacher = self.teacher;
        self.measure(&teacher.model, true)
    }

    fn save(
        &mut self,
        model: &HybridModel<B>,
        stage: &StagePlan,
        parent_sha256: &str,
        folder: &Path,
    ) -> anyhow::Result<String> {
        if let Some(parent) = folder.parent() {
            std::fs::create_dir_all(parent)
                .with_context(|| format!("could not create `{}`", parent.display()))?;
        }
        let meta = CheckpointMeta {
            stage: Some(stage.kind.name().into()),
            step: Some(stage.steps as u64),
            parent_sha256: Some(parent_sha256.into()),
            teacher_sha256: Some(self.teacher.sha256.clone()),
            ..Default::default()
        };
        model::load::save(
            model,
            Some(&self.teacher.tokenizer),
            folder,
            &meta,
            SavePrecision::F32,
        )?;
        self.saved_sha256(folder)
    }

    fn saved_sha256(&mut self, folder: &Path) -> anyhow::Result<String> {
        Ok(model::load::checked_folder_sha256(folder)?)
    }

    fn load(&mut self, folder: &Path) -> anyhow::Result<HybridModel<B>> {
        let loaded = model::load(folder, self.device)
            .with_context(|| format!("checkpoint `{}`", folder.display()))?;
        Ok(loaded.model.computing_in(self.teacher.model.compute()))
    }
}

/// Passes everything on but the student and the steps of what is no stage of the plan.
struct WithoutSteps<'a>(&'a mut dyn EventSink);

impl EventSink for WithoutSteps<'_> {
    fn emit(&mut self, event: Event) {
        let is_of_stage = matches!(
            event,
            Event::Student { .. } | Event::Step { .. } | Event::Profile { .. }
        );
        if !is_of_stage {
            self.0.emit(event);
        }
    }
}

#[cfg(test)]
mod tests;
