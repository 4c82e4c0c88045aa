//! Batches of pretraining, drawn ahead of the device by host threads.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use eval::synthetic::{TaskMix, task};
use model::{ChatTemplate, Tokenizer};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::PretrainData;
use super::drill::drill;
use crate::data::{Batch, Chat, Example, RowLength};

/// Batches that a thread keeps ready.
const READY: usize = 8;
/// Most pairs of a task at the first step of the curriculum.
const FIRST_PAIRS: usize = 3;

/// What batches are drawn from.
pub struct FeedSource {
    /// Shares and lengths.
    pub data: PretrainData,
    /// Rows times length of a batch.
    pub tokens_per_batch: usize,
    /// Conversations with every token a target, each at most `seq_len` tokens.
    pub dialogues: Vec<Example>,
    /// Tokenizer of the tasks.
    pub tokenizer: Tokenizer,
    /// Template of the tasks.
    pub template: ChatTemplate,
    /// Seed of everything drawn.
    pub seed: u64,
}

impl FeedSource {
    /// Batch number `step`: a pure function of the source and the number.
    ///
    /// A batch holds tasks or dialogues, not both: the few answer tokens of a task would weigh little beside a dialogue's.
    pub fn batch(&self, step: usize) -> Batch {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed ^ 0xfeed);
        rng.set_stream(step as u64);
        let is_packed = rng.random_bool(self.data.packed_share);
        let is_task = self.dialogues.is_empty() || rng.random_bool(self.data.task_share);
        let mix = self.mix(step);
        let mut index = 0;
        let mut draw = |rng: &mut ChaCha8Rng| {
            if !is_task {
                return self.dialogues[rng.random_range(0..self.dialogues.len())].clone();
            }
            loop {
                // No task is drawn twice: every step has its own range of numbers.
                let task = task(self.seed, ((step as u64) << 16) | index, &mix);
                index += 1;
                let chat = match rng.random_bool(self.data.drill_share) {
                    true => drill(&task, rng).unwrap_or_else(|| Chat::from_task(&task)),
                    false => Chat::from_task(&task),
                };
                // The template's tokens are in the tokenizer, so encoding cannot fail; a task that is too long is drawn
                // anew.
                let example = chat.encode(&self.tokenizer, &self.template).ok();
                if let Some(example) = example.filter(|it| it.ids.len() <= self.data.seq_len) {
                    return example;
                }
            }
        };
        let seq_len = self.data.seq_len;
        match is_packed {
            true => Batch::new(
                &self.packed_rows(&mut rng, &mut draw),
                RowLength::Exactly(seq_len),
            ),
            false => Batch::new(
                &self.alike_rows(&mut rng, &mut draw),
                RowLength::UpTo(seq_len),
            ),
        }
    }

    /// Rows of conversations joined up to `seq_len`, so that late positions are trained too.
    fn packed_rows(
        &self,
        rng: &mut ChaCha8Rng,
        draw: &mut impl FnMut(&mut ChaCha8Rng) -> Example,
    ) -> Vec<Example> {
        let seq_len = self.data.seq_len;
        let mut next = draw(rng);
        let mut rows = Vec::new();
        while rows.len() < (self.tokens_per_batch / seq_len).max(1) {
            let mut row = Example {
                ids: Vec::new(),
                targets: Vec::new(),
            };
            while row.ids.len() + next.ids.len() <= seq_len {
                row.ids.append(&mut next.ids);
                row.targets.append(&mut next.targets);
                next = draw(rng);
            }
            rows.push(row);
        }
        rows
    }

    /// One conversation a row, all of like length: twice as many are drawn and sorted, and a run of neighbours is taken.
    fn alike_rows(
        &self,
        rng: &mut ChaCha8Rng,
        draw: &mut impl FnMut(&mut ChaCha8Rng) -> Example,
    ) -> Vec<Example> {
        let mut pool: Vec<Example> = Vec::new();
        let mut total = 0;
        while total < 2 * self.tokens_per_batch {
            let example = draw(rng);
            total += example.ids.len();
            pool.push(example);
        }
        pool.sort_by_key(|example| example.ids.len());
        let padded = |example: &Example| example.ids.len().next_multiple_of(16);
        // The run starts early enough to fill the batch with the longest of them.
        let fewest = pool
            .last()
            .map_or(1, |last| self.tokens_per_batch / padded(last).max(1));
        let start = rng.random_range(0..=pool.len().saturating_sub(fewest.max(1)));
        let mut rows = Vec::new();
        for example in pool.drain(start..) {
            if !rows.is_empty() && padded(&example) * (rows.len() + 1) > self.tokens_per_batch {
                break;
            }
            rows.push(example);
        }
        rows
    }

    fn mix(&self, step: usize) -> TaskMix {
        let tasks = &self.data.tasks;
        let progress = match self.data.curriculum_steps {
            0 => 1.0,
            steps => (step as f64 / steps as f64).min(1.0),
        };
        let first = FIRST_PAIRS.max(tasks.min_pairs).min(tasks.max_pairs);
        let grown = ((tasks.max_pairs - first) as f64 * progress).round() as usize;
        TaskMix {
            max_pairs: first + grown,
            ..tasks.clone()
        }
    }
}

