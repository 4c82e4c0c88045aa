//! How many questions of a task a model answers right.
use kernels::SsmBackend;
use model::{HybridModel, Tokenizer};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::task::{BETWEEN_SHOTS, DELIMITER};
use super::{Gold, Item, Metric, Task};
use crate::EvalError;
use crate::batching::BatchLimits;
use crate::loglikelihood::{LogLikelihood, Request, log_likelihoods};
use crate::statistics::Estimate;
use model::hex;

/// How a task is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ZeroShotOptions {
    /// Examples before each question: the first ones (of its group), other than itself.
    pub n_shot: usize,
    /// Most tokens that are fed; longer prompts lose their start, and are counted.
    pub max_context: usize,
    /// A token before every prompt, where the model was trained with one.
    pub first_token: Option<u32>,
    /// How much runs at once.
    pub limits: BatchLimits,
}

impl ZeroShotOptions {
    /// No examples, no first token.
    pub fn zero_shot(max_context: usize, limits: BatchLimits) -> Self {
        Self {
            n_shot: 0,
            max_context,
            first_token: None,
            limits,
        }
    }
}

/// What a model made of one question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ItemScore {
    /// `log p(answer | question)` of each choice, nats.
    pub log_likelihoods: Vec<f64>,
    /// The likeliest choice, the first of equals.
    pub chosen: usize,
    /// The same by likelihood over bytes.
    pub chosen_norm: usize,
    /// Which were right.
    pub gold: Gold,
    /// Whether greedy decoding writes the first choice.
    pub is_greedy: bool,
}

/// A number with its error.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MetricValue {
    /// Which.
    pub metric: Metric,
    /// Its value.
    pub value: f64,
    /// Its standard error, over questions.
    pub standard_error: f64,
}

/// What a model made of a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskScore {
    /// Name of the task.
    pub task: String,
    /// Version of its definition.
    pub version: String,
    /// Examples before each question.
    pub n_shot: usize,
    /// Questions asked.
    pub count: usize,
    /// Questions with a prompt that lost its start.
    pub truncated: usize,
    /// Questions with two likeliest choices, of which the first was taken.
    pub tied: usize,
    /// Hash of every prompt and every answer, hexadecimal: equal hashes asked the same.
    pub prompt_sha256: String,
    /// What is reported.
    pub metrics: Vec<MetricValue>,
    /// Each question, in order.
    pub items: Vec<ItemScore>,
}

impl TaskScore {
    /// A number, if the task has it.
    pub fn metric(&self, metric: Metric) -> Option<MetricValue> {
        self.metrics
            .iter()
            .copied()
            .find(|value| value.metric == metric)
    }
}

/// Asks `model` every item of `task`, after examples from `examples` where `options` say so.
///
/// `progress` is told the number of answers scored.
///
/// # Errors
/// [`EvalError::Empty`] without items; [`EvalError::Examples`] where there are too few examples; [`EvalError::Item`] for an
/// answer that cannot be scored; as [`log_likelihoods`].
pub fn score<B: SsmBackend>(
    task: &Task,
    [items, examples]: [&[Item]; 2],
    model: &HybridModel<B>,
    tokenizer: &Tokenizer,
    options: ZeroShotOptions,
    progress: impl FnMut(usize),
) -> Result<TaskScore, EvalError> {
    if items.is_empty() {
        return Err(EvalError::Empty {
            found: format!("task `{}`", task.name),
            expected: "a file with at least one row",
        });
    }
    let mut hash = Sha256::new();
    let (mut requests, mut owners) = (Vec::new(), Vec::new());
    for (index, item) in items.iter().enumerate() {
        let before = shots(task, item, examples, options.n_shot)?;
        for choice in &item.choices {
            let context = format!("{}{before}{}", item.description, choice.context);
            let answer = format!("{DELIMITER}{}", choice.answer);
            for part in [&context, &answer] {
                hash.update((part.len() as u64).to_le_bytes());
                hash.update(part);
            }
            requests.push(Request::encode(
                tokenizer,
                options.first_token,
                &context,
                &answer,
            ));
            owners.push(index);
        }
    }
    let answers = log_likelihoods(
        model,
        &requests,
        options.max_context,
        options.limits,
        progress,
    )
    .map_err(|error| match error {
        EvalError::Request { index, problem } => EvalError::Item {
            task: task.name,
            item: owners[index] + 1,
            problem,
        },
        other => other,
    })?;
    let mut answers = answers.into_iter();
    let mut scores = Vec::with_capacity(items.len());
    let (mut truncated, mut tied) = (0, 0);
    for item in items {
        let answers: Vec<LogLikelihood> = answers.by_ref().take(item.choices.len()).collect();
        truncated += usize::from(answers.iter().any(|answer| answer.truncated > 0));
        let score = item_score(item, &answers);
        let best = score.log_likelihoods[score.chosen];
        let is_best = |total: &&f64| **total == best;
        tied += usize::from(score.log_likelihoods.iter().filter(is_best).count() > 1);
        scores.push(score);
    }
    let metrics = task
        .metrics
        .iter()
        .map(|metric| MetricValue::of(*metric, items, &scores));
    Ok(TaskScore {
        task: task.name.into(),
        version: task.version.into(),
        n_shot: options.n_shot,
        count: items.len(),
        truncated,
        tied,
        prompt_sha256: hex(&hash.finalize()),
        metrics: metrics.collect(),
        items: scores,
    })
}

