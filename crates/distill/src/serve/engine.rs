//! The thread that owns the model: replies join its batch, grow by a token a step, and leave.

use std::collections::{HashMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Instant;

use model::decode::{ContinuousBatch, StreamId};
use model::{Finish, HybridModel, Tokenizer};

use super::job::{Failure, Job, News};
use super::metrics::Metrics;
use super::panics::caught;
use crate::backend::InnerBackend;
use crate::streaming::{StopStream, TextStream};

/// What the thread works with.
pub(super) struct Engine {
    pub(super) model: HybridModel<InnerBackend>,
    pub(super) tokenizer: Arc<Tokenizer>,
    pub(super) max_streams: usize,
    pub(super) metrics: Arc<Metrics>,
}

/// A reply in the batch.
struct Running<'a> {
    job: Job,
    text: TextStream<'a>,
    stops: StopStream,
}

/// All that is asked for.
#[derive(Default)]
struct Work<'a> {
    waiting: VecDeque<Job>,
    running: HashMap<StreamId, Running<'a>>,
}

impl Engine {
    /// Answers `jobs` until their senders are gone and all is said; calls `ready` when the model is.
    ///
    /// A panic fails the replies that were under way, and no others.
    pub(super) fn run(self, jobs: &Receiver<Job>, ready: impl FnOnce()) {
        let mut batch = ContinuousBatch::new(&self.model);
        let mut work = Work::default();
        ready();
        loop {
            if caught(|| self.work(jobs, &mut batch, &mut work)).is_some() {
                return;
            }
            work.fail();
            self.measure(0, 0, 0);
            // Not before there is something to do: what failed may fail again.
            let Ok(job) = jobs.recv() else { return };
            work.waiting.push_back(job);
            let Some(new) = caught(|| ContinuousBatch::new(&self.model)) else {
                work.fail();
                continue;
            };
            batch = new;
        }
    }

    fn work<'a>(
        &'a self,
        jobs: &Receiver<Job>,
        batch: &mut ContinuousBatch<'_, InnerBackend>,
        work: &mut Work<'a>,
    ) {
        loop {
            if batch.is_empty() && work.waiting.is_empty() {
                let Ok(job) = jobs.recv() else { return };
                work.waiting.push_back(job);
            }
            work.waiting.extend(jobs.try_iter());
            work.give_up(batch);
            self.admit(batch, work);
            let over = batch.step(&mut |id, token| match work.running.get_mut(&id) {
                Some(running) => running.take(token, &self.metrics),
                None => ControlFlow::Break(()),
            });
            for (id, reply) in over {
                if let Some(running) = work.running.remove(&id) {
                    running.finish(reply.finish, reply.tokens.len());
                }
            }
            self.measure(batch.len(), work.waiting.len(), batch.state_bytes());
        }
    }

    fn admit<'a>(&'a self, batch: &mut ContinuousBatch<'_, InnerBackend>, work: &mut Work<'a>) {
        while batch.len() < self.max_streams
            && let Some(mut job) = work.waiting.pop_front()
        {
            let prompt = std::mem::take(&mut job.prompt);
            self.metrics.prompt_tokens.add(prompt.len());
            match batch.join(prompt, job.sampling.clone()) {
                Ok(id) => {
                    let running = Running {
                        text: TextStream::new(&self.tokenizer),
                        stops: StopStream::new(std::mem::take(&mut job.stops)),
                        job,
                    };
                    work.running.insert(id, running);
                }
                // Prompts are looked at before they come here.
                Err(_) => job.tell(News::Failed(Failure::Internal)),
            }
        }
    }

    fn measure(&self, active: usize, waiting: usize, state_bytes: usize) {
        self.metrics.active.set(active);
        self.metrics.waiting.set(waiting);
        self.metrics.state_bytes.set(state_bytes);
    }
}

impl Work<'_> {
    /// Drops what nobody waits for any more.
    fn give_up(&mut self, batch: &mut ContinuousBatch<'_, InnerBackend>) {
        let now = Instant::now();
        self.waiting.retain(|job| !job.is_given_up(now));
        self.running.retain(|id, running| {
            let stays = !running.job.is_given_up(now);
            if !stays {
                batch.leave(*id);
            }
            stays
        });
    }

    fn fail(&mut self) {
        let running = self.running.drain().map(|(_, running)| running.job);
        for job in running.chain(self.waiting.drain(..)) {
            job.tell(News::Failed(Failure::Internal));
        }
    }
}

impl Running<'_> {
    fn take(&mut self, token: u32, metrics: &Metrics) -> ControlFlow<()> {
        metrics.completion_tokens.add(1);
        let piece = self.text.push(token).unwrap_or_default();
        let text = self.stops.push(&piece);
        self.tell(text);
        match self.stops.is_over() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }

    fn finish(mut self, finish: Finish, tokens: usize) {
        let rest = self.stops.finish(&self.text.rest());
        self.tell(rest);
        let finish = match self.stops.is_over() {
            true => Finish::Stop,
            false => finish,
        };
        self.job.tell(News::Finished { finish, tokens });
    }

    fn tell(&self, text: String) {
        if !text.is_empty() {
            self.job.tell(News::Text(text));
        }
    }
}
