//! What a plan trains on and is measured with.

use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use eval::synthetic::{SyntheticTask, TaskKind, TaskMix, tasks};
use kernels::SsmBackend;
use model::{ChatTemplate, HybridModel, Tokenizer};

use super::chat::each_prompt_once;
use super::example_set::Stored;
use super::prepared::{self, Kind};
use super::pseudo_labels::{PseudoLabelPlan, pseudo_labels};
use super::repeats::{Identity, Key, Repeats, Sides};
use super::{
    Chat, Example, ExampleSet, PairSet, Preference, PromptKind, Prompts, builtin, prompts, split,
    text,
};
use crate::recipe::{DataSource, Plan, StageKind};
use crate::run::{Event, EventSink, StopFlag};

/// Tokenised data of a run.
#[derive(Debug, Clone, Default)]
pub struct Datasets {
    /// Stage 1: the teacher's replies to training prompts, and text.
    pub distillation: ExampleSet,
    /// Stage 2: conversations with the replies that the data brings, and text.
    pub sft: ExampleSet,
    /// Stage 3: preference pairs.
    pub dpo: PairSet,
    /// Held-out conversations with the teacher's replies (held-out text if there are no conversations).
    pub eval_perplexity: Vec<Example>,
    /// Held-out synthetic tasks.
    pub eval_tasks: Vec<SyntheticTask>,
}

/// Synthetic tasks that are drawn for one use at most: longer stages pass over them again, so that a recipe with 10^8 steps takes no
/// more memory than one with 10^6.
const MOST_TASKS: usize = 1 << 19;

/// Seeds of what is drawn for a run; evaluation is the same in every run.
const EVAL_SEED: u64 = 0x5eed;
/// What the seed of a plan becomes for prompts from templates.
const TEMPLATE_SEED: u64 = 0x7e3b;

/// Records before tokenising.
#[derive(Default)]
struct Sources {
    /// Prompts for the teacher, in order of preference.
    prompts: Vec<Chat>,
    sft: Vec<Chat>,
    pairs: Vec<Preference>,
    held_out: Vec<Chat>,
    /// Examples that are tokens already: text, and what was prepared
    text: ExampleSet,
    held_out_text: ExampleSet,
    prepared_pairs: PairSet,
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
    let mut answer = |writer: &HybridModel<B>, chats: &[Chat], what: &str, seed: u64| {
        events.emit(Event::Note {
            text: format!("the teacher answers {} {what} prompts", chats.len()),
        });
        let labels = PseudoLabelPlan {
            max_tokens: plan.data.pseudo_label_tokens,
            temperature: plan.data.pseudo_label_temperature,
            seed,
            seq_len,
            batch: plan.data.pseudo_label_batch,
        };
        let cache = run_dir.join("data");
        pseudo_labels(writer, tokenizer, &template, chats, labels, &cache, stop)
    };

    let mut data = Datasets {
        sft: encode(&sources.sft)?.into(),
        ..Datasets::default()
    };
    if plan.data.pseudo_labels == 0 {
        data.distillation = encode(&sources.prompts)?.into();
    } else {
        let mut prompts = each_prompt_once(&sources.prompts);
        if plan.data.template_prompts > 0 {
            add_template_prompts(&mut prompts, plan, &sources.held_out);
        }
        prompts.truncate(plan.data.pseudo_labels);
        // What is trained on may be written as fast as it is trained on; what is measured with is the teacher's own.
        let writer = match plan.precision.compute() {
            Some(compute) => teacher.clone().with_projections_in(compute),
            None => teacher.clone(),
        };
        match answer(&writer, &prompts, "training", plan.seed)? {
            Some(examples) => data.distillation = examples.into(),
            None => return Ok(None),
        }
    }
    data.distillation.append(&sources.text);
    data.sft.append(&sources.text);
    data.dpo = sources.prepared_pairs;
    for pair in &sources.pairs {
        data.dpo.extend(pair.encode(tokenizer, &template, seq_len)?);
    }
    let mut held_out = each_prompt_once(&sources.held_out);
    held_out.truncate(plan.eval.perplexity_sequences);
    match answer(teacher, &held_out, "held-out", EVAL_SEED)? {
        Some(examples) => data.eval_perplexity = examples,
        None => return Ok(None),
    }
    if data.eval_perplexity.is_empty() {
        let held_out = &sources.held_out_text;
        let count = plan.eval.perplexity_sequences.min(held_out.len());
        let examples = (0..count).map(|index| held_out.get(index));
        data.eval_perplexity = examples.collect::<anyhow::Result<_>>()?;
    }
    data.eval_tasks = eval_tasks(plan.eval.task_examples);
    check(plan, &data)?;
    Ok(Some(data))
}

/// Adds prompts from templates, but for those held out and those kept for measuring, which are taken out of the others too.
fn add_template_prompts(prompts: &mut Vec<Chat>, plan: &Plan, held_out: &[Chat]) {
    let last = |chat: &Chat| chat.prompt().last().map(|turn| turn.content.clone());
    let mut seen: HashSet<String> = held_out.iter().chain(&*prompts).filter_map(last).collect();
    prompts.retain(|chat| last(chat).is_none_or(|text| !prompts::is_for_measuring(&text)));
    let templates = Prompts::new(PromptKind::All, plan.seed ^ TEMPLATE_SEED)
        .filter(|text| !prompts::is_for_measuring(text) && seen.insert(text.clone()))
        .take(plan.data.template_prompts);
    prompts.extend(templates.map(Chat::from_prompt));
}