/// The examples before `item`, each with its answer.
fn shots(task: &Task, item: &Item, examples: &[Item], n_shot: usize) -> Result<String, EvalError> {
    let others = examples
        .iter()
        .filter(|example| example.group == item.group && *example != item);
    let shots: Vec<String> = others.take(n_shot).map(Item::as_example).collect();
    if shots.len() < n_shot {
        return Err(EvalError::Examples {
            task: task.name,
            found: shots.len(),
            wanted: n_shot,
        });
    }
    debug_assert!(shots.iter().all(|shot| shot.ends_with(BETWEEN_SHOTS)));
    Ok(shots.concat())
}

fn item_score(item: &Item, answers: &[LogLikelihood]) -> ItemScore {
    let totals: Vec<f64> = answers.iter().map(|answer| answer.total).collect();
    let per_byte: Vec<f64> = totals
        .iter()
        .zip(&item.choices)
        .map(|(total, choice)| total / choice.answer.len() as f64)
        .collect();
    ItemScore {
        chosen: first_largest(&totals),
        chosen_norm: first_largest(&per_byte),
        log_likelihoods: totals,
        gold: item.gold.clone(),
        is_greedy: answers.first().is_some_and(|answer| answer.is_greedy),
    }
}

fn first_largest(values: &[f64]) -> usize {
    let mut best = 0;
    for (index, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = index;
        }
    }
    best
}

impl ItemScore {
    /// Whether the choice was right.
    pub fn is_right(&self) -> bool {
        self.agrees(self.chosen)
    }

    fn agrees(&self, chosen: usize) -> bool {
        match &self.gold {
            Gold::One(right) => *right == chosen,
            Gold::Truths(truths) => truths[chosen],
            Gold::Greedy => self.is_greedy,
        }
    }

    /// Probability of the true choices among all.
    fn truth(&self) -> f64 {
        let best = self.log_likelihoods[self.chosen];
        let weights = self
            .log_likelihoods
            .iter()
            .map(|total| (total - best).exp());
        let is_true = |index: usize| match &self.gold {
            Gold::One(right) => *right == index,
            Gold::Truths(truths) => truths[index],
            Gold::Greedy => true,
        };
        let (mut truths, mut all) = (0.0, 0.0);
        for (index, weight) in weights.enumerate() {
            truths += if is_true(index) { weight } else { 0.0 };
            all += weight;
        }
        truths / all
    }
}

impl MetricValue {
    fn of(metric: Metric, items: &[Item], scores: &[ItemScore]) -> Self {
        let over = |value: &dyn Fn(&ItemScore) -> f64| {
            Estimate::of(&scores.iter().map(value).collect::<Vec<_>>())
        };
        let share = |is_right: bool| f64::from(u8::from(is_right));
        let estimate = match metric {
            Metric::Acc => over(&|score| share(score.is_right())),
            Metric::AccNorm => over(&|score| share(score.agrees(score.chosen_norm))),
            Metric::Mc2 => over(&ItemScore::truth),
            Metric::AccGroups => return Self::over_groups(items, scores),
            Metric::Perplexity => {
                let nll = over(&|score| -score.log_likelihoods[0]);
                let value = nll.mean.exp();
                return Self {
                    metric,
                    value,
                    // To first order.
                    standard_error: value * nll.standard_error,
                };
            }
        };
        Self {
            metric,
            value: estimate.mean,
            standard_error: estimate.standard_error,
        }
    }

    /// Every group counts alike, however many questions it has.
    fn over_groups(items: &[Item], scores: &[ItemScore]) -> Self {
        let mut groups: Vec<(&Option<String>, Vec<f64>)> = Vec::new();
        for (item, score) in items.iter().zip(scores) {
            let right = f64::from(u8::from(score.is_right()));
            match groups.iter_mut().find(|(group, _)| *group == &item.group) {
                Some((_, values)) => values.push(right),
                None => groups.push((&item.group, vec![right])),
            }
        }
        let count = groups.len().max(1) as f64;
        let estimates = groups.iter().map(|(_, values)| Estimate::of(values));
        let (mut mean, mut variance) = (0.0, 0.0);
        for estimate in estimates {
            mean += estimate.mean / count;
            variance += (estimate.standard_error / count).powi(2);
        }
        Self {
            metric: Metric::AccGroups,
            value: mean,
            standard_error: variance.sqrt(),
        }
    }
}

#[cfg(test)]
mod tests;
