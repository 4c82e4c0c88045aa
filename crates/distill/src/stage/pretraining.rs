//! A small Llama from random weights, on short texts and freshly drawn tasks: the teacher of the built-in experiment.

mod drill;
mod feed;
mod pace;
mod recipe;

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use burn::backend::Autodiff;
use burn::module::AutodiffModule;
use burn::tensor::Tensor;
use eval::exact_match::exact_match;
use eval::synthetic::{TaskKind, TaskMix, tasks};
use kernels::SsmBackend;
use model::{ChatTemplate, HybridConfig, HybridModel, Tokenizer};

use pace::Pace;

pub use feed::{Feed, FeedSource};
pub use recipe::{ModelTable, PretrainData, PretrainRecipe, TrainingTable};

use crate::data::repeats::Sides;
use crate::data::{Batch, Chat, Example, ReplyRecord, RowLength};
use crate::loss::{Denominators, distillation_loss};
use crate::recipe::LossPlan;
use crate::run::StopFlag;
use crate::trainer::{MicroStep, Schedule, Trainer, TrainerConfig};

/// Special tokens of the tokenizer, ids 0, 1 and 2.
pub const SPECIALS: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];
/// Tasks whose text the tokenizer is trained on, beside the dialogues.
const TOKENIZER_TASKS: usize = 4000;
/// Seed of the measured tasks.
const EVAL_SEED: u64 = 0xe7a1;

/// A trained model with its tokenizer.
pub struct Pretrained<B: SsmBackend> {
    /// The model, without a tape.
    pub model: HybridModel<B>,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    /// Steps taken.
    pub steps: usize,
    /// Dialogues that it was not trained on.
    held_out: Vec<Example>,
}

/// What a trained model can do.
#[derive(Debug, Clone, PartialEq)]
pub struct Scores {
    /// Held-out loss of the dialogues, nats a token of any kind.
    pub held_out_loss: f64,
    /// Exact match on held-out tasks by pairs and kind, 0 to 1.
    pub exact_match: Vec<(String, f64)>,
}

impl<B: SsmBackend> Pretrained<B> {
    /// Measures the model on held-out dialogues and tasks.
    ///
    /// # Errors
    /// When a task cannot be encoded.
    pub fn measure(&self, recipe: &PretrainRecipe, device: &B::Device) -> anyhow::Result<Scores> {
        Ok(Scores {
            held_out_loss: held_out_loss(&self.model, &self.held_out, recipe, device),
            exact_match: exact_matches(&self.model, &self.tokenizer, recipe)?,
        })
    }
}

/// A line of progress.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress {
    /// Mean loss of the steps since the last one.
    Step {
        /// Steps taken.
        step: usize,
        /// Steps in all, as known now.
        steps: usize,
        /// Mean cross-entropy, nats a target.
        loss: f64,
        /// Global gradient norm of the last step.
        grad_norm: f64,
        /// Learning rate.
        lr: f64,
        /// Tokens a second, padding included.
        tokens_per_s: f64,
    },
    /// Something worth a line.
    Note(String),
}

