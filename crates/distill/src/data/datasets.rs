//! What a plan trains on and is measured with.

use std::path::Path;

use anyhow::Context;
use eval::synthetic::{SyntheticTask, TaskKind, TaskMix, tasks};
use kernels::SsmBackend;
use model::{ChatTemplate, HybridModel, Tokenizer};

use super::chat::each_prompt_once;
use super::prepared::{self, Kind};
use super::pseudo_labels::{PseudoLabelPlan, pseudo_labels};
use super::repeats::{Identity, Key, Repeats, Sides};
use super::{Chat, Example, Preference, PreferenceExample, builtin, split, text};
use crate::recipe::{DataSource, Plan, StageKind};
use crate::run::{Event, EventSink, StopFlag};

/// Tokenised data of a run.
#[derive(Debug, Clone, Default)]
pub struct Datasets {
    /// Stage 1: the teacher's replies to training prompts, and text.
    pub distillation: Vec<Example>,
    /// Stage 2: conversations with the replies that the data brings, and text.
    pub sft: Vec<Example>,
    /// Stage 3: preference pairs.
    pub dpo: Vec<PreferenceExample>,
    /// Held-out conversations with the teacher's replies (held-out text if there are no conversations).
    pub eval_perplexity: Vec<Example>,
    /// Held-out synthetic tasks.
    pub eval_tasks: Vec<SyntheticTask>,
}

/// Seeds of what is drawn for a run; evaluation is the same in every run.
const EVAL_SEED: u64 = 0x5eed;

/// Records before tokenising.
#[derive(Default)]
struct Sources {
    /// Prompts for the teacher, in order of preference.
    prompts: Vec<Chat>,
    sft: Vec<Chat>,
    pairs: Vec<Preference>,
    held_out: Vec<Chat>,
    /// Examples that are tokens already: text, and what was prepared
    text: Vec<Example>,
    held_out_text: Vec<Example>,
    prepared_pairs: Vec<PreferenceExample>,
    repeats: Repeats,
}

/// Reads the data of `plan`, lets the teacher answer the prompts (cached under `run_dir`) and tokenises everything.
///
/// Returns `None` when `stop` was set meanwhile.
///
/// # Errors
/// When a file cannot be read, the tokenizer has no chat template, a stage is left without data, or generation fails.
pub fn build<B: SsmBackend>(
    plan: &Plan,
    teacher: &HybridModel<B>,
    tokenizer: &Tokenizer,
    run_dir: &Path,
    events: &mut dyn EventSink,
    stop: &StopFlag,
) -> anyhow::Result<Option<Datasets>> {
    let template = ChatTemplate::detect(tokenizer)
        .context("the teacher's tokenizer has no control tokens of ChatML, Llama-3 or Zephyr")?;
    let sources = match &plan.data.source {
        DataSource::Builtin(_) => builtin_sources(plan)?,
        DataSource::Prepared(folder) => prepared_sources(plan, tokenizer, folder)?,
        DataSource::Files {
            chat,
            text,
            preferences,
        } => file_sources(plan, tokenizer, chat, text, preferences)?,
    };
    if sources.repeats != Repeats::default() {
        events.emit(Event::Note {
            text: format!("rows of the data: {}", sources.repeats),
        });
    }
    let seq_len = plan.data.seq_len;
    let encode = |chats: &[Chat]| -> anyhow::Result<Vec<Example>> {
        let mut examples = Vec::with_capacity(chats.len());
        for chat in chats {
            examples.extend(chat.encode(tokenizer, &template)?.truncated(seq_len));
        }
        Ok(examples)
    };
    let mut answer = |chats: &[Chat], what: &str, seed: u64| {
        events.emit(Event::Note {
            text: format!("the teacher answers {} {what} prompts", chats.len()),
        });
        let labels = PseudoLabelPlan {
            max_tokens: plan.data.pseudo_label_tokens,
            temperature: plan.data.pseudo_label_temperature,
            seed,
            seq_len,
        };
        let cache = run_dir.join("data");
        pseudo_labels(teacher, tokenizer, &template, chats, labels, &cache, stop)
    };

    let mut data = Datasets {
        sft: encode(&sources.sft)?,
        ..Datasets::default()
    };
    if plan.data.pseudo_labels == 0 {
        data.distillation = encode(&sources.prompts)?;
    } else {
        let mut prompts = each_prompt_once(&sources.prompts);
        prompts.truncate(plan.data.pseudo_labels);
        match answer(&prompts, "training", plan.seed)? {
            Some(examples) => data.distillation = examples,
            None => return Ok(None),
        }
    }
    data.distillation.extend(sources.text.iter().cloned());
    data.sft.extend(sources.text);
    data.dpo = sources.prepared_pairs;
    for pair in &sources.pairs {
        data.dpo.extend(pair.encode(tokenizer, &template, seq_len)?);
    }
    let mut held_out = each_prompt_once(&sources.held_out);
    held_out.truncate(plan.eval.perplexity_sequences);
    match answer(&held_out, "held-out", EVAL_SEED)? {
        Some(examples) => data.eval_perplexity = examples,
        None => return Ok(None),
    }
    if data.eval_perplexity.is_empty() {
        data.eval_perplexity = sources.held_out_text;
        data.eval_perplexity
            .truncate(plan.eval.perplexity_sequences);
    }
    data.eval_tasks = eval_tasks(plan.eval.task_examples);
    check(plan, &data)?;
    Ok(Some(data))
}

