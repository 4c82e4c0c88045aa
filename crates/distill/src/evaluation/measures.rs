//! What is measured of one model.
use anyhow::Context;
use eval::BatchLimits;
use eval::fidelity::{Agreement, Continuation, Judged, Prompt, compare, continue_prompts, judge};
use eval::generative::{GenerativeOptions, GenerativeScore, GenerativeTask, Question, answer};
use eval::perplexity::MaskedExample;
use eval::synthetic::{DistanceOptions, DistanceScore, by_distance};
use eval::zero_shot::{Task, TaskScore, ZeroShotOptions, score};
use kernels::SsmBackend;
use model::{ChatTemplate, HybridModel};
use serde::Serialize;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{Kept, Subject};
use crate::checkpoint::hex;
use crate::data::Example;
use crate::data::task_files::TaskItems;
use crate::error::DistillError;
use crate::recipe::Precision;
use crate::sweep::Teacher;

/// How many replies are written together.
const REPLY_ROWS: usize = 32;
/// Least tokens of a prompt that is the start of a text.
const TEXT_PROMPT: usize = 32;

/// How much is measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct EvaluationSettings {
    /// Held-out prompts that are answered.
    pub prompts: usize,
    /// Most tokens of such a reply.
    pub reply_tokens: usize,
    /// Recall and look-up.
    pub distance: DistanceOptions,
    /// Most tokens of a benchmark's prompt.
    pub max_context: usize,
    /// Most tokens of a reply in a benchmark of replies.
    pub task_reply_tokens: usize,
}

/// What every model of a run is measured with.
pub struct Bench<'a, B: SsmBackend> {
    /// What students are compared with; it computes as they do.
    pub teacher: &'a Teacher<B>,
    /// What all of them compute in.
    pub precision: Precision,
    /// Text with the tokens that count.
    pub held_out: &'a [Example],
    /// Benchmarks with what they ask.
    pub tasks: &'a [(&'static Task, TaskItems)],
    /// Benchmarks of replies with what they ask.
    pub generative: &'a [(&'static GenerativeTask, Vec<Question>)],
    /// How much is measured.
    pub settings: EvaluationSettings,
    /// How much runs at once.
    pub limits: BatchLimits,
    /// What was measured before.
    pub kept: Kept,
    /// Where it happens.
    pub device: &'a B::Device,
}

/// What was measured of one model.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// On held-out replies, one each.
    pub held_out: Vec<Agreement>,
    /// On replies of its own, one a prompt.
    pub own_text: Vec<Judged>,
    /// Recall and look-up by distance.
    pub distances: Vec<DistanceScore>,
    /// Benchmarks.
    pub tasks: Vec<TaskScore>,
    /// Benchmarks of replies.
    pub generative: Vec<GenerativeScore>,
}