/// Examples that the longest stage of a kind takes.
fn demand(plan: &Plan, wants: impl Fn(StageKind) -> bool) -> usize {
    let examples = plan.stages().filter(|stage| wants(stage.kind));
    examples
        .map(|stage| {
            let sequences = stage.steps.saturating_mul(stage.batch_size);
            sequences.saturating_mul(stage.grad_accumulation)
        })
        .max()
        .unwrap_or(0)
}

/// Tasks beside the built-in chats, and pairs of them: no more than the stages take.
fn task_counts(plan: &Plan) -> (usize, usize) {
    let half = demand(plan, |kind| kind != StageKind::Dpo)
        .max(plan.data.pseudo_labels)
        .div_ceil(2)
        .max(1);
    let pairs = demand(plan, |kind| kind == StageKind::Dpo);
    (half.min(MOST_TASKS), pairs.min(MOST_TASKS))
}

/// Built-in chats and as many synthetic tasks.
fn builtin_sources(plan: &Plan) -> anyhow::Result<Sources> {
    let chats = Chat::from_replies(builtin::replies()?);
    let mut sides = Sides::default();
    let (mut train, held_out) = sides.split(chats, plan.data.eval_share, Chat::identity);
    let mix = TaskMix::default();
    let (half, compared) = task_counts(plan);
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
    let compared = tasks(plan.seed ^ 2, compared, &mix);
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

/// Documents of a prepared folder, cut to `seq_len` and left in their shards; conversations and windows of text are held out
/// alike.
fn prepared_sources(plan: &Plan, tokenizer: &Tokenizer, folder: &Path) -> anyhow::Result<Sources> {
    let mut sources = Sources::default();
    let (seq_len, share) = (plan.data.seq_len, plan.data.eval_share);
    let mut chats: Vec<(usize, Key, Key, Stored)> = Vec::new();
    let mut texts: Vec<Stored> = Vec::new();
    let mut pairs: Vec<(Key, Stored, Stored)> = Vec::new();
    for (kind, shard) in prepared::open(folder, tokenizer)? {
        let stored = |start: usize, tokens: Range<usize>| Stored {
            shard: Arc::clone(&shard),
            tokens: start + tokens.start..start + tokens.end,
        };
        let document = |index: usize| -> anyhow::Result<(usize, Example)> {
            let tokens = shard.document(index);
            Ok((tokens.start, shard.example(tokens)?))
        };
        match kind {
            Kind::Chat => {
                for index in 0..shard.documents() {
                    let (start, whole) = document(index)?;
                    let (prompt, key) = whole.keys();
                    if let Some(cut) = whole.truncated(seq_len) {
                        let cut = stored(start, 0..cut.ids.len());
                        chats.push((chats.len(), prompt, key, cut));
                    }
                }
            }
            Kind::Text => {
                for index in 0..shard.documents() {
                    let tokens = shard.document(index);
                    let windows = text::cut(tokens.len(), seq_len);
                    texts.extend(windows.map(|window| stored(tokens.start, window)));
                }
            }
            Kind::Preferences => {
                for pair in 0..shard.documents() / 2 {
                    let sides = (document(2 * pair)?, document(2 * pair + 1)?);
                    let ((chosen_at, chosen), (rejected_at, rejected)) = sides;
                    let (prompt, _) = chosen.keys();
                    let cut = |start: usize, whole: Example| {
                        let targets = whole.target_count();
                        let cut = whole.truncated(seq_len)?;
                        (cut.target_count() == targets).then(|| stored(start, 0..cut.ids.len()))
                    };
                    let both = cut(chosen_at, chosen).zip(cut(rejected_at, rejected));
                    pairs.extend(both.map(|(chosen, rejected)| (prompt, chosen, rejected)));
                }
            }
        }
    }
    let mut sides = Sides::default();
    let (train, held_out) = sides.split(chats, share, |(index, prompt, whole, _)| Identity {
        id: index.to_string(),
        prompt: *prompt,
        whole: *whole,
    });
    sources
        .text
        .extend(train.into_iter().map(|(.., chat)| chat));
    let held_out = held_out.into_iter().map(|(.., chat)| chat);
    sources.held_out_text.extend(held_out);
    sources.hold_out(texts, share);
    for (prompt, chosen, rejected) in pairs {
        if !sides.is_held_out(&prompt) {
            sources.prepared_pairs.push(chosen, rejected);
        }
    }
    sources.repeats = sides.repeats();
    Ok(sources)
}

impl Sources {
    /// Adds tokenised examples, a share of them as held out.
    fn hold_out<T>(&mut self, examples: Vec<T>, share: f64)
    where
        ExampleSet: Extend<T>,
    {
        let examples: Vec<_> = examples.into_iter().enumerate().collect();
        let (train, held_out) = split(examples, share, |(index, _)| index.to_string());
        let strip = |(_, example): (usize, T)| example;
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
