//! How many synthetic tasks a model answers to the letter, by batched greedy decoding.
use kernels::SsmBackend;
use model::decode::{Sampling, generate_batch};
use model::{ChatTemplate, HybridModel, Message, Tokenizer};
use serde::{Deserialize, Serialize};

use crate::EvalError;
use crate::synthetic::{SyntheticTask, TaskKind};

/// Right answers out of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Accuracy {
    /// Right answers.
    pub correct: usize,
    /// Tasks asked.
    pub count: usize,
}

impl Accuracy {
    /// Share of right answers, 0 to 1; 0 when nothing was asked.
    pub fn share(&self) -> f64 {
        self.correct as f64 / self.count.max(1) as f64
    }

    /// Standard error of the share: `sqrt(p (1 - p) / count)`.
    pub fn standard_error(&self) -> f64 {
        (self.share() * (1.0 - self.share()) / self.count.max(1) as f64).sqrt()
    }
}

/// What came of a set of tasks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExactMatch {
    /// All tasks together.
    pub overall: Accuracy,
    /// Each kind that was asked, in the order of [`TaskKind::ALL`].
    pub kinds: Vec<(TaskKind, Accuracy)>,
    /// What the model said, one reply a task, trimmed.
    pub replies: Vec<String>,
}

impl ExactMatch {
    /// The accuracy of one kind, if it was asked.
    pub fn kind(&self, kind: TaskKind) -> Option<Accuracy> {
        self.kinds
            .iter()
            .find(|(other, _)| *other == kind)
            .map(|(_, accuracy)| *accuracy)
    }

    /// Compares each reply with its task's answer, both trimmed. Missing replies count as wrong.
    pub fn score(tasks: &[SyntheticTask], replies: Vec<String>) -> Self {
        let replies: Vec<String> = replies
            .iter()
            .map(|reply| reply.trim().to_owned())
            .collect();
        let is_right = |index: usize, task: &SyntheticTask| {
            replies
                .get(index)
                .is_some_and(|reply| reply == task.answer.trim())
        };
        let accuracy = |kind: Option<TaskKind>| {
            let mut accuracy = Accuracy::default();
            for (index, task) in tasks.iter().enumerate() {
                if kind.is_none_or(|kind| kind == task.kind) {
                    accuracy.count += 1;
                    accuracy.correct += usize::from(is_right(index, task));
                }
            }
            accuracy
        };
        let kinds = TaskKind::ALL
            .into_iter()
            .map(|kind| (kind, accuracy(Some(kind))))
            .filter(|(_, accuracy)| accuracy.count > 0)
            .collect();
        Self {
            overall: accuracy(None),
            kinds,
            replies,
        }
    }
}

/// Asks `model` every task as one user turn and scores the greedy replies.
///
/// Tasks of like length are decoded together, at most `max_rows` at once. A reply may be two tokens longer than the
/// longest right answer of its batch: enough to see that it does not stop.
///
/// # Errors
/// [`EvalError::NoChatTemplate`] when the tokenizer has no chat template; what the model refuses.
pub fn exact_match<B: SsmBackend>(
    model: &HybridModel<B>,
    tokenizer: &Tokenizer,
    tasks: &[SyntheticTask],
    max_rows: usize,
) -> Result<ExactMatch, EvalError> {
    let template = ChatTemplate::detect(tokenizer).ok_or(EvalError::NoChatTemplate)?;
    let stop = template.end_of_turn(tokenizer)?;
    let mut prompts = Vec::with_capacity(tasks.len());
    for task in tasks {
        let turn = [Message::user(task.prompt.as_str())];
        prompts.push(template.encode_chat(tokenizer, &turn, true)?.ids);
    }
    let mut order: Vec<usize> = (0..tasks.len()).collect();
    order.sort_by_key(|index| prompts[*index].len());
    let mut replies = vec![String::new(); tasks.len()];
    for batch in order.chunks(max_rows.max(1)) {
        let longest = batch
            .iter()
            .map(|index| tokenizer.encode(&tasks[*index].answer).len())
            .max();
        let sampling = Sampling::greedy(longest.unwrap_or(0) + 2).stop_at([stop]);
        let rows: Vec<Vec<u32>> = batch.iter().map(|index| prompts[*index].clone()).collect();
        for (index, reply) in batch.iter().zip(generate_batch(model, &rows, &sampling)?) {
            replies[*index] = tokenizer.decode(&reply.tokens);
        }
    }
    Ok(ExactMatch::score(tasks, replies))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synthetic::{TaskMix, tasks};

    #[test]
    fn an_oracle_scores_one_and_a_liar_zero() {
        let tasks = tasks(3, 40, &TaskMix::default());
        let oracle = tasks
            .iter()
            .map(|task| format!(" {}\n", task.answer))
            .collect();
        let oracle = ExactMatch::score(&tasks, oracle);
        assert_eq!(
            oracle.overall,
            Accuracy {
                correct: 40,
                count: 40
            }
        );
        assert_eq!(oracle.overall.standard_error(), 0.0);
        assert_eq!(
            oracle
                .kinds
                .iter()
                .map(|(_, kind)| kind.count)
                .sum::<usize>(),
            40
        );
        let liar = tasks.iter().map(|task| task.distractor.clone()).collect();
        assert_eq!(ExactMatch::score(&tasks, liar).overall.correct, 0);
        assert_eq!(ExactMatch::score(&tasks, Vec::new()).overall.correct, 0);
    }

    #[test]
    fn each_kind_is_counted_by_itself() {
        let tasks = tasks(3, 60, &TaskMix::default());
        let replies = tasks.iter().map(|task| {
            if task.kind == TaskKind::Copy {
                &task.answer
            } else {
                &task.distractor
            }
        });
        let scored = ExactMatch::score(&tasks, replies.cloned().collect());
        assert_eq!(scored.kind(TaskKind::Copy).unwrap().share(), 1.0);
        assert_eq!(scored.kind(TaskKind::Recall).unwrap().share(), 0.0);
    }

    #[test]
    fn standard_error_is_that_of_a_share() {
        let accuracy = Accuracy {
            correct: 50,
            count: 100,
        };
        assert!((accuracy.standard_error() - 0.05).abs() < 1e-12);
        assert_eq!(Accuracy::default().standard_error(), 0.0);
    }

    #[test]
    fn an_untrained_model_answers_every_task_and_none_right() {
        let tasks = tasks(3, 9, &TaskMix::default());
        let texts: Vec<&str> = tasks.iter().map(|task| task.prompt.as_str()).collect();
        let tokenizer = Tokenizer::train_bpe(&texts, 300, &["<|im_start|>", "<|im_end|>"]).unwrap();
        let model = crate::tiny_model::tiny_model(tokenizer.vocab_size());
        let scored = exact_match(&model, &tokenizer, &tasks, 4).unwrap();
        assert_eq!(scored.replies.len(), 9);
        assert_eq!(
            scored.overall,
            Accuracy {
                correct: 0,
                count: 9
            }
        );

        let plain = Tokenizer::train_bpe(&texts, 300, &["<|pad|>"]).unwrap();
        let refused = exact_match(&model, &plain, &tasks, 4);
        assert!(matches!(refused, Err(EvalError::NoChatTemplate)));
    }
}