impl<B: SsmBackend> Bench<'_, B> {
    /// Everything that is measured of one model; only what is not kept is measured, and the model, unless it is given, loaded
    /// only for that.
    ///
    /// `progress` is told what is measured next.
    ///
    /// # Errors
    /// A checkpoint that cannot be read or is not the one that the run recorded; as the measures say.
    pub fn measure(
        &self,
        subject: &Subject,
        model: Option<HybridModel<B>>,
        mut progress: impl FnMut(&'static str),
    ) -> anyhow::Result<Measured> {
        let teacher = &self.teacher.model;
        let mut student = Student {
            subject,
            bench: self,
            loaded: model,
        };
        progress("held-out replies");
        let held_out = self.held_out(subject, &mut student)?;
        progress("replies of its own");
        let own_text = self.own_text(subject, &mut student)?;
        progress("recall and look-up by distance");
        let key = self.key(subject, serde_json::to_value(&self.settings.distance)?);
        let distances = self.kept.of("distance", &key, || {
            let tokenizer = &self.teacher.tokenizer;
            let options = &self.settings.distance;
            Ok(by_distance(
                student.model()?,
                tokenizer,
                options,
                self.limits,
                |_| (),
            )?)
        })?;
        let mut tasks = Vec::with_capacity(self.tasks.len());
        for (task, asked) in self.tasks {
            progress(task.name);
            tasks.push(self.task(subject, &mut student, task, asked)?);
        }
        let mut generative = Vec::with_capacity(self.generative.len());
        for (task, questions) in self.generative {
            progress(task.name);
            let max_context = teacher.config().llama.max_position_embeddings;
            let most = self.settings.task_reply_tokens.min(task.reply_tokens);
            let options = GenerativeOptions {
                // Half of a small context is the prompt's.
                reply_tokens: most.min(max_context / 2),
                max_context,
                rows: REPLY_ROWS,
            };
            let key = json!({
                "task": task.name,
                "version": task.version,
                "questions": hash(questions)?,
                "reply_tokens": options.reply_tokens,
            });
            generative.push(self.kept.of(task.name, &self.key(subject, key), || {
                let tokenizer = &self.teacher.tokenizer;
                let model = student.model()?;
                Ok(answer(task, questions, model, tokenizer, options, |_| ())?)
            })?);
        }
        Ok(Measured {
            held_out,
            own_text,
            distances,
            tasks,
            generative,
        })
    }

    /// What a student and its teacher make of the held-out replies, one each: what a gate needs.
    ///
    /// # Errors
    /// As [`Bench::measure`].
    pub fn agreement(&self, subject: &Subject) -> anyhow::Result<Vec<Agreement>> {
        let mut student = Student {
            subject,
            bench: self,
            loaded: None,
        };
        self.held_out(subject, &mut student)
    }

    fn held_out(
        &self,
        subject: &Subject,
        student: &mut Student<B>,
    ) -> anyhow::Result<Vec<Agreement>> {
        let examples: Vec<MaskedExample> = self
            .held_out
            .iter()
            .map(|example| MaskedExample {
                ids: &example.ids,
                is_scored: &example.targets,
            })
            .collect();
        let teacher = &self.teacher.model;
        let key = self.key(subject, json!({ "held_out": hash(self.held_out)? }));
        self.kept.of("held-out", &key, || {
            let student = student.model()?;
            Ok(compare(teacher, student, &examples, self.limits, |_| ())?)
        })
    }

    fn task(
        &self,
        subject: &Subject,
        student: &mut Student<B>,
        task: &'static Task,
        asked: &TaskItems,
    ) -> anyhow::Result<TaskScore> {
        let options = ZeroShotOptions::zero_shot(self.settings.max_context, self.limits);
        let key = json!({
            "task": task.name,
            "version": task.version,
            "items": hash(&asked.items)?,
            "max_context": options.max_context,
        });
        self.kept.of(task.name, &self.key(subject, key), || {
            let tokenizer = &self.teacher.tokenizer;
            let items = [asked.items.as_slice(), &[]];
            Ok(score(
                task,
                items,
                student.model()?,
                tokenizer,
                options,
                |_| (),
            )?)
        })
    }

    /// The student's greedy replies to held-out prompts, beside the teacher's.
    fn own_text(&self, subject: &Subject, student: &mut Student<B>) -> anyhow::Result<Vec<Judged>> {
        let teacher = &self.teacher.model;
        let tokenizer = &self.teacher.tokenizer;
        let template =
            ChatTemplate::detect(tokenizer).context("the teacher has no chat template")?;
        let stop = template.end_of_turn(tokenizer)?;
        let prompts = self.prompts(stop);
        let ids: Vec<&[u32]> = prompts.iter().map(|prompt| prompt.ids.as_slice()).collect();
        let most = self.settings.reply_tokens;
        let asked = json!({ "prompts": hash(&prompts)?, "tokens": most });
        let write = |model: &HybridModel<B>| {
            Ok(continue_prompts(
                model,
                &ids,
                most,
                stop,
                REPLY_ROWS,
                |_| (),
            )?)
        };
        let key = self.key(subject, asked.clone());
        let written: Vec<Continuation> =
            self.kept.of("replies", &key, || write(student.model()?))?;
        let of_teacher = Subject::teacher(teacher.n_layers(), &self.teacher.sha256);
        let key_of_teacher = self.key(&of_teacher, asked);
        let of_teacher = self
            .kept
            .of("replies", &key_of_teacher, || write(teacher))?;
        self.kept.of("own-text", &key, || {
            let models = [teacher, student.model()?];
            Ok(judge(
                models,
                &prompts,
                [&of_teacher, &written],
                self.limits,
            )?)
        })
    }

    /// What is answered: the prompts of held-out replies, or starts of held-out texts, each with what follows in the data.
    fn prompts(&self, stop: u32) -> Vec<Prompt> {
        let most = self.settings.reply_tokens;
        let context = self.teacher.model.config().llama.max_position_embeddings;
        let prompts = self.held_out.iter().filter_map(|example| {
            let (prompt, reply) = example.last_reply();
            let (prompt, reply) = match prompt.is_empty() {
                true => reply.split_at(TEXT_PROMPT.min(reply.len() / 2)),
                false => (prompt, reply),
            };
            let reply = reply.split(|id| *id == stop).next().unwrap_or_default();
            let fits = !prompt.is_empty() && prompt.len() + most <= context;
            fits.then(|| Prompt {
                ids: prompt.to_vec(),
                reference: reply[..reply.len().min(most)].to_vec(),
            })
        });
        prompts.take(self.settings.prompts).collect()
    }

    /// Everything that a measurement of `subject` depends on beside the measure itself.
    fn key(&self, subject: &Subject, of: serde_json::Value) -> serde_json::Value {
        json!({
            "model": subject.sha256,
            "teacher": self.teacher.sha256,
            "precision": self.precision,
            "backend": crate::backend::NAME,
            "what": of,
        })
    }
}

/// A model that is loaded when it is first needed.
struct Student<'a, B: SsmBackend> {
    subject: &'a Subject,
    bench: &'a Bench<'a, B>,
    loaded: Option<HybridModel<B>>,
}

impl<B: SsmBackend> Student<'_, B> {
    fn model(&mut self) -> anyhow::Result<&HybridModel<B>> {
        if self.loaded.is_none() {
            self.loaded = Some(self.load()?);
        }
        Ok(self.loaded.as_ref().expect("loaded above"))
    }

    fn load(&self) -> anyhow::Result<HybridModel<B>> {
        let teacher = &self.bench.teacher.model;
        let Some(folder) = &self.subject.folder else {
            return Ok(teacher.clone());
        };
        let loaded = model::load(folder, self.bench.device)
            .with_context(|| format!("checkpoint `{}`", folder.display()))?;
        if loaded.sha256 != self.subject.sha256 {
            return Err(DistillError::CheckpointHash {
                path: folder.join("model.safetensors"),
                found: loaded.sha256,
                expected: self.subject.sha256.clone(),
            }
            .into());
        }
        Ok(loaded.model.computing_in(teacher.compute()))
    }
}

/// Hash of a value's JSON.
fn hash<T: Serialize + ?Sized>(value: &T) -> anyhow::Result<String> {
    Ok(hex(&Sha256::digest(serde_json::to_vec(value)?)))
}