/// Trains tokenizer and model by `recipe` on `records` and freshly drawn tasks.
///
/// Equal recipes and records give equal batches; `training.minutes` alone makes the number of steps depend on the machine.
///
/// # Errors
/// When there are no records, or the loss stops being finite.
pub fn pretrain<B: SsmBackend>(
    recipe: &PretrainRecipe,
    records: Vec<ReplyRecord>,
    device: &B::Device,
    stop: &StopFlag,
    report: &mut dyn FnMut(Progress),
) -> anyhow::Result<Pretrained<B>> {
    let started = Instant::now();
    let chats = Chat::from_replies(records);
    anyhow::ensure!(
        !chats.is_empty(),
        "the data files hold no prompt with a reply"
    );
    let share = recipe.data.held_out_share;
    let (train, held_out) = Sides::default().split(chats, share, Chat::identity);
    let tokenizer = train_tokenizer(recipe, &train)?;
    let template = ChatTemplate::chat_ml();
    let encode = |chats: &[Chat]| encode(chats, &tokenizer, &template, recipe.data.seq_len);
    let (dialogues, held_out) = (encode(&train)?, encode(&held_out)?);
    report(Progress::Note(format!(
        "{} tokens in the vocabulary, {} dialogues with {} tokens, {} held out",
        tokenizer.vocab_size(),
        dialogues.len(),
        dialogues
            .iter()
            .map(|example| example.ids.len())
            .sum::<usize>(),
        held_out.len()
    )));

    let end = template.end_of_turn(&tokenizer)?;
    let llama = recipe.llama_config(tokenizer.vocab_size(), end);
    let config = HybridConfig::teacher(llama);
    let mut model =
        HybridModel::<Autodiff<B>>::init_seeded(&config, recipe.seed, device).freeze(|_| true);

    let training = &recipe.training;
    let mut steps = training.steps;
    let schedule = |steps| Schedule {
        lr_peak: training.lr_peak,
        warmup_steps: training.warmup_steps,
        steps,
        lr_floor: training.lr_floor,
    };
    let trainer_config = TrainerConfig {
        schedule: schedule(steps),
        betas: training.betas,
        weight_decay: training.weight_decay,
        clip_norm: training.clip_norm,
    };
    let mut trainer = Trainer::<B>::new(trainer_config, &model, device);
    let source = FeedSource {
        data: recipe.data.clone(),
        tokens_per_batch: training.tokens_per_batch,
        dialogues,
        tokenizer: tokenizer.clone(),
        template: template.clone(),
        seed: recipe.seed,
    };
    // Two cores are left to the device's queue and its compiler.
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get());
    let threads = threads.saturating_sub(2).clamp(1, 12);
    let mut feed = Feed::start(source, threads);

    let mut unread: Vec<Tensor<B, 1>> = Vec::new();
    let (mut window_tokens, mut window_start) = (0, Instant::now());
    let mut pace = training
        .minutes
        .map(|minutes| Pace::new(Duration::from_secs_f64(minutes * 60.0)));
    let mut step = 0;
    while step < steps {
        let batch = feed.next_batch()?;
        let over = Denominators::of([&batch]);
        let (next, numbers) = trainer.step_unread(model, 1, |model, _| {
            let parts =
                distillation_loss(model, None, &batch, &LossPlan::CROSS_ENTROPY, over, device);
            MicroStep {
                loss: parts.loss,
                metrics: parts.ce,
                blocks: parts.blocks,
            }
        });
        model = next;
        unread.push(numbers);
        window_tokens += batch.rows() * batch.seq();
        step += 1;
        if step % training.log_every == 0 || step == steps {
            let (loss, grad_norm) = read(std::mem::take(&mut unread));
            if !loss.is_finite() || !grad_norm.is_finite() {
                bail!(
                    "step {step}: the loss is {loss} and the gradient norm {grad_norm}; lower `training.lr_peak` \
                     or lengthen `training.warmup_steps`"
                );
            }
            let tokens_per_s = window_tokens as f64 / window_start.elapsed().as_secs_f64();
            let lr = trainer.lr();
            report(Progress::Step {
                step,
                steps,
                loss,
                grad_norm,
                lr,
                tokens_per_s,
            });
            (window_tokens, window_start) = (0, Instant::now());
            if stop.is_set() {
                report(Progress::Note(format!("stopped after {step} steps")));
                break;
            }
            if let Some(pace) = &mut pace {
                steps = pace.fit(step, started.elapsed()).min(training.steps);
                trainer.set_schedule(schedule(steps));
            }
        }
    }
    Ok(Pretrained {
        model: model.valid(),
        tokenizer,
        steps: step,
        held_out,
    })
}