/// Batches 0, 1, 2, ... in order, made by several threads.
pub struct Feed {
    lanes: Vec<Receiver<Batch>>,
    next: usize,
}

impl Feed {
    /// Starts the threads; they end when the feed is dropped.
    pub fn start(source: FeedSource, threads: usize) -> Self {
        let source = Arc::new(source);
        let threads = threads.max(1);
        let lane = |lane: usize| {
            let source = source.clone();
            let (sender, receiver) = sync_channel(READY);
            thread::spawn(move || {
                let mut step = lane;
                while sender.send(source.batch(step)).is_ok() {
                    step += threads;
                }
            });
            receiver
        };
        Self {
            lanes: (0..threads).map(lane).collect(),
            next: 0,
        }
    }

    /// The next batch.
    ///
    /// # Errors
    /// When its thread died.
    pub fn next_batch(&mut self) -> anyhow::Result<Batch> {
        let lane = self.next % self.lanes.len();
        self.next += 1;
        self.lanes[lane]
            .recv()
            .map_err(|_| anyhow::anyhow!("a thread that draws batches ended early"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(packed_share: f64) -> FeedSource {
        let specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];
        let text = "Remember these pairs: Ben 4. What goes with Ben? user assistant";
        let tokenizer = Tokenizer::train_bpe([text], 320, &specials).expect("trains");
        let template = ChatTemplate::chat_ml();
        let dialogue = Example {
            ids: vec![5; 40],
            targets: vec![true; 40],
        };
        let data = PretrainData {
            task_share: 0.5,
            packed_share,
            drill_share: 0.5,
            seq_len: 256,
            held_out_share: 0.1,
            curriculum_steps: 10,
            tasks: TaskMix {
                max_pairs: 6,
                ..TaskMix::default()
            },
        };
        FeedSource {
            data,
            tokens_per_batch: 2048,
            dialogues: vec![dialogue],
            tokenizer,
            template,
            seed: 3,
        }
    }

    #[test]
    fn threads_give_the_batches_in_order() {
        let expected: Vec<_> = (0..6).map(|step| source(0.5).batch(step)).collect();
        for threads in [1, 3] {
            let mut feed = Feed::start(source(0.5), threads);
            let batches: Vec<_> = (0..6)
                .map(|_| feed.next_batch().expect("a batch"))
                .collect();
            assert!(batches == expected, "{threads} threads");
        }
        assert_ne!(expected[0], expected[1]);
    }

    #[test]
    fn batches_respect_the_token_budget_and_hold_targets() {
        for packed_share in [0.0, 1.0] {
            for step in 0..8 {
                let batch = source(packed_share).batch(step);
                assert!(batch.rows() * batch.seq() <= 2048 && batch.rows() > 0);
                assert!(batch.target_count() > 0);
                assert!(
                    batch.real_tokens() * 2 > batch.rows() * batch.seq(),
                    "mostly padding"
                );
            }
        }
    }

    #[test]
    fn the_curriculum_grows_to_the_most_pairs() {
        let source = source(0.0);
        assert_eq!(source.mix(0).max_pairs, 3);
        assert_eq!(source.mix(10).max_pairs, 6);
        assert_eq!(source.mix(1000).max_pairs, 6);
    }
}