/// Examples that the longest stage of a kind takes.
fn demand(plan: &Plan, wants: impl Fn(StageKind) -> bool) -> usize {
    let examples = plan.stages().filter(|stage| wants(stage.kind));
    examples
        .map(|stage| stage.steps * stage.batch_size * stage.grad_accumulation)
        .max()
        .unwrap_or(0)
}

/// Built-in chats and as many synthetic tasks, no more than the stages take.
fn builtin_sources(plan: &Plan) -> anyhow::Result<Sources> {
    let chats = Chat::from_replies(builtin::replies()?);
    let mut sides = Sides::default();
    let (mut train, held_out) = sides.split(chats, plan.data.eval_share, Chat::identity);
    let mix = TaskMix::default();
    let half = demand(plan, |kind| kind != StageKind::Dpo)
        .max(plan.data.pseudo_labels)
        .div_ceil(2)
        .max(1);
    let mut prompts = each_prompt_once(&train);
    prompts.truncate(half);
    train.truncate(half);
    let asked: Vec<_> = tasks(plan.seed, half, &mix)
        .iter()
        .map(Chat::from_task)
        .collect();
    let shown: Vec<_> = tasks(plan.seed ^ 1, half, &mix)
        .iter()
        .map(Chat::from_task)
        .collect();
    let compared = tasks(
        plan.seed ^ 2,
        demand(plan, |kind| kind == StageKind::Dpo),
        &mix,
    );
    Ok(Sources {
        prompts: alternate(prompts, asked),
        sft: alternate(train, shown),
        pairs: compared.iter().map(Preference::from_task).collect(),
        held_out,
        repeats: sides.repeats(),
        ..Sources::default()
    })
}

fn file_sources(
    plan: &Plan,
    tokenizer: &Tokenizer,
    chat: &[std::path::PathBuf],
    text_files: &[std::path::PathBuf],
    preferences: &[std::path::PathBuf],
) -> anyhow::Result<Sources> {
    let mut sources = Sources::default();
    let share = plan.data.eval_share;
    let mut sides = Sides::default();
    for path in chat {
        let (train, held_out) = sides.split(Chat::read(path)?, share, Chat::identity);
        sources.sft.extend(train);
        sources.held_out.extend(held_out);
    }
    sources.prompts = sources.sft.clone();
    for path in text_files {
        let windows = text::windows(path, tokenizer, plan.data.seq_len)?;
        sources.hold_out(windows, share);
    }
    for path in preferences {
        let pairs = Preference::read(path)?;
        let (train, _) = sides.split(pairs, share, Preference::identity);
        sources.pairs.extend(train);
    }
    sources.repeats = sides.repeats();
    Ok(sources)
}