/// Mean loss and last gradient norm of unread steps, with one read.
fn read<B: SsmBackend>(unread: Vec<Tensor<B, 1>>) -> (f64, f64) {
    let steps = unread.len();
    let numbers: Vec<f64> = Tensor::cat(unread, 0).into_data().iter::<f64>().collect();
    let width = numbers.len() / steps.max(1);
    let losses = numbers.chunks(width.max(1)).map(|numbers| numbers[1]);
    let last_norm = numbers
        .chunks(width.max(1))
        .last()
        .map_or(f64::NAN, |numbers| numbers[0]);
    (losses.sum::<f64>() / steps.max(1) as f64, last_norm.sqrt())
}

/// A tokenizer of dialogues and tasks, so that names and numbers of the tasks are in its vocabulary.
fn train_tokenizer(recipe: &PretrainRecipe, chats: &[Chat]) -> anyhow::Result<Tokenizer> {
    let said = chats
        .iter()
        .flat_map(|chat| chat.messages.iter().map(|message| message.content.clone()));
    let asked = tasks(recipe.seed, TOKENIZER_TASKS, &recipe.data.tasks)
        .into_iter()
        .flat_map(|task| [task.prompt, task.answer]);
    let roles = ["system\n", "user\n", "assistant\n"].map(str::to_owned);
    let texts: Vec<String> = roles.into_iter().chain(said).chain(asked).collect();
    Tokenizer::train_bpe(
        texts.iter().map(String::as_str),
        recipe.model.vocab_size,
        &SPECIALS,
    )
    .context("could not train the tokenizer")
}

/// Dialogues with every token a target, the prompt included: there is little text, and all of it teaches English.
fn encode(
    chats: &[Chat],
    tokenizer: &Tokenizer,
    template: &ChatTemplate,
    seq_len: usize,
) -> anyhow::Result<Vec<Example>> {
    let mut examples = Vec::with_capacity(chats.len());
    for chat in chats {
        let mut example = chat.encode(tokenizer, template)?;
        example.targets.fill(true);
        // A dialogue that does not fit is left out rather than cut: its end token would be lost.
        examples.extend((example.ids.len() <= seq_len).then_some(example));
    }
    Ok(examples)
}

fn held_out_loss<B: SsmBackend>(
    model: &HybridModel<B>,
    examples: &[Example],
    recipe: &PretrainRecipe,
    device: &B::Device,
) -> f64 {
    let rows = (recipe.training.tokens_per_batch / recipe.data.seq_len).max(1);
    let batches: Vec<Batch> = examples
        .chunks(rows)
        .take(16)
        .map(|rows| Batch::new(rows, RowLength::Exactly(recipe.data.seq_len)))
        .collect();
    if batches.is_empty() {
        return f64::NAN;
    }
    let over = Denominators::of(&batches);
    let model = HybridModel::<Autodiff<B>>::from_inner(model.clone()).freeze(|_| false);
    let parts = batches.iter().map(|batch| {
        let ce = distillation_loss(&model, None, batch, &LossPlan::CROSS_ENTROPY, over, device).ce;
        ce.into_data().iter::<f64>().sum::<f64>()
    });
    parts.sum()
}

/// Exact match on held-out tasks of each kind at 4, 8 and 12 pairs, as far as the recipe trains them.
fn exact_matches<B: SsmBackend>(
    model: &HybridModel<B>,
    tokenizer: &Tokenizer,
    recipe: &PretrainRecipe,
) -> anyhow::Result<Vec<(String, f64)>> {
    let mut scores = Vec::new();
    for kind in TaskKind::ALL {
        for pairs in [4, 8, 12]
            .into_iter()
            .filter(|pairs| *pairs <= recipe.data.tasks.max_pairs)
        {
            let mix = TaskMix::only(kind, pairs).held_out();
            let tasks = tasks(EVAL_SEED, recipe.training.eval_tasks, &mix);
            let matched = exact_match(model, tokenizer, &tasks, tasks.len())?;
            scores.push((format!("{kind} {pairs}"), matched.overall.share()));
        }
    }
    Ok(scores)
}

#[cfg(test)]
mod tests;