/// Documents of a prepared folder, cut to `seq_len`; conversations and windows of text are held out alike.
fn prepared_sources(plan: &Plan, tokenizer: &Tokenizer, folder: &Path) -> anyhow::Result<Sources> {
    let mut sources = Sources::default();
    let seq_len = plan.data.seq_len;
    let mut chats: Vec<(Key, Key, Example)> = Vec::new();
    let mut prepared_pairs: Vec<(Key, PreferenceExample)> = Vec::new();
    for (kind, documents) in prepared::read(folder, tokenizer)? {
        match kind {
            Kind::Chat => chats.extend(documents.into_iter().filter_map(|document| {
                let (prompt, whole) = document.keys();
                let document = document.truncated(seq_len)?;
                Some((prompt, whole, document))
            })),
            Kind::Text => {
                for document in documents {
                    sources.hold_out(text::cut(&document.ids, seq_len), plan.data.eval_share);
                }
            }
            Kind::Preferences => {
                let cut = |document: &Example| {
                    let whole = document.target_count();
                    let cut = document.clone().truncated(seq_len)?;
                    (cut.target_count() == whole).then_some(cut)
                };
                let pairs = documents.chunks_exact(2).filter_map(|pair| {
                    let (chosen, rejected) = (cut(&pair[0])?, cut(&pair[1])?);
                    let (prompt, _) = pair[0].keys();
                    Some((prompt, PreferenceExample { chosen, rejected }))
                });
                prepared_pairs.extend(pairs);
            }
        }
    }
    let mut sides = Sides::default();
    let numbered = chats.into_iter().enumerate().collect();
    let (train, held_out) = sides.split(numbered, plan.data.eval_share, |(index, chat)| {
        let (prompt, whole, _) = chat;
        Identity {
            id: index.to_string(),
            prompt: *prompt,
            whole: *whole,
        }
    });
    let strip = |(_, (.., document)): (usize, (Key, Key, Example))| document;
    sources.text.extend(train.into_iter().map(strip));
    sources
        .held_out_text
        .extend(held_out.into_iter().map(strip));
    let trained = |(prompt, pair)| (!sides.is_held_out(&prompt)).then_some(pair);
    sources.prepared_pairs = prepared_pairs.into_iter().filter_map(trained).collect();
    sources.repeats = sides.repeats();
    Ok(sources)
}

impl Sources {
    /// Adds tokenised examples, a share of them as held out.
    fn hold_out(&mut self, examples: Vec<Example>, share: f64) {
        let examples: Vec<_> = examples.into_iter().enumerate().collect();
        let (train, held_out) = split(examples, share, |(index, _)| index.to_string());
        let strip = |(_, example): (usize, Example)| example;
        self.text.extend(train.into_iter().map(strip));
        self.held_out_text.extend(held_out.into_iter().map(strip));
    }
}

/// One of each in turn; the rest of the longer list at the end.
fn alternate(left: Vec<Chat>, right: Vec<Chat>) -> Vec<Chat> {
    let (mut left, mut right) = (left.into_iter(), right.into_iter());
    let mut all = Vec::new();
    loop {
        let before = all.len();
        all.extend(left.next());
        all.extend(right.next());
        if all.len() == before {
            return all;
        }
    }
}

/// Held-out tasks, `count` of each kind.
fn eval_tasks(count: usize) -> Vec<SyntheticTask> {
    let of_kind = |kind: TaskKind| {
        let weight = |other| f64::from(u8::from(kind == other));
        let mix = TaskMix {
            recall: weight(TaskKind::Recall),
            copy: weight(TaskKind::Copy),
            lookup: weight(TaskKind::Lookup),
            ..TaskMix::default()
        };
        tasks(EVAL_SEED, count, &mix.held_out())
    };
    TaskKind::ALL.into_iter().flat_map(of_kind).collect()
}

/// Every stage that trains has something to train on.
fn check(plan: &Plan, data: &Datasets) -> anyhow::Result<()> {
    for stage in plan.stages().filter(|stage| stage.steps > 0) {
        let count = match stage.kind {
            StageKind::Alignment | StageKind::Distillation => data.distillation.len(),
            StageKind::Sft => data.sft.len(),
            StageKind::Dpo => data.dpo.len(),
        };
        anyhow::ensure!(
            count > 0,
            "stage `{}` has no example that fits `data.seq_len` = {} tokens; raise it or add data",
            stage.kind.name(),
            plan.data.seq_len
        );
    }
    anyhow::ensure!(
        !data.eval_perplexity.is_empty(),
        "no held-out sequence is left to measure perplexity with; add data or raise `data.eval_share`"
    );
    Ok(())
}

#[cfg(test)]
mod tests;
